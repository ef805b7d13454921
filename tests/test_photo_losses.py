"""Losses that photos need, against closed forms; weights that change over the run."""

import dataclasses

import pytest
import torch
from torch import nn

from diffuseit import api
from diffuseit.errors import InputError
from diffuseit.guidance.guidance import Objective
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.images.serial import from_json, to_json
from diffuseit.losses import (
    ColourStatisticsLoss,
    IdentityLoss,
    MaskedLoss,
    RangeLoss,
    ScheduledLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
)
from diffuseit.losses.color_statistics import colour_moments
from diffuseit.losses.scheduled import along, ramp
from diffuseit.presets import PRESETS, Preset, settle

QUICK = SamplerSettings(steps=7, skip=2, resample=2, step_rule="normalized", step_size=0.5)


@pytest.fixture(scope="module")
def models():
    return api.load_models("pocket")


def pictures(count=2, height=8, width=12, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def evaluated(loss, source, image, first=0, index=0):
    """Weighted values by term, and the gradient at the view."""
    evaluation = Objective([loss], source, "pred_xstart", first=first).evaluate(
        {"pred_xstart": image}, index, None
    )
    return evaluation.terms, evaluation.gradients.get("pred_xstart")


def test_anchors_are_the_mean_distance_and_its_derivative():
    source, image = pictures(seed=1), pictures(seed=2)
    difference, count = image - source, image[0].numel()
    terms, gradient = evaluated(SourceAnchorLoss(weight=3.0, norm="l1"), source, image)
    torch.testing.assert_close(terms["source_anchor"], 3 * difference.abs().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(gradient, 3 * difference.sign() / count)
    terms, gradient = evaluated(SourceAnchorLoss(weight=3.0, norm="l2"), source, image)
    torch.testing.assert_close(terms["source_anchor"], 3 * difference.square().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(gradient, 6 * difference / count)


def test_an_anchor_at_rest_does_not_pull():
    source = pictures()
    for norm in ("l1", "l2"):
        assert not evaluated(SourceAnchorLoss(norm=norm), source, source.clone())[1].any()


def test_colour_moments_are_those_of_numpy():
    image = pictures(1, 4, 6)
    mean, covariance = colour_moments(image, grid=2)
    corner = image[0, :, 2:, 3:].reshape(3, -1)
    torch.testing.assert_close(mean[0, 3], corner.mean(dim=1))
    torch.testing.assert_close(covariance[0, 3], torch.cov(corner, correction=0))


def test_colour_statistics_measure_shift_and_contrast():
    source = pictures()
    shifted, _ = evaluated(ColourStatisticsLoss(mean=2.0, covariance=1.0), source, source + 0.25)
    torch.testing.assert_close(shifted["colour_mean"], torch.full((2,), 2 * 3 * 0.25**2))
    torch.testing.assert_close(shifted["colour_covariance"], torch.zeros(2))
    mean, covariance = colour_moments(source)
    stretched, _ = evaluated(
        ColourStatisticsLoss(mean=1.0, covariance=2.0),
        source,
        mean[:, 0, :, None, None] + 2 * (source - mean[:, 0, :, None, None]),
    )
    torch.testing.assert_close(stretched["colour_mean"], torch.zeros(2))
    expected = 2 * 9 * covariance.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(stretched["colour_covariance"], expected)


def test_colour_statistics_pull_all_pixels_of_a_cell_alike():
    source = pictures()
    _, gradient = evaluated(ColourStatisticsLoss(mean=1.0, covariance=0.0), source, source + 0.25)
    torch.testing.assert_close(gradient, torch.full_like(source, 2 * 0.25 / (8 * 12)))


def test_the_covariance_gradient_is_right():
    source, image = pictures(1, 4, 6).double(), pictures(1, 4, 6, seed=3).double().requires_grad_()
    (term,) = [
        term
        for term in ColourStatisticsLoss(grid=2).bind(source, lambda network, picture: None)
        if term.name == "colour_covariance"
    ]

    def value(picture):
        from diffuseit.losses.base import Look

        return term.value(Look(0, picture, None, {}))

    assert torch.autograd.gradcheck(value, (image,))


def test_a_flat_picture_has_a_finite_colour_gradient():
    flat = torch.zeros(1, 3, 8, 8)
    _, gradient = evaluated(ColourStatisticsLoss(), pictures(1, 8, 8), flat)
    assert torch.isfinite(gradient).all()


def test_only_a_grid_asks_where_colours_are():
    source = pictures(1)
    moved = source.flip(-1)
    whole, _ = evaluated(ColourStatisticsLoss(mean=1.0, covariance=1.0), source, moved)
    for value in whole.values():
        torch.testing.assert_close(value, torch.zeros(1))
    cells, _ = evaluated(ColourStatisticsLoss(mean=1.0, covariance=1.0, grid=2), source, moved)
    assert min(value.item() for value in cells.values()) > 1e-4


def test_colours_come_from_a_picture_of_any_size_one_for_each():
    source, target = pictures(2), pictures(2, 20, 5, seed=4)
    loss = ColourStatisticsLoss(target=target, mean=1.0, covariance=0.0)
    both, _ = evaluated(loss, source, source)
    for i in range(2):
        alone, _ = evaluated(loss.item(i), source[i : i + 1], source[i : i + 1])
        expected = (source[i].mean(dim=(1, 2)) - target[i].mean(dim=(1, 2))).square().sum()
        torch.testing.assert_close(alone["colour_mean"][0], expected)
        torch.testing.assert_close(both["colour_mean"][i], expected)


class Embedding(nn.Module):
    """The mean colour: a vector that a picture can turn round."""

    def forward(self, picture):
        return picture.mean(dim=(2, 3))


def test_identity_is_one_minus_the_cosine():
    source = pictures() + 0.3
    loss = IdentityLoss(network=Embedding(), weight=5.0)
    for image, expected in ((2 * source, 0.0), (-source, 10.0)):
        terms, gradient = evaluated(loss, source, image)
        torch.testing.assert_close(terms["identity"], torch.full((2,), expected))
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    other = pictures(seed=5)
    _, gradient = evaluated(loss, source, other)
    towards = (gradient.mean(dim=(2, 3)) * source.mean(dim=(2, 3))).sum(dim=1)
    along = (gradient.mean(dim=(2, 3)) * other.mean(dim=(2, 3))).sum(dim=1)
    assert (towards < 0).all()
    assert along.abs().max() < 1e-6


@pytest.mark.parametrize(
    "loss",
    [
        SourceAnchorLoss(),
        SourceAnchorLoss(norm="l2"),
        ColourStatisticsLoss(grid=2),
        IdentityLoss(network=Embedding()),
    ],
)
def test_each_keeps_pictures_apart_and_obeys_its_mask(loss):
    source, image = pictures(seed=6), pictures(seed=7)
    mask = torch.zeros(1, 1, 8, 12)
    mask[..., :5] = 1
    terms, gradient = evaluated(loss, source, image)
    masked_terms, masked = evaluated(MaskedLoss(loss, mask), source, image)
    torch.testing.assert_close(masked, gradient * mask)
    assert masked[..., :5].any()
    for i in range(2):
        one = slice(i, i + 1)
        alone, its_gradient = evaluated(loss.item(i), source[one], image[one])
        torch.testing.assert_close(its_gradient, gradient[one])
        for name, value in alone.items():
            torch.testing.assert_close(value, terms[name][one])
            torch.testing.assert_close(masked_terms[name], terms[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SourceAnchorLoss(weight=float("inf")), "finite"),
        (lambda: SourceAnchorLoss(norm="l3"), "'l1' or 'l2'"),
        (lambda: ColourStatisticsLoss(covariance=float("nan")), "finite"),
        (lambda: ColourStatisticsLoss(grid=0), "grid is 0"),
        (lambda: bind(ColourStatisticsLoss(grid=9)), "coarser"),
        (lambda: bind(ColourStatisticsLoss(target=pictures(3))), "one for each"),
        (lambda: bind(ColourStatisticsLoss(target=pictures(1)[0])), "one for each"),
        (lambda: IdentityLoss(weight=float("nan")), "finite"),
        (lambda: bind(IdentityLoss()), "needs a network"),
        (lambda: bind(IdentityLoss(network=nn.Identity())), r"\[B, D\]"),
        (lambda: ScheduledLoss(RangeLoss(), ()), "no points"),
        (lambda: ScheduledLoss(RangeLoss(), ((0.5, 1.0), (0.2, 0.0))), "order"),
        (lambda: ScheduledLoss(RangeLoss(), ((1.5, 1.0),)), "from 0 to 1"),
        (lambda: ScheduledLoss(RangeLoss(), ((float("nan"), 1.0),)), "from 0 to 1"),
        (lambda: ScheduledLoss(RangeLoss(), ((0.5, -1.0),)), "0 or more"),
        (lambda: ScheduledLoss(RangeLoss(), ((0.5, float("inf")),)), "0 or more"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def bind(loss):
    return loss.bind(pictures(), lambda network, picture: network(picture))


def test_a_schedule_follows_straight_lines():
    curve = ScheduledLoss(RangeLoss(), ((0.2, 1.0), (0.6, 3.0), (0.6, 0.0), (0.8, 0.5)))
    places = {0.0: 1.0, 0.2: 1.0, 0.4: 2.0, 0.59: 2.95, 0.6: 0.0, 0.7: 0.25, 0.8: 0.5, 1.0: 0.5}
    assert {place: pytest.approx(curve.factor(place)) for place in places} == places
    jump = ScheduledLoss(RangeLoss(), ramp(1.0, 0.0, 0.5, 0.5))
    assert [jump.factor(place) for place in (0.0, 0.49, 0.5, 1.0)] == [1.0, 1.0, 0.0, 0.0]


def test_a_schedule_scales_value_and_gradient_by_the_progress_of_the_run():
    source, image = pictures(seed=8), pictures(seed=9)
    loss = SourceAnchorLoss(weight=2.0, norm="l2")
    fading = ScheduledLoss(ScheduledLoss(loss, ramp(1.0, 0.0, 0.0, 1.0)), ((0.0, 3.0),))
    terms, gradient = evaluated(loss, source, image)
    for index, factor in ((4, 3.0), (3, 2.25), (1, 0.75)):
        faded_terms, faded = evaluated(fading, source, image, first=4, index=index)
        torch.testing.assert_close(faded_terms["source_anchor"], factor * terms["source_anchor"])
        torch.testing.assert_close(faded, factor * gradient)
    assert evaluated(fading, source, image, first=4, index=0) == ({}, None)


def test_a_network_rests_while_its_factor_is_0():
    class Counting(Embedding):
        calls = 0

        def forward(self, picture):
            self.calls += 1
            return super().forward(picture)

    network, source = Counting(), pictures(1)
    objective = Objective(
        [ScheduledLoss(IdentityLoss(network=network), ramp(0.0, 1.0, 0.5, 0.5))], source, "noised", first=4
    )
    seen = []
    for index in (4, 3, 2, 1, 0):
        before = network.calls
        objective.evaluate({"noised": source}, index, None)
        seen.append(network.calls - before)
    assert seen == [0, 0, 1, 1, 1]


@pytest.mark.slow
def test_a_run_goes_from_the_first_level_to_the_last(models):
    source = pictures(2, 64, 64)
    losses = [
        SourceAnchorLoss(weight=1.0),
        ScheduledLoss(RangeLoss(weight=1.0), ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0))),
    ]
    for restart in (None, 1e9):  # together, and one by one
        settings = dataclasses.replace(QUICK, restart_above=restart)
        steps = list(sample(models.ddpm, source, losses, settings, 0))
        assert [("range" in step.terms) for step in steps] == [step.index > 0 for step in steps]
        assert all("source_anchor" in step.terms for step in steps)


@pytest.mark.parametrize("method", ["diffuseit", "dsg"])
def test_a_run_without_any_weight_left_goes_on_unguided(models, method):
    source = pictures(1, 64, 64)
    settings = dataclasses.replace(QUICK, method=method)
    silent = [ScheduledLoss(SourceAnchorLoss(), ((0.0, 0.0),))]
    guided = list(sample(models.ddpm, source, silent, settings, 0))[-1].pred_xstart
    free = list(sample(models.ddpm, source, [], settings, 0, allow_unguided=True))[-1].pred_xstart
    torch.testing.assert_close(guided, free, atol=1e-4, rtol=0)


def test_a_schedule_holds_in_inner_evaluations():
    source, image = pictures(), pictures(seed=1)
    loss = ScheduledLoss(SourceAnchorLoss(weight=1.0), ramp(1.0, 0.0, 0.0, 1.0))
    objective = Objective([loss], source, "noised", first=4)
    outer, inner = (
        objective.evaluate({"pred_xstart": image}, 3, None, inner=inner) for inner in (False, True)
    )
    torch.testing.assert_close(inner.gradients, outer.gradients)
    torch.testing.assert_close(
        inner.terms["source_anchor"], 0.75 * (image - source).abs().mean(dim=(1, 2, 3))
    )


@pytest.mark.slow
def test_an_anchor_keeps_the_picture_near_the_source(models):
    source = pictures(1, 64, 64).lerp(pictures(1, 1, 1, seed=1), 0.9)
    free = list(sample(models.ddpm, source, [], QUICK, 0, allow_unguided=True))[-1].pred_xstart
    for loss in (SourceAnchorLoss(), ColourStatisticsLoss(grid=8)):
        held = list(sample(models.ddpm, source, [loss], QUICK, 0))[-1].pred_xstart
        assert (held - source).abs().mean() < 0.8 * (free - source).abs().mean()


def test_a_preset_may_schedule_its_losses(models):
    preset = dataclasses.replace(
        PRESETS["pocket-text"],
        losses=(
            ScheduledLoss(SemanticDivergenceLoss(until=16), ramp(1.0, 0.0, 0.5, 1.0)),
            ScheduledLoss(StructureLoss(), ((0.0, 1.0),)),
            SourceAnchorLoss(norm="l2"),
            ColourStatisticsLoss(grid=8),
        ),
    )
    assert from_json(Preset, to_json(preset), "preset") == preset
    divergence, structure, _, colours = settle(models, "text", preset, steps=80).build(models, to="winter")
    assert divergence.loss.vit is models.vit and divergence.loss.until == 32
    assert structure.loss.vit is models.vit and structure.points == ((0.0, 1.0),)
    assert colours.target is None


def test_colour_statistics_of_an_image_preset_are_the_style_pictures(models):
    preset = dataclasses.replace(PRESETS["pocket-image"], losses=(ColourStatisticsLoss(),))
    style = pictures(1)
    (colours,) = preset.build(models, style=style)
    assert colours.target is style


def test_a_drawn_curve_goes_between_the_two_factors():
    loss = ScheduledLoss(RangeLoss(), along(lambda progress: 2 * progress**2 - 0.5, 3.0, 1.0))
    assert loss.factor(0.0) == 1.0 and loss.factor(1.0) == 3.0  # beyond 0 to 1 the curve is cut off
    assert loss.factor(0.6) == pytest.approx(1 + 2 * (2 * 0.36 - 0.5), abs=0.01)
