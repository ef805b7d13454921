"""What each guidance method does with a gradient, and what holds for all of them."""

import math
from collections import Counter
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch
from losses_alone import KnowingBackbone, guidance

from diffuseit.errors import InputError
from diffuseit.guidance.inversion import invert
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import make_timetable
from diffuseit.losses import (
    AnchorLoss,
    ImageStyleLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
    bind,
)
from diffuseit.methods import AGG, DSG, METHODS, MPGD, DiffuseIT, DiffuseITDDIM, OfficialAGG, State
from diffuseit.methods.adamw import adamw
from diffuseit.methods.steps import ddim_sigma
from diffuseit.models.base import Prediction
from diffuseit.models.schedule import make_schedule

QUICK = SamplerSettings(steps=5, skip=1, resample=1, method=DiffuseIT(step_rule="normalized", step_size=0.5))


def quick(name, **knobs):
    """QUICK with a method by name and with those of the `knobs` that it has."""
    known = {field.name for field in fields(METHODS[name])}
    knobs = {"step_rule": "normalized", "step_size": 0.5} | knobs
    own = {knob: value for knob, value in knobs.items() if knob in known}
    return replace(QUICK, method=METHODS[name](**own))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_pictures_keep_to_themselves_and_outside_the_mask_to_the_source(models, pair, method):
    terms = bind([TextStyleLoss(to="winter", weight=1, crops=1), AnchorLoss(weight=0.1)], clip=models.clip)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    settings = quick(method, inner_steps=2)
    batch = list(sample(models.ddpm, pair, terms, settings, 10, mask=mask))
    alone = list(sample(models.ddpm, pair[1:], terms, settings, 11, mask=mask))
    for together, single in zip(batch, alone, strict=True):
        assert (together.pred_xstart[1] - single.pred_xstart[0]).abs().max() < 1e-2
        assert torch.equal(together.pred_xstart[..., 32:], pair[..., 32:])
    assert (batch[-1].pred_xstart[..., :32] - pair[..., :32]).abs().mean() > 0.02


LENGTHS = {"variance": (1e4, 0.5), "normalized": (1.0, 0.5), "freedom": (1.0, 0.2)}


@pytest.mark.parametrize(
    ("method", "rule"),
    [(method, "normalized") for method in METHODS]
    + [
        (method, rule)
        for method in ("diffuseit", "diffuseit-ddim", "mpgd")
        for rule in ("variance", "freedom")
    ],
)
def test_guidance_goes_downhill(models, pair, method, rule):
    weight, length = LENGTHS[rule]
    losses = bind([ImageStyleLoss(cls=0, pixels=weight)], vit=models.vit, style=pair[1:])

    def distance(step_size):
        settings = replace(quick(method, step_rule=rule, step_size=step_size, start="noise"), steps=4)
        run = sample(models.ddpm, pair[:1], losses, settings, 0)
        return (list(run)[-1].pred_xstart - pair[1:]).square().mean().item()

    assert distance(length) < distance(0.0)


def calls(models, settings, source, terms):
    """How often each network ran (forward, backward) in a run."""
    forward, backward = Counter(), Counter()

    def count(name, module):
        def hook(_module, inputs, output):
            forward[name] += 1
            tensor = output.cls if hasattr(output, "cls") else output
            if tensor.requires_grad:
                tensor.register_hook(lambda grad: backward.update([name]))

        return module.register_forward_hook(hook)

    handles = [count("unet", models.ddpm.unet), count("vit", models.vit)]
    try:
        steps = list(sample(models.ddpm, source, terms, settings, 0))
    finally:
        for handle in handles:
            handle.remove()
    return {name: (forward[name], backward[name]) for name in ("unet", "vit")}, steps


