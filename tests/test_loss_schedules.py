"""Weights that change over a run."""

from dataclasses import replace

import pytest
import torch
from losses_alone import guidance
from torch import nn

from diffuseit.errors import InputError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import make_timetable
from diffuseit.losses import (
    ColorStatisticsLoss,
    IdentityLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    bind,
)
from diffuseit.losses.schedule import along, factor_at, ramp
from diffuseit.methods import DSG, DiffuseIT
from diffuseit.presets import PRESETS, Preset, settle
from diffuseit.schema import from_json, to_json

QUICK = SamplerSettings(steps=7, skip=2, resample=2, method=DiffuseIT(step_rule="normalized", step_size=0.5))


def pictures(count=2, height=8, width=12, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_schedule_follows_straight_lines():
    curve = ((0.2, 1.0), (0.6, 3.0), (0.6, 0.0), (0.8, 0.5))
    places = {0.0: 1.0, 0.2: 1.0, 0.4: 2.0, 0.59: 2.95, 0.6: 0.0, 0.7: 0.25, 0.8: 0.5, 1.0: 0.5}
    assert {place: pytest.approx(factor_at(curve, place)) for place in places} == places
    jump = ramp(1.0, 0.0, 0.5, 0.5)
    assert [factor_at(jump, place) for place in (0.0, 0.49, 0.5, 1.0)] == [1.0, 1.0, 0.0, 0.0]


def test_a_drawn_curve_goes_between_the_two_factors():
    curve = along(lambda progress: 2 * progress**2 - 0.5, 3.0, 1.0)
    assert factor_at(curve, 0.0) == 1.0 and factor_at(curve, 1.0) == 3.0  # beyond 0 to 1 the curve is cut off
    assert factor_at(curve, 0.6) == pytest.approx(1 + 2 * (2 * 0.36 - 0.5), abs=0.01)


def test_the_factors_of_several_schedules_multiply():
    fading, whole = ramp(1.0, 0.0, 0.0, 1.0), ((0.0, 3.0),)
    assert RangeLoss().factor(0.25) == 1.0
    assert RangeLoss(schedules=(fading,)).factor(0.25) == pytest.approx(0.75)
    assert RangeLoss(schedules=(fading, whole)).factor(0.25) == pytest.approx(2.25)
    assert RangeLoss(schedules=(fading, whole, fading)).factor(0.5) == pytest.approx(0.75)


def test_a_schedule_scales_value_and_gradient_by_the_progress_of_the_run():
    source, image = pictures(seed=8), pictures(seed=9)
    plain = SourceAnchorLoss(weight=2.0, norm="l2")
    fading = replace(plain, schedules=(ramp(1.0, 0.0, 0.0, 1.0), ((0.0, 3.0),)))
    timetable = make_timetable(levels=5)

    def evaluated(loss, level):
        return guidance(bind([loss]), source).evaluate({"pred_xstart": image}, timetable[level])

    expected = evaluated(plain, 0)
    for level, factor in ((0, 3.0), (1, 2.25), (3, 0.75)):
        found = evaluated(fading, level)
        torch.testing.assert_close(found.terms["source_anchor"], factor * expected.terms["source_anchor"])
        torch.testing.assert_close(found.gradients["pred_xstart"], factor * expected.gradients["pred_xstart"])
    last = evaluated(fading, 4)
    assert not last.terms and not last.gradients


def test_a_network_rests_while_its_factor_is_0():
    class Counting(nn.Module):
        calls = 0

        def forward(self, picture):
            self.calls += 1
            return picture.mean(dim=(2, 3))

    network, source = Counting(), pictures(1)
    loss = IdentityLoss(schedules=(ramp(0.0, 1.0, 0.5, 0.5),))
    guided = guidance(bind([loss], face=network), source)
    seen = []
    for visit in make_timetable(levels=5):
        before = network.calls
        guided.evaluate({"noised": source}, visit)
        seen.append(network.calls - before)
    assert seen == [0, 0, 1, 1, 1]


def test_a_schedule_holds_in_inner_evaluations():
    source, image = pictures(), pictures(seed=1)
    loss = SourceAnchorLoss(weight=1.0, schedules=(ramp(1.0, 0.0, 0.0, 1.0),))
    guided, visit = guidance(bind([loss]), source), make_timetable(levels=5)[1]
    outer, inner = (guided.evaluate({"pred_xstart": image}, visit, inner=inner) for inner in (False, True))
    torch.testing.assert_close(inner.gradients, outer.gradients)
    expected = 0.75 * (image - source).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(inner.terms["source_anchor"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("restart_above", [None, 1000.0], ids=["together", "one by one"])
def test_a_run_goes_from_the_first_level_to_the_last(models, pair, restart_above):
    losses = bind(
        [
            SourceAnchorLoss(weight=1.0),
            RangeLoss(weight=1.0, schedules=(((0.0, 0.0), (0.0, 1.0), (1.0, 0.0)),)),
        ]
    )
    settings = replace(QUICK, restart_above=restart_above)
    steps = list(sample(models.ddpm, pair, losses, settings, 0))
    assert [("range" in step.terms) for step in steps] == [step.t > 0 for step in steps]
    assert all("source_anchor" in step.terms for step in steps)


@pytest.mark.parametrize("method", [QUICK.method, DSG()], ids=["diffuseit", "dsg"])
def test_a_run_without_any_weight_left_goes_on_unguided(models, scene, method):
    settings = replace(QUICK, method=method)
    silent = bind([SourceAnchorLoss(schedules=(((0.0, 0.0),),))])
    guided = list(sample(models.ddpm, scene, silent, settings, 0))[-1].pred_xstart
    free = list(sample(models.ddpm, scene, [], settings, 0, allow_unguided=True))[-1].pred_xstart
    torch.testing.assert_close(guided, free, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((), "no points"),
        (((0.5, 1.0), (0.2, 0.0)), "order"),
        (((1.5, 1.0),), "from 0 to 1"),
        (((float("nan"), 1.0),), "finite"),
        (((0.5, -1.0),), "schedules is -1.0: use 0 to"),
        (((0.5, float("inf")),), "finite"),
    ],
)
def test_points_that_make_no_schedule_are_refused(points, message):
    with pytest.raises(InputError, match=message):
        RangeLoss(schedules=(points,))


def test_a_preset_may_schedule_its_losses(models):
    preset = replace(
        PRESETS["pocket-text"],
        losses=(
            SemanticDivergenceLoss(until=0.4, schedules=(ramp(1.0, 0.0, 0.5, 1.0),)),
            StructureLoss(schedules=(((0.0, 1.0),),)),
            SourceAnchorLoss(norm="l2"),
            ColorStatisticsLoss(grid=8),
        ),
    )
    assert from_json(Preset, to_json(preset), "preset") == preset
    built = settle(models, "text", preset, steps=80).build(models, to="winter")
    assert [bound.loss for bound in built] == list(preset.losses)
    divergence, structure, *_ = built
    assert divergence.inputs["vit"] is structure.inputs["vit"] is models.vit
