"""The loop's promises that no recorded run shows: batches, bad settings, divergence."""

import dataclasses

import pytest
import torch

from diffuseit import api
from diffuseit.errors import DivergedError, InputError
from diffuseit.guidance.guidance import Objective
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.guidance.mask import mean_inside
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import (
    ImageStyleLoss,
    MaskedLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
)
from diffuseit.losses.base import Term
from diffuseit.performance.options import Execution
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.presets import PRESETS, TEXT_DEFAULT

QUICK = SamplerSettings(steps=6, skip=2, resample=2, step_rule="normalized", step_size=0.5)


@pytest.fixture(scope="module")
def models():
    return api.load_models("pocket")


@pytest.fixture(scope="module")
def scenes():
    return render(sample_geometry("landscape", [1, 2, 3]), [0, 2, 4], [5, 6, 7])


def text_losses(models, to="winter landscape"):
    return PRESETS["pocket-text"].build(models, to=to, from_="summer landscape")


def final(models, source, losses, settings, seed):
    return list(sample(models.ddpm, source, losses, settings, seed))[-1].pred_xstart


@pytest.mark.slow
def test_a_picture_does_not_depend_on_its_neighbours(models, scenes):
    losses = text_losses(models)
    batch = final(models, scenes, losses, QUICK, seed=10)
    alone = final(models, scenes[2:], losses, QUICK, seed=12)
    assert (batch[2] - alone[0]).abs().max() < 1e-2
    other = final(models, scenes[2:], losses, QUICK, seed=13)
    assert (batch[2] - other[0]).abs().max() > 0.1


@pytest.mark.slow
def test_restarts_keep_pictures_independent(models, scenes):
    settings = dataclasses.replace(QUICK, restart_above=-1.0, max_restarts=1)
    losses = text_losses(models, to=("winter", "desert", "night"))
    steps = list(sample(models.ddpm, scenes, losses, settings, 3))
    assert {step.items for step in steps} == {range(i, i + 1) for i in range(3)}
    assert sum(step.restarted for step in steps) == 3
    assert [step.number for step in steps] == list(range(len(steps)))
    alone = final(models, scenes[1:2], text_losses(models, to="desert"), settings, 4)
    batch = [step for step in steps if step.items == range(1, 2)][-1].pred_xstart
    assert (alone - batch).abs().max() < 1e-2


@pytest.mark.slow
def test_guidance_by_each_loss_alone_lowers_it(models, scenes):
    source, target = scenes[:1], scenes[1:2]
    alone = [
        TextStyleLoss(clip=models.clip, to="winter", weight=1, crops=0),
        ImageStyleLoss(vit=models.vit, target=target, cls=1, pixels=0),
        StructureLoss(vit=models.vit, self_similarity=1, contrastive=0),
    ]
    for loss in alone:
        guided = list(sample(models.ddpm, source, [loss], QUICK, 0))[-1]
        pushed = dataclasses.replace(QUICK, step_size=-0.5)
        opposed = list(sample(models.ddpm, source, [loss], pushed, 0))[-1]
        assert sum(guided.terms.values()) < sum(opposed.terms.values()), loss


def test_divergence_is_off_at_the_end(models, scenes):
    loss = SemanticDivergenceLoss(vit=models.vit, until=1)
    steps = list(sample(models.ddpm, scenes[:1], [loss], QUICK, 0))
    assert [("divergence" in step.terms) for step in steps] == [step.index > 1 for step in steps]


def test_steps_count_down_and_the_total_is_right(models, scenes):
    steps = list(sample(models.ddpm, scenes[:1], [RangeLoss()], QUICK, 0))
    assert [step.index for step in steps] == [3, 3, 2, 1, 0]
    assert {step.total for step in steps} == {5}