@pytest.mark.parametrize(
    ("method", "changes", "unet", "vit"),
    [
        # 4 levels; the ViT sees the source once more.
        (DiffuseIT(), {}, (4, 4), 4 + 1),
        (DiffuseITDDIM(), {}, (4, 4), 4 + 1),
        (DiffuseIT(), {"guide_from": 0.25, "guide_until": 0.75}, (4, 2), 2 + 1),
        (DiffuseIT(), {"backward_until": 0.25}, (4, 1), 4 + 1),
        (MPGD(), {}, (4, 0), 4 + 1),
        (MPGD(inner_steps=2), {}, (4, 0), 3 * 4 + 1),
        (DSG(), {"guide_until": 0.75}, (4, 3), 3 + 1),
        (AGG(inner_steps=2), {"guide_until": 0.5}, (4 + 3, 2), 3 * 2 + 1),
        (OfficialAGG(inner_steps=3), {"guide_until": 0.5}, (4 + 3, 2), 3 * 2 + 1),
        (DiffuseIT(), {"resample": 3}, (4 + 2, 4 + 2), 4 + 2 + 1),
    ],
)
def test_network_calls_are_the_fewest(models, scene, method, changes, unet, vit):
    settings = replace(QUICK, **({"method": method} | changes))
    losses = bind([StructureLoss(self_similarity=1, contrastive=0)], vit=models.vit)
    counted, steps = calls(models, settings, scene, losses)
    assert counted["unet"] == unet
    assert counted["vit"][0] == vit
    assert len(steps) == len(settings.timetable) == steps[0].total
    for step, visit in zip(steps, settings.timetable, strict=True):
        assert bool(step.terms) == visit.guided == bool(step.gradient.any())


@pytest.mark.slow
def test_the_anchor_costs_the_inversion_only(models, scene):
    losses = bind([AnchorLoss()])
    counted, steps = calls(models, quick("diffuseit"), scene, losses)
    assert counted["unet"] == (4 + 4, 4)
    assert all("anchor" in step.terms for step in steps)
    counted, steps = calls(models, quick("agg"), scene, losses)
    assert counted["unet"] == (4 + 3, 4)
    assert steps[0].terms["anchor"] == 0  # the run starts on the inversion


@pytest.mark.slow
def test_inversion_leads_back_to_the_source(models, pair):
    def unguided(start):
        # Without guidance AGG takes plain DDIM steps.
        method = AGG(eta=0.0, start=start)
        settings = SamplerSettings(steps=25, skip=10, resample=1, method=method, guide_until=0.0)
        return list(sample(models.ddpm, pair, bind([RangeLoss()]), settings, 0))[-1].pred_xstart

    back, other = unguided("inversion"), unguided("noise")
    assert (back - pair).abs().mean() < 0.5 * (other - pair).abs().mean()
    assert (back - pair).abs().mean() < 0.1


@pytest.mark.parametrize("method", [DiffuseIT(), AGG(eta=1.0, start="noise"), MPGD(), DSG()], ids=str)
def test_unguided_and_resampled_steps_keep_the_noise_of_each_level(method):
    picture = torch.zeros(1, 3, 256, 256)
    backbone = KnowingBackbone(picture)
    settings = SamplerSettings(steps=10, skip=2, resample=3, method=method, guide_until=0.0)
    schedule = backbone.schedule(10)
    steps = list(sample(backbone, picture, bind([RangeLoss()]), settings, 0))
    assert len(steps) == 3 + 7
    for step in steps:
        expected = float(schedule.sqrt_one_minus_alphas_cumprod[step.t])
        assert step.x_t.std().item() == pytest.approx(expected, rel=0.02)
    assert torch.equal(steps[-1].pred_xstart, picture)


def test_the_inversion_of_a_known_picture_is_its_noise():
    backbone = KnowingBackbone(torch.zeros(1, 3, 8, 8))
    schedule = backbone.schedule(10)
    x = torch.full((1, 3, 8, 8), 0.01)
    result = invert(backbone, schedule, x, 5, keep={2, 5}, labels=lambda: None)
    assert set(result.pred_xstart) == {2, 5}
    # The signal is gone at once, and what is left keeps its share of the noise.
    ratio = float(schedule.sqrt_one_minus_alphas_cumprod[5] / schedule.sqrt_one_minus_alphas_cumprod[0])
    torch.testing.assert_close(result.x, x * ratio)


def state(t=4, level=0, levels=1):
    schedule = make_schedule("linear", 1000, 10)
    generator = torch.Generator().manual_seed(0)
    x_t, pred_xstart, noise = (torch.randn(2, 3, 16, 16, generator=generator) for _ in range(3))
    prediction = Prediction(
        pred_xstart,
        schedule.posterior_mean(pred_xstart, x_t, t),
        torch.tensor(float(schedule.posterior_log_variance_clipped[t])),
    )
    return State(x_t, prediction, schedule, t, noise, level, levels)


