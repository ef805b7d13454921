"""What each guidance method does with a gradient, and what holds for all of them."""

import dataclasses
import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from diffuseit.methods.inner import adamw

from diffuseit import api
from diffuseit.errors import InputError
from diffuseit.guidance.guidance import Objective
from diffuseit.guidance.inversion import invert
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import (
    AnchorLoss,
    ImageStyleLoss,
    OuterLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
)
from diffuseit.methods import METHODS, Control, State
from diffuseit.methods.steps import ddim_sigma
from diffuseit.models.base import Prediction
from diffuseit.models.ddpm import DiffusionConfig
from diffuseit.models.schedule import make_schedule
from diffuseit.pocket.world.render import render, sample_geometry

QUICK = SamplerSettings(steps=5, skip=1, resample=1, step_rule="normalized", step_size=0.5)


@pytest.fixture(scope="module")
def models():
    return api.load_models("pocket")


@pytest.fixture(scope="module")
def scenes():
    return render(sample_geometry("landscape", [1, 2]), [0, 2], [5, 6])


def quick(method, **changes):
    return dataclasses.replace(QUICK, method=method, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_pictures_keep_to_themselves_and_outside_the_mask_to_the_source(models, scenes, method):
    terms = [TextStyleLoss(clip=models.clip, to="winter", weight=1, crops=1), AnchorLoss(weight=0.1)]
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    settings = quick(method, inner_steps=2)
    batch = list(sample(models.ddpm, scenes, terms, settings, 10, mask=mask))
    alone = list(sample(models.ddpm, scenes[1:], terms, settings, 11, mask=mask))
    for together, single in zip(batch, alone, strict=True):
        assert (together.pred_xstart[1] - single.pred_xstart[0]).abs().max() < 1e-2
        assert torch.equal(together.pred_xstart[..., 32:], scenes[..., 32:])
    assert (batch[-1].pred_xstart[..., :32] - scenes[..., :32]).abs().mean() > 0.02


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
def test_guidance_goes_downhill(models, scenes, method, rule):
    weight, length = LENGTHS[rule]
    loss = ImageStyleLoss(vit=models.vit, target=scenes[1:], cls=0, pixels=weight)
    settings = quick(method, steps=4, step_rule=rule, step_size=length, start="noise")

    def distance(**changes):
        run = sample(models.ddpm, scenes[:1], [loss], dataclasses.replace(settings, **changes), 0)
        return (list(run)[-1].pred_xstart - scenes[1:]).square().mean().item()

    assert distance() < distance(step_size=-length)


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
    ("changes", "unet", "vit"),
    [
        # 4 levels; the ViT sees the source once more.
        ({}, (4, 4), 4 + 1),
        ({"method": "diffuseit-ddim"}, (4, 4), 4 + 1),
        ({"guide_from": 0.25, "guide_until": 0.75}, (4, 2), 2 + 1),
        ({"guide_every": 3}, (4, 2), 2 + 1),
        ({"backward_until": 0.25}, (4, 1), 4 + 1),
        ({"method": "mpgd"}, (4, 0), 4 + 1),
        ({"method": "mpgd", "inner_steps": 2}, (4, 0), 3 * 4 + 1),
        ({"method": "dsg", "guide_until": 0.75}, (4, 3), 3 + 1),
        ({"method": "agg", "inner_steps": 2, "guide_until": 0.5}, (4 + 3, 2), 3 * 2 + 1),
        ({"method": "agg-official", "guide_until": 0.5, "inner_steps": 3}, (4 + 3, 2), 3 * 2 + 1),
        ({"travel": 3, "travel_from": 0.25, "travel_until": 0.5}, (4 + 2, 4 + 2), 4 + 2 + 1),
    ],
)
def test_network_calls_are_the_fewest(models, scenes, changes, unet, vit):
    settings = dataclasses.replace(QUICK, **changes)
    loss = StructureLoss(vit=models.vit, self_similarity=1, contrastive=0)
    counted, steps = calls(models, settings, scenes[:1], [loss])
    assert counted["unet"] == unet
    assert counted["vit"][0] == vit
    assert len(steps) == settings.visits == steps[0].total
    for step in steps:
        assert bool(step.terms) == settings.guides(step.index) == bool(step.gradient.any())


