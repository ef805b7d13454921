"""Losses that hold the source or its colors, and schedules of weights, on a real server."""

import numpy as np
import pytest
from comfyui.prompts import changed, sampler, text_prompt
from comfyui.server import PromptError
from PIL import Image

pytestmark = pytest.mark.comfyui

SEED = 600


@pytest.fixture(scope="module")
def source(server):
    """a.png as the server sees it."""
    return np.asarray(Image.open(server.base / "input" / "a.png").convert("RGB")).astype(int)


def ending_with(*nodes, **inputs):
    """The text prompt, whose chain goes on with these nodes: (class, inputs) each."""
    prompt, last = text_prompt(seed=SEED), "range"
    for number, (kind, settings) in enumerate(nodes):
        link = "losses" if kind == "DiffuseITLossSchedule" else "previous"
        prompt[f"more{number}"] = (kind, settings | {link: [last, 0]})
        last = f"more{number}"
    return prompt | sampler(last, seed=SEED, **inputs)


def schedule(**inputs):
    return ("DiffuseITLossSchedule", inputs)


ANCHOR = ("DiffuseITSourceAnchorLoss", {"weight": 100.0, "norm": "l2"})
OFF = schedule(weight_before=0.0, weight_after=0.0)


def picture(server, prompt):
    (picture,) = server.images(server.run(prompt), "save")
    return picture.astype(int)


@pytest.fixture(scope="module")
def plain(server):
    """The result without further losses."""
    return picture(server, ending_with())


@pytest.mark.parametrize(
    "node",
    [
        ANCHOR,
        ("DiffuseITColorStatisticsLoss", {"mean": 100.0, "covariance": 0.0, "grid": 16}),
    ],
)
def test_a_strong_hold_on_the_source_keeps_it(server, source, plain, node):
    held = picture(server, ending_with(node))
    assert np.abs(held - source).mean() < 0.8 * np.abs(plain - source).mean()


def test_colors_come_from_a_reference_of_another_shape(server, source, plain):
    strong = {"mean": 100.0, "covariance": 0.0, "grid": 1, "reference": ["look", 0]}
    prompt = ending_with(("DiffuseITColorStatisticsLoss", strong))
    prompt["red"] = ("EmptyImage", {"width": 90, "height": 40, "batch_size": 1, "color": 0xFF0000})
    prompt = changed(prompt, "more0", reference=["red", 0])
    tinted = picture(server, prompt).mean(axis=(0, 1))
    before = plain.mean(axis=(0, 1))
    assert tinted[0] - before[0] > 10
    assert before[2] - tinted[2] > 10


def test_a_schedule_turns_off_the_loss_before_it_and_no_other(server, plain):
    assert (picture(server, ending_with(ANCHOR, OFF)) == plain).all()


def test_a_schedule_of_a_kind_finds_it_in_the_chain(server, plain):
    kind = schedule(applies_to="style losses", weight_before=0.0, weight_after=0.0)
    without = text_prompt(seed=SEED)
    without = changed(without, "style", weight=0.0)
    assert (picture(server, ending_with(kind)) == picture(server, without)).all()


def test_when_in_the_run_a_loss_works_makes_a_difference(server, source, plain):
    early = picture(server, ending_with(ANCHOR, schedule(ramp_start=0.5, ramp_end=0.5)))
    late = picture(
        server,
        ending_with(ANCHOR, schedule(weight_before=0.0, weight_after=1.0, ramp_start=0.5, ramp_end=0.5)),
    )
    assert (early != plain).any()
    assert (late != plain).any()
    assert (early != late).any()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((schedule(ramp_start=0.7, ramp_end=0.2),), "it must not come later"),
        ((schedule(applies_to="divergence losses"),), "there are no divergence losses before this node"),
    ],
)
def test_a_schedule_that_cannot_work_says_so(server, nodes, message):
    with pytest.raises(PromptError, match=message):
        server.run(ending_with(*nodes))


def test_a_curve_takes_the_place_of_the_ramp(server):
    if "CurveEditor" not in server.nodes:
        pytest.skip("this ComfyUI has no curves")
    ramp = {"applies_to": "style losses", "ramp_start": 0.0, "ramp_end": 1.0}
    straight = ending_with(schedule(**ramp))
    prompt = ending_with(schedule(**ramp | {"ramp_start": 0.9}, curve=["drawn", 0]))
    points = {"points": [[0.0, 1.0], [1.0, 0.0]], "interpolation": "linear"}
    drawn = prompt | {"drawn": ("CurveEditor", {"curve": points})}
    assert np.abs(picture(server, drawn) - picture(server, straight)).max() <= 1