def rms(x):
    return x.square().mean(dim=(1, 2, 3)).sqrt()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_dsg_goes_to_the_sphere(rate):
    now = state()
    gradient = 50 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    move = DSG(step_size=rate).step(now, gradient, None)
    mean = now.prediction.mean  # with eta 1 the DDIM mean is the posterior's
    sigma = ddim_sigma(now.schedule, now.t, 1.0)
    assert sigma == pytest.approx(math.sqrt(now.schedule.posterior_variance[now.t]))
    moved = move.sample - mean
    torch.testing.assert_close(rms(moved), torch.full((2,), sigma))

    def cosine(direction):
        return torch.cosine_similarity(moved.flatten(1), direction.flatten(1))

    if rate == 0:
        torch.testing.assert_close(cosine(now.noise), torch.ones(2))
    elif rate == 1:
        torch.testing.assert_close(cosine(-gradient), torch.ones(2))
    else:
        assert (cosine(-gradient) > 0.3).all() and (cosine(now.noise) > 0.7).all()


def test_mpgd_moves_the_prediction_and_leaves_the_noise():
    now, method = state(), MPGD(step_size=2.0, eta=0.4)
    gradient = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    move = method.step(now, gradient, None)
    alpha, alpha_prev = now.schedule.alphas_cumprod[4], now.schedule.alphas_cumprod[3]
    eps = (now.x_t - alpha**0.5 * now.prediction.pred_xstart) / (1 - alpha) ** 0.5
    guided = now.prediction.pred_xstart - 2.0 * (1 - alpha) * gradient
    sigma = 0.4 * ((1 - alpha_prev) / (1 - alpha)) ** 0.5 * (1 - alpha / alpha_prev) ** 0.5
    sample = alpha_prev**0.5 * guided + (1 - alpha_prev - sigma**2) ** 0.5 * eps + sigma * now.noise
    torch.testing.assert_close(move.pred_xstart, guided.float())
    torch.testing.assert_close(move.sample, sample.float(), rtol=1e-4, atol=1e-4)
    both = replace(method, symmetric=True).step(now, gradient, None)
    eps = (now.x_t - alpha**0.5 * guided) / (1 - alpha) ** 0.5
    sample = alpha_prev**0.5 * guided + (1 - alpha_prev - sigma**2) ** 0.5 * eps + sigma * now.noise
    torch.testing.assert_close(both.sample, sample.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [DiffuseIT, MPGD])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_freedom_steps_are_as_long_as_the_predicted_noise(kind, scale):
    now, method = state(), kind(step_rule="freedom", step_size=0.2)
    gradient = scale * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    guided, plain = (method.step(now, g, None) for g in (gradient, None))
    moved = guided.sample - plain.sample if kind is DiffuseIT else guided.pred_xstart - plain.pred_xstart
    eps = now.schedule.eps_from_xstart(now.x_t, now.prediction.pred_xstart, now.t)
    torch.testing.assert_close(rms(moved), 0.2 * rms(eps), rtol=1e-3, atol=1e-5)
    assert (torch.cosine_similarity(moved.flatten(1), -gradient.flatten(1)) > 0.999).all()


@pytest.mark.parametrize("rule", ["normalized", "freedom"])
@pytest.mark.parametrize(
    "method", [DiffuseIT(), DiffuseITDDIM(eta=0.5), MPGD(eta=0.5), AGG(eta=0.5, inner_steps=0)], ids=str
)
def test_a_zero_gradient_moves_nothing(method, rule):
    now, method, inner = state(), replace(method, step_rule=rule), SimpleNamespace(gradient=None)
    zero, none = (method.step(now, g, inner) for g in (torch.zeros_like(now.x_t), None))
    torch.testing.assert_close(zero.sample, none.sample)


def test_the_noise_may_count_as_fixed(models, scene):
    """Without the backward pass, d(pred_xstart)/d(x_t) is 1 / sqrt(abar): MPGD's gradient, scaled."""
    losses = bind([StructureLoss(self_similarity=1, contrastive=0)], vit=models.vit)

    def first(settings):
        return next(sample(models.ddpm, scene, losses, replace(settings, view="pred_xstart"), 0))

    fixed, at_prediction = first(replace(quick("diffuseit"), backward_until=0.0)), first(quick("mpgd"))
    alpha = models.ddpm.schedule(QUICK.steps).sqrt_alphas_cumprod[fixed.t]
    torch.testing.assert_close(fixed.gradient * float(alpha), at_prediction.gradient, rtol=1e-3, atol=1e-8)


