"""The loop's promises that no recorded run shows: batches, restarts, masks, bad input, divergence."""

from dataclasses import dataclass, replace

import pytest
import torch
from losses_alone import guidance

from diffuseit import translate
from diffuseit.errors import DivergedError, InputError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.mask import mean_inside
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import Visit
from diffuseit.losses import (
    ImageStyleLoss,
    Loss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    Term,
    TextStyleLoss,
    bind,
)
from diffuseit.methods import AGG, DiffuseIT
from diffuseit.performance.options import Execution
from diffuseit.presets import PRESETS, TEXT_DEFAULT

QUICK = SamplerSettings(steps=6, skip=2, resample=2, method=DiffuseIT(step_rule="normalized", step_size=0.5))


def text_losses(models, to="winter landscape"):
    return PRESETS["pocket-text"].build(models, to=to, from_="summer landscape")


def final(models, source, losses, settings, seed):
    return list(sample(models.ddpm, source, losses, settings, seed))[-1].pred_xstart


@pytest.mark.slow
def test_a_picture_does_not_depend_on_its_neighbors(models, scenes):
    losses = text_losses(models)
    batch = final(models, scenes, losses, QUICK, seed=10)
    alone = final(models, scenes[2:], losses, QUICK, seed=12)
    assert (batch[2] - alone[0]).abs().max() < 1e-2
    other = final(models, scenes[2:], losses, QUICK, seed=13)
    assert (batch[2] - other[0]).abs().max() > 0.1


@dataclass(frozen=True, kw_only=True)
class AlwaysOutside(Loss):
    """A range loss of 1 for any picture, so that every one restarts."""

    def terms(self, source, inputs, features_of):
        return [Term("range", 1.0, lambda look: 1 + 0 * look.features.sum(dim=(1, 2, 3)))]


@pytest.mark.slow
def test_restarts_keep_pictures_independent(models, scenes):
    settings = replace(QUICK, restart_above=0.5, max_restarts=1)
    losses = [*text_losses(models, to=("winter", "desert", "night")), *bind([AlwaysOutside()])]
    steps = list(sample(models.ddpm, scenes, losses, settings, 3))
    assert {step.items for step in steps} == {range(i, i + 1) for i in range(3)}
    assert sum(step.restarted for step in steps) == 3
    assert [step.number for step in steps] == list(range(len(steps)))
    assert steps[-1].total == len(steps)
    losses = [*text_losses(models, to="desert"), *bind([AlwaysOutside()])]
    alone = final(models, scenes[1:2], losses, settings, 4)
    batch = [step for step in steps if step.items == range(1, 2)][-1].pred_xstart
    assert (alone - batch).abs().max() < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        TextStyleLoss(to="winter", weight=1, crops=0),
        ImageStyleLoss(cls=1, pixels=0),
        StructureLoss(self_similarity=1, contrastive=0),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_guidance_by_each_loss_alone_lowers_it(models, scenes, loss):
    losses = bind([loss], vit=models.vit, clip=models.clip, style=scenes[1:2])

    def value(step_size):
        settings = replace(QUICK, method=replace(QUICK.method, step_size=step_size))
        return sum(list(sample(models.ddpm, scenes[:1], losses, settings, 0))[-1].terms.values())

    assert value(0.5) < value(0.0)


def test_divergence_is_off_at_the_end(models, scene):
    losses = bind([SemanticDivergenceLoss(until=0.5)], vit=models.vit)
    steps = list(sample(models.ddpm, scene, losses, QUICK, 0))
    assert [("divergence" in step.terms) for step in steps] == [step.t > 1 for step in steps]


def test_steps_count_down_and_the_total_is_right(models, scene):
    steps = list(sample(models.ddpm, scene, bind([RangeLoss()]), QUICK, 0))
    assert [step.t for step in steps] == [3, 3, 2, 1, 0]
    assert {step.total for step in steps} == {5}


def test_bad_input_is_refused_before_the_network_runs(models, scenes):
    losses = bind([RangeLoss()])
    with pytest.raises(InputError, match="no losses"):
        sample(models.ddpm, scenes, [], QUICK)
    with pytest.raises(InputError, match="multiples"):
        sample(models.ddpm, scenes[..., :63], losses, QUICK)
    with pytest.raises(InputError, match="not finite"):
        sample(models.ddpm, scenes * float("nan"), losses, QUICK)
    with pytest.raises(InputError, match="either a text or a style"):
        translate(scenes, models=models)
    with pytest.raises(InputError, match="no preset"):
        translate(scenes, to="winter", preset="nonsense", models=models)
    with pytest.raises(InputError, match="guided by image"):
        translate(scenes, to="winter", preset="pocket-image", models=models)