@pytest.mark.slow
def test_the_anchor_costs_the_inversion_only(models, scenes):
    counted, steps = calls(models, quick("diffuseit"), scenes[:1], [AnchorLoss()])
    assert counted["unet"] == (4 + 4, 4)
    assert all("anchor" in step.terms for step in steps)
    counted, steps = calls(models, quick("agg"), scenes[:1], [AnchorLoss()])
    assert counted["unet"] == (4 + 3, 4)
    assert steps[0].terms["anchor"] == 0  # the run starts on the inversion


@pytest.mark.slow
def test_inversion_leads_back_to_the_source(models, scenes):
    settings = SamplerSettings(steps=25, skip=10, method="diffuseit-ddim", start="inversion", guide_until=0.0)
    back = list(sample(models.ddpm, scenes, [RangeLoss()], settings, 0))[-1].pred_xstart
    noisy = dataclasses.replace(settings, start="noise")
    other = list(sample(models.ddpm, scenes, [RangeLoss()], noisy, 0))[-1].pred_xstart
    assert (back - scenes).abs().mean() < 0.5 * (other - scenes).abs().mean()
    assert (back - scenes).abs().mean() < 0.1


class Knowing:
    """A backbone that knows the picture: what it predicts is exact."""

    device, image_size, size_multiple, num_classes = torch.device("cpu"), 64, 1, None

    def __init__(self, picture):
        self.picture = picture

    def schedule(self, respacing):
        return make_schedule("linear", DiffusionConfig().train_timesteps, respacing)

    def predict(self, x_t, schedule, index, y=None):
        x_start = self.picture.expand_as(x_t)
        log_variance = torch.tensor(float(schedule.posterior_log_variance_clipped[index]))
        return Prediction(x_start, schedule.posterior_mean(x_start, x_t, index), log_variance)

    def encode(self, image):
        return image

    decode = encode


@pytest.mark.parametrize("method", ["diffuseit", "agg", "mpgd", "dsg"])
def test_unguided_steps_and_time_travel_keep_the_noise_of_each_level(scenes, method):
    picture = torch.zeros(1, 3, 256, 256)
    settings = SamplerSettings(
        steps=10, skip=2, resample=1, method=method, start="noise", eta=1.0, travel=3, guide_until=0.0
    )
    schedule = Knowing(picture).schedule(10)
    steps = list(sample(Knowing(picture), picture, [RangeLoss()], settings, 0))
    assert len(steps) == 1 + 7 * 3
    for step in steps:
        expected = float(schedule.sqrt_one_minus_alphas_cumprod[step.index])
        assert step.x_t.std().item() == pytest.approx(expected, rel=0.02)
    assert torch.equal(steps[-1].pred_xstart, picture)


def test_the_inversion_of_a_known_picture_is_its_noise():
    backbone = Knowing(torch.zeros(1, 3, 8, 8))
    schedule = backbone.schedule(10)
    x = torch.full((1, 3, 8, 8), 0.01)
    result = invert(backbone, schedule, x, 5, keep={2, 5}, labels=lambda: None)
    assert set(result.pred_xstart) == {2, 5}
    # The signal is gone at once, and what is left keeps its share of the noise.
    ratio = float(schedule.sqrt_one_minus_alphas_cumprod[5] / schedule.sqrt_one_minus_alphas_cumprod[0])
    torch.testing.assert_close(result.x, x * ratio)


def state(method="diffuseit", index=4, **control):
    schedule = make_schedule("linear", 1000, 10)
    generator = torch.Generator().manual_seed(0)
    x_t, pred_xstart, noise = (torch.randn(2, 3, 16, 16, generator=generator) for _ in range(3))
    prediction = Prediction(
        pred_xstart,
        schedule.posterior_mean(pred_xstart, x_t, index),
        torch.tensor(float(schedule.posterior_log_variance_clipped[index])),
    )
    settings = {"eta": METHODS[method].eta} | control
    return State(x_t, prediction, schedule, index, noise, Control(**settings))


