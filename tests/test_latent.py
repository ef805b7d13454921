"""Guidance of latent models: the loop on sigmas, and predictions moved inside a foreign sampler."""

import math

import pytest
import torch
from losses_alone import Toward
from torch import nn

from diffuseit.correspondence import Agreement, LatentAgreement, from_flow, neighbors, warp
from diffuseit.errors import InputError
from diffuseit.film import FilmSettings, translate_sequence
from diffuseit.guidance.loop import sample
from diffuseit.guidance.prediction import PredictionGuidance, PredictionSettings
from diffuseit.guidance.rng import Seeded
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses.base import BoundLoss
from diffuseit.methods import DSG, MPGD, DiffuseIT, DiffuseITDDIM
from diffuseit.models.latent import LatentDiffusion, Sigmas

FLOW = Sigmas((0.9, 0.7, 0.5, 0.3, 0.1, 0.0), flow=True)
NOISE = Sigmas((14.6, 6.0, 2.0, 0.7, 0.2, 0.0))


class Halving(nn.Module):
    """An autoencoder of one layer: latents [B, 3, H / 2, W / 2] are means of squares of pixels, times 2."""

    factor = 2

    def encode(self, image):
        return 2 * nn.functional.avg_pool2d(image, 2)

    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=2) / 2

    decode = forward

    def networks(self):
        return {"decoder": self}


def smooth(x, sigma):
    """A differentiable, nonlinear prediction of x_0."""
    return torch.tanh(x / (1 + sigma))


def backbone(sigmas, denoise=smooth, **options):
    return LatentDiffusion(denoise, sigmas, Halving(), channels=3, **options)


def noise_like(sigmas, count=1):
    """An x at the first sigma, in the scaling of the model."""
    generator = torch.Generator().manual_seed(3)
    return sigmas.scale(sigmas.values[0]) * torch.randn(count, 3, 8, 8, generator=generator)


def euler(sigmas, x, denoise):
    """Euler's method in k-diffusion's form, which holds for flows as well."""
    for sigma, below in zip(sigmas.values, sigmas.values[1:], strict=False):
        x = x + (below - sigma) * (x - denoise(x, sigma)) / sigma
    return x


def run(sigmas, method, losses=(), x=None, seed=0, source=None, denoise=smooth, **settings):
    x = noise_like(sigmas) if x is None else x
    source = torch.zeros(len(x), 3, 16, 16) if source is None else source
    settings = SamplerSettings(steps=sigmas.steps, skip=0, resample=1, method=method, **settings)
    steps = sample(
        backbone(sigmas, denoise),
        source,
        losses,
        settings,
        seed,
        x_start=x / sigmas.scale(sigmas.values[0]),
        allow_unguided=True,
    )
    return list(steps)


@pytest.mark.parametrize("sigmas", [FLOW, NOISE], ids=["flow", "noise"])
def test_without_losses_the_loop_is_eulers_method(sigmas):
    x = noise_like(sigmas)
    last = run(sigmas, DiffuseITDDIM(), x=x)[-1]
    assert torch.allclose(last.x_0, euler(sigmas, x, smooth), atol=1e-5)


@pytest.mark.parametrize("sigmas", [FLOW, NOISE], ids=["flow", "noise"])
@pytest.mark.parametrize(
    "method", [MPGD(step_rule="normalized"), DSG(step_size=0.3), DiffuseIT(step_rule="normalized")]
)
def test_every_method_follows_the_losses(sigmas, method):
    losses = [BoundLoss(Toward(level=0.4, size=5.0))]
    free, guided = run(sigmas, method)[-1].pred_xstart, run(sigmas, method, losses)[-1].pred_xstart
    assert (guided - 0.4).abs().mean() < 0.9 * (free - 0.4).abs().mean()