def test_adamw_is_torchs():
    generator = torch.Generator().manual_seed(0)
    start, wanted = (torch.randn(1, 3, 8, 8, generator=generator) for _ in range(2))
    offset = torch.full_like(start, 1e-8).requires_grad_()
    optimizer = torch.optim.AdamW([offset], lr=0.05)
    for _ in range(7):
        optimizer.zero_grad()
        (start + offset - wanted).abs().pow(1.5).sum().backward()
        optimizer.step()

    def gradient(y):
        return 1.5 * (y - wanted).abs().sqrt() * (y - wanted).sign()

    torch.testing.assert_close(adamw(start, gradient, 7, 0.05), start + offset.detach())


def test_inner_evaluations_compare_with_no_earlier_step(models, pair):
    source, other = pair.split(1)
    text = TextStyleLoss(to="winter", weight=1, crops=0, progressive_contrast=True)
    losses = bind(
        [text, SemanticDivergenceLoss(until=1.0, weight=1), ImageStyleLoss(cls=1, pixels=0)],
        vit=models.vit,
        clip=models.clip,
        style=other,
    )
    losses[2] = replace(losses[2], inner=False)
    guided = guidance(losses, source, view="pred_xstart")
    now, later = make_timetable(levels=6)[:2]
    views = {"pred_xstart": other, "noised": other}
    first = guided.evaluate(views, now)
    assert set(first.terms) == {"text_style", "divergence", "style_cls"}
    moved = dict.fromkeys(views, other + 0.2)
    inner = guided.evaluate(moved, now, inner=True)
    assert set(inner.terms) == {"text_style"}
    # The next step compares with the first one's view, not with the inner one's.
    again = guided.evaluate(views, later)
    assert again.terms["divergence"].abs().item() == pytest.approx(0, abs=1e-9)
    # Inside, the weight is the plain one; outside it followed the value before (above -0.5: content halved).
    plain = guidance(bind([replace(text, progressive_contrast=False)], clip=models.clip), source)
    expected = plain.evaluate(moved, now).terms["text_style"]
    torch.testing.assert_close(inner.terms["text_style"], expected)
    assert expected.item() > -0.5
    at_views = plain.evaluate(views, now).terms["text_style"]
    torch.testing.assert_close(again.terms["text_style"], at_views / 0.5)


@pytest.mark.parametrize(("follows", "observed"), [(False, 0), (True, 4)])
def test_observing_costs_nothing_where_no_weight_follows(models, scene, follows, observed):
    """OfficialAGG shows the losses where its last inner step starts; here that is its only one."""
    looked = SimpleNamespace(count=0)
    handle = models.vit.register_forward_hook(lambda *_: setattr(looked, "count", looked.count + 1))
    loss = StructureLoss(self_similarity=1, contrastive=1, progressive_contrast=follows)
    settings = quick("agg-official", inner_steps=1)
    try:
        list(sample(models.ddpm, scene, bind([loss], vit=models.vit), settings, 0))
    finally:
        handle.remove()
    assert looked.count == 4 + 1 + observed


def test_eta_follows_fractions_of_the_run():
    method = MPGD(eta=((0.3, 0.7), (1.0, 0.2)))
    etas = [method.eta_at(state(level=level, levels=10)) for level in range(10)]
    assert etas == [0.7] * 3 + [0.2] * 7


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        (MPGD, {"eta": 1.5}),
        (MPGD, {"eta": ((0.5, 0.5),)}),
        (MPGD, {"eta": ()}),
        (MPGD, {"eta": ((0.5, 0.5), (1.0, 1.5))}),
        (DSG, {"eta": 0.0}),
        (AGG, {"start": "middle"}),
        (AGG, {"inner_steps": -1}),
        (AGG, {"inner_rate": 0.0}),
        (DiffuseIT, {"step_rule": "x"}),
        (DiffuseIT, {"step_size": float("nan")}),
    ],
)
def test_knobs_that_cannot_work_are_refused(kind, knobs):
    (knob,) = knobs
    with pytest.raises(InputError, match=rf"{kind.__name__}\.{knob}"):
        kind(**knobs)