def rms(x):
    return x.square().mean(dim=(1, 2, 3)).sqrt()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_dsg_goes_to_the_sphere(rate):
    now = state("dsg", step_size=rate)
    gradient = 50 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    move = METHODS["dsg"].move(now, gradient, None)
    mean = now.prediction.mean  # with eta 1 the DDIM mean is the posterior's
    sigma = ddim_sigma(now.schedule, now.index, 1.0)
    assert sigma == pytest.approx(math.sqrt(now.schedule.posterior_variance[now.index]))
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
    now = state("mpgd", step_size=2.0, eta=0.4)
    gradient = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    move = METHODS["mpgd"].move(now, gradient, None)
    alpha, alpha_prev = now.schedule.alphas_cumprod[4], now.schedule.alphas_cumprod[3]
    eps = (now.x_t - alpha**0.5 * now.prediction.pred_xstart) / (1 - alpha) ** 0.5
    guided = now.prediction.pred_xstart - 2.0 * (1 - alpha) * gradient
    sigma = 0.4 * ((1 - alpha_prev) / (1 - alpha)) ** 0.5 * (1 - alpha / alpha_prev) ** 0.5
    sample = alpha_prev**0.5 * guided + (1 - alpha_prev - sigma**2) ** 0.5 * eps + sigma * now.noise
    torch.testing.assert_close(move.pred_xstart, guided.float())
    torch.testing.assert_close(move.sample, sample.float(), rtol=1e-4, atol=1e-4)
    both = METHODS["mpgd"].move(
        dataclasses.replace(now, control=dataclasses.replace(now.control, symmetric=True)), gradient, None
    )
    eps = (now.x_t - alpha**0.5 * guided) / (1 - alpha) ** 0.5
    sample = alpha_prev**0.5 * guided + (1 - alpha_prev - sigma**2) ** 0.5 * eps + sigma * now.noise
    torch.testing.assert_close(both.sample, sample.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["diffuseit", "mpgd"])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_freedom_steps_are_as_long_as_the_predicted_noise(method, scale):
    now = state(method, step_rule="freedom", step_size=0.2)
    gradient = scale * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    guided, plain = (METHODS[method].move(now, g, None) for g in (gradient, None))
    moved = guided.sample - plain.sample if method == "diffuseit" else guided.pred_xstart - plain.pred_xstart
    eps = now.schedule.eps_from_xstart(now.x_t, now.prediction.pred_xstart, now.index)
    torch.testing.assert_close(rms(moved), 0.2 * rms(eps), rtol=1e-3, atol=1e-5)
    assert (torch.cosine_similarity(moved.flatten(1), -gradient.flatten(1)) > 0.999).all()


def test_a_zero_gradient_moves_nothing():
    for rule in ("normalized", "freedom"):
        for name in ("diffuseit", "diffuseit-ddim", "mpgd", "agg"):
            now = state(name, step_rule=rule, eta=0.5)
            zero, none = (METHODS[name].move(now, g, None) for g in (torch.zeros_like(now.x_t), None))
            torch.testing.assert_close(zero.sample, none.sample)


def test_the_noise_may_count_as_fixed(models, scenes):
    """Without the backward pass, d(pred_xstart)/d(x_t) is 1 / sqrt(abar): MPGD's gradient, scaled."""
    loss = StructureLoss(vit=models.vit, self_similarity=1, contrastive=0)
    seen = {"view": "pred_xstart"}
    fixed = next(sample(models.ddpm, scenes, [loss], quick("diffuseit", backward_until=0.0, **seen), 0))
    at_prediction = next(sample(models.ddpm, scenes, [loss], quick("mpgd", **seen), 0))
    alpha = models.ddpm.schedule(QUICK.steps).sqrt_alphas_cumprod[fixed.index]
    torch.testing.assert_close(fixed.gradient * float(alpha), at_prediction.gradient, rtol=1e-3, atol=1e-8)