@pytest.mark.parametrize(
    "settings",
    [
        {"skip": 100},
        {"steps": 0},
        {"resample": 0},
        {"skip": -1},
        {"method": "x"},
        {"view": "x"},
        {"step_size": float("nan")},
    ],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(InputError):
        SamplerSettings(**settings)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(weight):
    for make in (
        lambda: RangeLoss(weight=weight),
        lambda: StructureLoss(contrastive=weight),
        lambda: TextStyleLoss(weight=weight),
        lambda: ImageStyleLoss(pixels=weight),
        lambda: SemanticDivergenceLoss(weight=weight),
    ):
        with pytest.raises(InputError, match="finite"):
            make()


def test_bad_input_is_refused_before_the_network_runs(models, scenes):
    with pytest.raises(InputError, match="no losses"):
        sample(models.ddpm, scenes, [], QUICK)
    with pytest.raises(InputError, match="multiples"):
        sample(models.ddpm, scenes[..., :63], [RangeLoss()], QUICK)
    with pytest.raises(InputError, match="not finite"):
        sample(models.ddpm, scenes * float("nan"), [RangeLoss()], QUICK)
    with pytest.raises(InputError, match="empty"):
        TextStyleLoss(to=" ")
    with pytest.raises(InputError, match="either a text or a style"):
        api.translate(scenes, models=models)
    with pytest.raises(InputError, match="no preset"):
        api.translate(scenes, to="winter", preset="nonsense", models=models)
    with pytest.raises(InputError, match="guided by image"):
        api.translate(scenes, to="winter", preset="pocket-image", models=models)


def test_a_loss_that_leaves_the_finite_numbers_is_named(models, scenes):
    class Broken:
        def bind(self, source, features_of):
            return [Term("broken", 1.0, lambda look: look.features.mean(dim=(1, 2, 3)) / 0)]

        def item(self, index):
            return self

    with pytest.raises(DivergedError, match=r"level 3.*'broken'"):
        list(sample(models.ddpm, scenes[:1], [Broken()], QUICK))


def test_other_step_counts_keep_the_proportion_of_skipped_steps(models, scenes):
    seen = []
    api.translate(scenes[:1], to="winter", models=models, steps=8, on_step=seen.append)
    default = PRESETS[TEXT_DEFAULT].sampler
    assert seen[0].index == 8 - 8 * default.skip // default.steps - 1


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
@pytest.mark.parametrize("start", ["noise", "inversion"])
def test_the_first_noisy_picture_keeps_as_much_of_the_mean_colour_as_it_should(models, scenes, start, masked):
    mask = half(scenes) if masked else torch.ones_like(half(scenes))
    settings = dataclasses.replace(QUICK, start=start)
    whole, some = (
        next(sample(models.ddpm, scenes, text_losses(models), one, 0, mask=mask if masked else None)).x_t
        for one in (settings, dataclasses.replace(settings, start_colour=0.25))
    )
    signal = float(models.ddpm.schedule(QUICK.steps).sqrt_alphas_cumprod[QUICK.first])
    mean = (scenes * mask).sum((2, 3), keepdim=True) / mask.sum()
    torch.testing.assert_close(whole - some, 0.75 * signal * mean * mask, rtol=1e-4, atol=1e-6)
    assert mean.abs().max() > 0.05


def test_a_mask_that_lets_nothing_change_has_no_colour():
    assert torch.equal(mean_inside(torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)), torch.zeros(1, 3, 1, 1))


def test_masks_of_a_batch_go_with_their_pictures_through_restarts(models, scenes):
    masks = torch.cat([half(scenes), 1 - half(scenes), half(scenes)])
    settings = dataclasses.replace(QUICK, restart_above=-1.0, max_restarts=1)
    steps = list(sample(models.ddpm, scenes, text_losses(models), settings, 0, mask=masks))
    second = [step for step in steps if step.items == range(1, 2)][-1].pred_xstart
    assert torch.equal(second[..., :32], scenes[1:2, ..., :32])


@pytest.mark.parametrize("shape", [(1, 1, 32, 64), (2, 1, 64, 64), (1, 3, 64, 64), (64, 64)])
def test_a_mask_that_does_not_fit_is_an_input_error(models, scenes, shape):
    with pytest.raises(InputError, match="mask"):
        sample(models.ddpm, scenes, text_losses(models), QUICK, 0, mask=torch.ones(shape))


def test_a_masked_loss_moves_only_what_its_mask_shows(models, scenes):
    loss = ImageStyleLoss(vit=models.vit, target=scenes[1:2], cls=1, pixels=1)
    objective = Objective([MaskedLoss(loss, half(scenes))], scenes[:1], "pred_xstart")
    view = {"pred_xstart": scenes[:1]}
    gradient = objective.evaluate(view, 0, Seeded(0, 1)).gradients["pred_xstart"]
    whole = Objective([loss], scenes[:1], "pred_xstart").evaluate(view, 0, Seeded(0, 1))
    torch.testing.assert_close(gradient[..., :32], whole.gradients["pred_xstart"][..., :32])
    assert not gradient[..., 32:].any()


def test_crops_in_small_batches_give_the_same_gradient(models, scenes):
    loss = TextStyleLoss(clip=models.clip, to="winter", weight=1, crops=5)
    view = {"noised": scenes[:2]}
    whole, parts = (
        Objective([loss], scenes[:2], "noised", Execution(crop_batch=batch)).evaluate(view, 0, Seeded(0, 2))
        for batch in (None, 3)
    )
    torch.testing.assert_close(parts.gradients["noised"], whole.gradients["noised"], rtol=1e-4, atol=1e-7)