@pytest.mark.parametrize("sigmas", [FLOW, NOISE], ids=["flow", "noise"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["noise follows", "noise stays"])
def test_eulers_method_with_moved_predictions_is_mpgd(sigmas, symmetric):
    losses, x = [BoundLoss(Toward(level=0.4, size=5.0))], noise_like(sigmas)
    method = MPGD(step_rule="normalized", symmetric=symmetric, eta=0.0)
    own = run(sigmas, method, losses, x=x, guide_until=0.8)[-1].x_0
    settings = PredictionSettings(method=method, guide_until=0.8)
    guidance = PredictionGuidance(losses, torch.zeros(1, 3, 16, 16), backbone(sigmas), settings)

    def denoise(x, sigma):
        return guidance.guide(x, smooth(x, sigma), sigma).pred_xstart

    assert torch.allclose(euler(sigmas, x, denoise), own, atol=1e-4)
    assert not torch.allclose(own, euler(sigmas, x, smooth), atol=0.05)


def test_an_image_of_a_batch_is_guided_as_if_it_were_alone():
    losses, x = [BoundLoss(Toward(level=0.4))], noise_like(FLOW, count=3)
    source = torch.rand(3, 3, 16, 16)

    def guided(items):
        guidance = PredictionGuidance(losses, source[items], backbone(FLOW), PredictionSettings())
        return guidance.guide(x[items], smooth(x[items], 0.7), 0.7).pred_xstart

    assert torch.allclose(guided(slice(None))[2:], guided(slice(2, 3)), atol=1e-6)


def test_losses_act_in_the_chosen_steps_only():
    losses, x = [BoundLoss(Toward(level=0.4))], noise_like(FLOW)
    settings = PredictionSettings(guide_from=0.2, guide_until=0.8, every=2)
    guidance = PredictionGuidance(losses, torch.zeros(1, 3, 16, 16), backbone(FLOW), settings)
    found = [guidance.guide(x, smooth(x, sigma), sigma) for sigma in FLOW.values[:-1]]
    assert [bool(one.terms) for one in found] == [False, False, True, False, False]


def test_a_sigma_between_two_steps_belongs_to_the_step_above():
    assert [FLOW.at(sigma) for sigma in (0.95, 0.9, 0.8, 0.7, 0.05)] == [0, 0, 0, 1, 4]
    assert [FLOW.below(sigma) for sigma in (0.95, 0.9, 0.8, 0.1)] == [0.9, 0.7, 0.7, 0.0]


def test_the_anchor_draws_predictions_to_the_source_without_a_decoder():
    calls = []

    class Counting(Halving):
        def decode(self, x):
            calls.append(len(x))
            return super().decode(x)

    source, x = torch.full((1, 3, 16, 16), 0.5), noise_like(FLOW)
    latent = LatentDiffusion(smooth, FLOW, Counting(), channels=3)
    settings = PredictionSettings(anchor=0.5, guide_until=0.3)
    losses = [BoundLoss(Toward(level=0.4, size=0.0))]
    guidance = PredictionGuidance(losses, source, latent, settings)
    x_0 = 2 * nn.functional.avg_pool2d(source, 2)
    prediction = smooth(x, 0.9)
    assert torch.allclose(guidance.guide(x, prediction, 0.9).pred_xstart, torch.lerp(prediction, x_0, 0.5))


def test_losses_look_at_large_pictures_at_the_size_of_the_view():
    seen = []

    def look(context):
        seen.append(tuple(context.features.shape[-2:]))
        return context.features.square().mean((1, 2, 3))

    class Looking(Toward):
        def terms(self, source, inputs, features_of):
            seen.append(tuple(source.shape[-2:]))
            (term,) = super().terms(source, inputs, features_of)
            return [type(term)(term.name, term.weight, look, view="noised")]

    source = torch.zeros(1, 3, 96, 64)
    latent = backbone(FLOW, view_size=32)
    guidance = PredictionGuidance([BoundLoss(Looking(level=0.0))], source, latent, PredictionSettings())
    x = torch.randn(1, 3, 48, 32)
    moved = guidance.guide(x, smooth(x, 0.9), 0.9).pred_xstart
    assert seen == [(48, 32), (48, 32)]
    assert (moved != smooth(x, 0.9)).float().mean() > 0.99


@pytest.mark.parametrize(
    "values", [(), (1.0,), (1.0, 1.0, 0.0), (0.0, 1.0), (math.inf, 1.0, 0.0), (1.0, -0.1)]
)
def test_sigmas_that_give_no_run_are_refused(values):
    with pytest.raises(InputError, match="sigmas give no run"):
        Sigmas(values)


def test_steps_must_be_those_of_the_sigmas():
    with pytest.raises(InputError, match="sigmas for 5"):
        list(
            sample(
                backbone(FLOW), torch.zeros(1, 3, 16, 16), [BoundLoss(Toward(level=0.4))], SamplerSettings()
            )
        )


def test_the_mask_protects_latents():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    source = torch.rand(1, 3, 16, 16)
    steps = sample(
        backbone(FLOW),
        source,
        [BoundLoss(Toward(level=0.4))],
        SamplerSettings(steps=5, skip=0, resample=1, method=MPGD()),
        rng=Seeded(0, 1),
        mask=mask,
    )
    last = list(steps)[-1].x_0
    assert torch.allclose(last[..., 4:], Halving().encode(source)[..., 4:])


def test_noise_that_a_model_scales_counts_as_that_much_more():
    scaled = Sigmas((0.5, 0.0), flow=True, noise_scale=2.0)
    assert scaled.level(0.5) == 2.0
    x_0, noise = torch.zeros(1, 3, 64, 64), torch.randn(1, 3, 64, 64)
    x = 0.5 * x_0 + 0.5 * 2.0 * noise
    assert scaled.scale(0.5) == pytest.approx(math.hypot(0.5, 1.0))
    x_t, prediction = x / scaled.scale(0.5), LatentDiffusion(lambda x, sigma: x_0, scaled, Halving())
    schedule = prediction.schedule()
    assert torch.allclose(schedule.eps_from_xstart(x_t, x_0, 0), noise, atol=1e-6)


@pytest.mark.parametrize("sigmas", [FLOW, NOISE], ids=["flow", "noise"])
@pytest.mark.parametrize("rule", ["normalized", "variance"])
def test_a_gradient_through_the_network_is_that_of_the_paper(sigmas, rule):
    """DDIM with shifted noise (Dhariwal & Nichol 2021) moves the prediction by the same."""
    losses, x, size = [BoundLoss(Toward(level=0.4, size=50.0))], noise_like(sigmas), 0.3
    sigma = sigmas.values[0]
    method = MPGD(step_rule=rule, step_size=size, symmetric=True)
    guidance = PredictionGuidance(
        losses, torch.zeros(1, 3, 16, 16), backbone(sigmas), PredictionSettings(method=method)
    )
    moved = guidance.guide_through(x, lambda x: smooth(x, sigma), sigma).pred_xstart
    if rule == "variance":
        paper = run(sigmas, DiffuseITDDIM(step_rule=rule, step_size=size), losses, x=x)[0].x_0
        assert torch.allclose(moved, paper, atol=1e-4)
    leaf = x.clone().requires_grad_()
    loss = 50.0 * (Halving().decode(smooth(leaf, sigma)) - 0.4).square().mean()
    (gradient,) = torch.autograd.grad(loss, leaf)
    step = smooth(x, sigma) - moved
    assert torch.nn.functional.cosine_similarity(step.flatten(), gradient.flatten(), dim=0) > 0.9999
    still = guidance.guide(x, smooth(x, sigma), sigma).pred_xstart
    assert not torch.allclose(moved, still, atol=1e-3)


def test_a_network_without_a_graph_gives_no_gradient():
    guidance = PredictionGuidance(
        [BoundLoss(Toward(level=0.4))], torch.zeros(1, 3, 16, 16), backbone(FLOW), PredictionSettings()
    )
    with pytest.raises(InputError, match="no gradient comes back"):
        guidance.guide_through(noise_like(FLOW), lambda x: smooth(x, 0.9).detach(), 0.9)


def test_balance_makes_the_scale_of_a_loss_no_matter():
    def moved(size):
        losses = [BoundLoss(Toward(level=0.4, size=size)), BoundLoss(Toward(level=-0.4, size=1.0))]
        settings = PredictionSettings(balance="adaptive")
        guidance = PredictionGuidance(losses, torch.zeros(1, 3, 16, 16), backbone(FLOW), settings)
        x = noise_like(FLOW)
        return guidance.guide(x, smooth(x, 0.9), 0.9).pred_xstart

    assert torch.allclose(moved(1.0), moved(1000.0), atol=1e-5)


@pytest.mark.parametrize("size", [(48, 32), (37, 29), (20, 70)])
def test_a_shrunken_latent_is_seen_at_the_size_of_the_whole(size):
    image, x = torch.zeros(1, 3, 2 * size[0], 2 * size[1]), torch.zeros(1, 3, *size)
    for shrink in (1, 2, 3):
        latent = backbone(FLOW, view_size=16, shrink=shrink)
        assert latent.show(x).shape == latent.view(image).shape
    assert min(latent.show(x).shape[-2:]) == 16


def test_the_source_is_encoded_only_if_something_needs_it():
    class Unasked(Halving):
        def encode(self, image):
            raise AssertionError("nothing needs the source's latents")

    latent = LatentDiffusion(smooth, FLOW, Unasked(), channels=3)
    method = MPGD(step_rule="normalized", symmetric=True, inner_steps=1)
    guidance = PredictionGuidance(
        [BoundLoss(Toward(level=0.4))], torch.zeros(1, 3, 16, 16), latent, PredictionSettings(method=method)
    )
    x = noise_like(FLOW)
    assert not torch.equal(guidance.guide(x, smooth(x, 0.9), 0.9).pred_xstart, smooth(x, 0.9))


def panned_latents(count=3):
    """Latents of a batch, and the correspondences of images that a camera shows, 1 pixel further each time."""
    flow = torch.zeros(count - 1, 2, 16, 16)
    flow[:, 0] = -1.0
    return noise_like(FLOW, count), from_flow(flow, -flow)


def disagreement(images, links):
    here = images[list(links.image)]
    return float(((warp(images, links) - here).abs() * links.certainty).mean())


def test_latents_agree_where_their_images_correspond():
    latents, links = panned_latents()
    autoencoder = Halving()
    agreed = LatentAgreement(Agreement(links), autoencoder.decode, autoencoder.encode)(latents)
    before, after = (disagreement(autoencoder.decode(x), links) for x in (latents, agreed))
    assert after < 0.7 * before


def test_latents_whose_images_agree_stay_though_the_autoencoder_loses():
    class Lossy(Halving):
        def encode(self, image):
            return super().encode(image) + 0.3

    latents = noise_like(FLOW).expand(3, -1, -1, -1)
    agree = LatentAgreement(Agreement(neighbors(3, (16, 16))), Lossy().decode, Lossy().encode)
    assert torch.allclose(agree(latents), latents, atol=1e-6)


@pytest.mark.parametrize("through", [False, True], ids=["at the prediction", "through the network"])
def test_predictions_agree_in_a_foreign_sampler_whether_the_losses_act_or_not(through):
    x, seen = noise_like(FLOW, 2), []

    def agree(predictions):
        seen.append(len(predictions))
        return predictions.mean(0, keepdim=True).expand_as(predictions)

    guidance = PredictionGuidance(
        [BoundLoss(Toward(level=0.5, size=3.0))],
        torch.zeros(2, 3, 16, 16),
        backbone(FLOW),
        PredictionSettings(guide_until=0.5),
        agree=agree,
    )
    for sigma in FLOW.values[:-1]:
        if through:
            found = guidance.guide_through(x, lambda x, sigma=sigma: smooth(x, sigma), sigma)
        else:
            found = guidance.guide(x, smooth(x, sigma), sigma)
        apart = (found.pred_xstart[0] - found.pred_xstart[1]).abs().max()
        # Back through the network, the gradients of different x differ.
        assert apart < 1e-5 or (through and guidance.guides(sigma))
    assert seen == [2] * FLOW.steps


def test_the_frames_of_a_film_agree_in_latents_too():
    _, links = panned_latents(4)
    frames = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def made(during):
        film = FilmSettings(window=2, reach=1, during=during, consensus=0.0)
        settings = SamplerSettings(steps=FLOW.steps, skip=0, resample=1, method=MPGD())
        found = translate_sequence(
            backbone(FLOW),
            iter(frames),
            [BoundLoss(Toward(level=0.5, size=0.1))],
            settings,
            film=film,
            link=lambda indices, _: links.keep(lambda a, b: a in indices and b in indices).renumbered(
                lambda i: i - indices.start
            ),
        )
        return torch.stack([frame.picture for frame in found])

    assert disagreement(made(1.0), links) < 0.8 * disagreement(made(0.0), links)