def test_adamw_is_torchs():
    generator = torch.Generator().manual_seed(0)
    start, wanted = (torch.randn(1, 3, 8, 8, generator=generator) for _ in range(2))
    offset = torch.full_like(start, 1e-8).requires_grad_()
    optimiser = torch.optim.AdamW([offset], lr=0.05)
    for _ in range(7):
        optimiser.zero_grad()
        (start + offset - wanted).abs().pow(1.5).sum().backward()
        optimiser.step()

    def gradient(y):
        return 1.5 * (y - wanted).abs().sqrt() * (y - wanted).sign()

    torch.testing.assert_close(adamw(start, gradient, 7, 0.05), start + offset.detach())


def test_inner_evaluations_compare_with_no_earlier_step(models, scenes):
    text = TextStyleLoss(clip=models.clip, to="winter", weight=1, crops=0, progressive_contrast=True)
    terms = [
        text,
        SemanticDivergenceLoss(vit=models.vit, until=0, weight=1),
        OuterLoss(ImageStyleLoss(vit=models.vit, target=scenes[1:], cls=1, pixels=0)),
    ]
    objective = Objective(terms, scenes[:1], "pred_xstart")
    views = {"pred_xstart": scenes[1:], "noised": scenes[1:]}
    first = objective.evaluate(views, 5, Seeded(0, 1))
    assert set(first.terms) == {"text_style", "divergence", "style_cls"}
    moved = dict.fromkeys(views, scenes[1:] + 0.2)
    inner = objective.evaluate(moved, 5, Seeded(0, 1), inner=True)
    assert set(inner.terms) == {"text_style"}
    assert objective.remembers
    # The next step compares with the first one's view, not with the inner one's.
    again = objective.evaluate(views, 4, Seeded(0, 1))
    assert again.terms["divergence"].abs().item() == pytest.approx(0, abs=1e-9)
    # Inside, the weight is the plain one; outside it followed the value before (above -0.5: content halved).
    plain = Objective([dataclasses.replace(text, progressive_contrast=False)], scenes[:1], "pred_xstart")
    expected = plain.evaluate(moved, 5, Seeded(0, 1)).terms["text_style"]
    torch.testing.assert_close(inner.terms["text_style"], expected)
    assert expected.item() > -0.5
    at_views = plain.evaluate(views, 5, Seeded(0, 1)).terms["text_style"]
    torch.testing.assert_close(again.terms["text_style"], at_views / 0.5)


def test_looking_costs_nothing_where_no_weight_follows(models, scenes):
    looked = SimpleNamespace(count=0)
    handle = models.vit.register_forward_hook(lambda *_: setattr(looked, "count", looked.count + 1))
    loss = StructureLoss(vit=models.vit, self_similarity=1, contrastive=0)
    try:
        list(sample(models.ddpm, scenes[:1], [loss], quick("agg-official", inner_steps=1), 0))
    finally:
        handle.remove()
    assert looked.count == 4 + 1


def test_levels_guidance_and_eta_follow_fractions_of_the_run():
    settings = SamplerSettings(
        steps=12,
        skip=2,
        resample=3,
        travel=2,
        travel_from=0.2,
        travel_until=0.4,
        guide_from=0.1,
        guide_until=0.6,
        guide_every=2,
        eta=((0.3, 0.7), (1.0, 0.2)),
        method="mpgd",
    )
    assert settings.levels == [9, 9, 9, 8, 7, 7, 6, 6, 5, 4, 3, 2, 1, 0]
    assert [i for i in range(10) if settings.guides(i)] == [4, 6, 8]
    assert [settings.control(i).eta for i in (9, 7, 6, 0)] == [0.7, 0.7, 0.2, 0.2]
    assert SamplerSettings(method="diffuseit-ddim", travel=5).visits == 60


@pytest.mark.parametrize(
    "settings",
    [
        {"guide_from": -0.1},
        {"guide_until": 1.1},
        {"guide_every": 0},
        {"backward_until": float("nan")},
        {"start_colour": 1.5},
        {"travel": 0},
        {"start": "middle"},
        {"eta": 1.5},
        {"eta": ((0.5, 0.5),)},
        {"eta": ()},
        {"method": "dsg", "eta": 0.0},
        {"inner_steps": -1},
        {"inner_rate": 0.0},
        {"step_rule": "x"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(InputError):
        SamplerSettings(**settings)