@dataclass(frozen=True, kw_only=True)
class BrokenLoss(Loss):
    def terms(self, source, inputs, features_of):
        return [Term("broken", 1.0, lambda look: look.features.mean(dim=(1, 2, 3)) / 0)]


def test_a_loss_that_leaves_the_finite_numbers_is_named(models, scene):
    with pytest.raises(DivergedError, match=r"timestep 3.*'broken'"):
        list(sample(models.ddpm, scene, bind([BrokenLoss()]), QUICK))


def test_other_step_counts_keep_the_proportion_of_skipped_steps(models, scene):
    seen = []
    translate(scene, to="winter", models=models, steps=8, on_step=seen.append)
    default = PRESETS[TEXT_DEFAULT].sampler
    assert seen[0].t == 8 - 8 * default.skip // default.steps - 1


def half(scenes):
    """1 in the left half."""
    mask = torch.zeros(1, 1, *scenes.shape[-2:])
    mask[..., : scenes.shape[-1] // 2] = 1
    return mask


def test_outside_the_mask_the_source_survives_exactly(models, scenes):
    mask = half(scenes)
    steps = list(sample(models.ddpm, scenes, text_losses(models), QUICK, 0, mask=mask))
    for step in steps:
        assert torch.equal(step.pred_xstart[..., 32:], scenes[..., 32:])
    assert (steps[-1].pred_xstart[..., :32] - scenes[..., :32]).abs().mean() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", [QUICK.method, AGG()], ids=["noise", "inversion"])
def test_the_first_noisy_picture_keeps_as_much_of_the_mean_color_as_it_should(models, scenes, method, masked):
    mask = half(scenes) if masked else torch.ones_like(half(scenes))
    settings = replace(QUICK, method=method)
    whole, some = (
        next(sample(models.ddpm, scenes, text_losses(models), one, 0, mask=mask if masked else None)).x_t
        for one in (settings, replace(settings, start_color=0.25))
    )
    signal = float(models.ddpm.schedule(QUICK.steps).sqrt_alphas_cumprod[QUICK.timetable[0].t])
    mean = (scenes * mask).sum((2, 3), keepdim=True) / mask.sum()
    torch.testing.assert_close(whole - some, 0.75 * signal * mean * mask, rtol=1e-4, atol=1e-6)
    assert mean.abs().max() > 0.05


def test_a_mask_that_lets_nothing_change_has_no_color():
    assert torch.equal(mean_inside(torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)), torch.zeros(1, 3, 1, 1))


def test_masks_of_a_batch_go_with_their_pictures_through_restarts(models, scenes):
    masks = torch.cat([half(scenes), 1 - half(scenes), half(scenes)])
    settings = replace(QUICK, restart_above=0.5, max_restarts=1)
    losses = [*text_losses(models), *bind([AlwaysOutside()])]
    steps = list(sample(models.ddpm, scenes, losses, settings, 0, mask=masks))
    assert any(step.restarted for step in steps)
    second = [step for step in steps if step.items == range(1, 2)][-1].pred_xstart
    assert torch.equal(second[..., :32], scenes[1:2, ..., :32])


@pytest.mark.parametrize("shape", [(1, 1, 32, 64), (2, 1, 64, 64), (1, 3, 64, 64), (64, 64)])
def test_a_mask_that_does_not_fit_is_an_input_error(models, scenes, shape):
    with pytest.raises(InputError, match="mask"):
        sample(models.ddpm, scenes, text_losses(models), QUICK, 0, mask=torch.ones(shape))


def test_a_masked_loss_moves_only_what_its_mask_shows(models, scenes):
    (bound,) = bind([ImageStyleLoss(cls=1, pixels=1)], vit=models.vit, style=scenes[1:2])

    def gradient(loss):
        guided = guidance([loss], scenes[:1], view="pred_xstart")
        return guided.evaluate({"pred_xstart": scenes[:1]}, Visit(0)).gradients["pred_xstart"]

    masked, whole = gradient(replace(bound, mask=half(scenes))), gradient(bound)
    torch.testing.assert_close(masked[..., :32], whole[..., :32])
    assert not masked[..., 32:].any()


def test_crops_in_small_batches_give_the_same_gradient(models, pair):
    losses = bind([TextStyleLoss(to="winter", weight=1, crops=5)], clip=models.clip)
    whole, parts = (
        guidance(losses, pair, options=Execution(crop_batch=batch)).evaluate({"noised": pair}, Visit(0))
        for batch in (None, 3)
    )
    torch.testing.assert_close(parts.gradients["noised"], whole.gradients["noised"], rtol=1e-4, atol=1e-7)
