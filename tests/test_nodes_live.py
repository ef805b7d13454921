"""What the front end is told of a run, and what an estimate says: without a ComfyUI."""

import base64
import io
import json
import math
import re

import pytest
import torch
from nodes_alone import fake_comfy, import_node_module
from PIL import Image
from torch import nn

from diffuseit.guidance.loop import SamplerSettings, Step
from diffuseit.presets import PRESETS


@pytest.fixture
def live(monkeypatch):
    return import_node_module(monkeypatch, "live", fake_comfy())


@pytest.fixture
def estimate(monkeypatch):
    return import_node_module(monkeypatch, "estimate", fake_comfy())


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def step(number, total=8, level=None, items=range(1), restarted=False, pulls=None):
    level = total - number if level is None else level
    picture = torch.zeros(len(items), 3, 4, 6)
    return Step(
        number, total, level, items, picture, picture, picture, {}, restarted, {} if pulls is None else pulls
    )


@pytest.fixture
def told(live):
    """`told(steps, throttle=..., seconds=...)`: the events of a run that takes `seconds` for a step."""

    def run(steps, throttle=0.0, seconds=1.0, network=None, values=None):
        clock, events = Clock(), []
        facts = live.Facts(
            workflow="w",
            prompt="p",
            node="12:3",
            run="r",
            total=steps[0].total,
            batch=1,
            chain=[("4", "RangeLoss")],
            memory=5,
            networks={"ViT": [network or nn.Identity()]},
            size=(6, 4),
            source=torch.full((3, 4, 6), -1.0),
        )

        def send(name, data):
            assert name == live.EVENT
            json.dumps(data, allow_nan=False)  # travels as JSON
            events.append(data)

        with live.Live(facts, send, throttle, clock) as reporter:
            for one in steps:
                if network is not None:
                    network(torch.zeros(1))
                clock.now += seconds
                reporter.step(one, values or {"range": 1.23456789}, one.pred_xstart[0])
        return events

    return run


def test_every_step_is_told_once_in_order_with_its_place(told):
    events = told([step(n) for n in range(8)], throttle=2.5)
    assert [event["kind"] for event in events][:2] == ["begin", "steps"]
    assert events[-1]["kind"] == "end"
    places = {tuple(event[name] for name in ("workflow", "prompt", "node", "run")) for event in events}
    assert places == {("w", "p", "12:3", "r")}
    steps = [event for event in events if event["kind"] == "steps"]
    assert [event["from"] for event in steps] == [0, 1, 4, 7]
    assert [len(event["values"]) for event in steps] == [1, 3, 3, 1]
    assert steps[0]["values"] == [{"range": 1.23457}]
    assert events[-1]["elapsed"] == 8


def test_the_beginning_names_the_terms_of_each_loss(told):
    begin = told([step(0)])[0]
    assert begin["losses"] == [{"node": "4", "terms": ["range"]}]
    assert set(begin["terms"]) == {"range"}
    assert begin["terms"]["range"]["label"] == "range"
    assert re.fullmatch("#[0-9a-f]{6}", begin["terms"]["range"]["color"])


def test_a_value_that_json_does_not_have_is_sent_as_none(told):
    assert told([step(0)], values={"range": math.nan})[1]["values"] == [{"range": None}]


def test_the_interval_between_events_is_that_of_the_setting(live):
    assert live.throttle_seconds(400) == 0.4
    for nonsense in (None, 0, -5, "150", [], {}, True, math.nan, 10**400):
        assert live.throttle_seconds(nonsense) == live.THROTTLE


def test_a_quick_run_sends_few_events(told):
    events = told([step(n, 200) for n in range(200)], throttle=0.15, seconds=0.01)
    assert len(events) <= 2 + 2 + 200 * 0.01 / 0.15
    assert sum(len(event.get("values", ())) for event in events) == 200


def test_pictures_are_few_small_and_those_of_both_ends(told):
    frames = [
        frame for event in told([step(n, 100) for n in range(100)]) for frame in event.get("frames", ())
    ]
    assert 8 <= len(frames) <= 14
    assert [frames[0][0], frames[-1][0]] == [0, 99]
    start = "data:image/jpeg;base64,"
    assert frames[0][1].startswith(start)
    assert Image.open(io.BytesIO(base64.b64decode(frames[0][1][len(start) :]))).size == (6, 4)


def test_large_pictures_are_made_smaller(live):
    address = live.jpeg(torch.zeros(3, 600, 1200), live.FRAME_SIZE)
    picture = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    assert picture.size == (live.FRAME_SIZE, live.FRAME_SIZE // 2)
    assert picture.getpixel((9, 9)) == (127, 127, 127)


def test_resampling_restarts_and_the_next_picture_are_marked(told):
    steps = [
        step(0, level=4),
        step(1, level=4),
        step(2, level=3, restarted=True),
        step(3, level=4),
        step(4, level=3),
        step(5, level=4, items=range(1, 2)),
    ]
    marks = [mark for event in told(steps) for mark in event.get("marks", ())]
    assert marks == [[1, "resample"], [2, "restart"], [5, "picture"]]


def test_gradients_are_the_mean_over_the_batch(told):
    events = told([step(0, 1, pulls={1: torch.tensor([1.0, 3.0]), 0: torch.tensor([0.5])})])
    assert events[1]["gradients"] == [[0, 0.5], [1, 2.0]]


def test_calls_are_counted_per_step_without_those_for_the_source(told):
    network = nn.Identity()
    network(torch.zeros(1))
    events = told([step(n) for n in range(8)], network=network)
    assert events[-1]["calls"] == {"ViT": 1.0}
    assert not network._forward_pre_hooks


def test_a_run_that_fails_says_so(live):
    facts = live.Facts("w", "p", "1", "r", 4, 1, [], 0, {}, (4, 4), torch.zeros(3, 4, 4))
    events = []

    def run():
        with live.Live(facts, lambda _, data: events.append(data), throttle=9.0) as reporter:
            for number in range(2):
                reporter.step(step(number), {}, torch.zeros(3, 4, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [event["kind"] for event in events] == ["begin", "steps", "steps", "end"]
    assert events[-1]["ok"] is False


@pytest.fixture
def prompt():
    """As the front end sends it: a chain of two losses, the sampler in a subgraph."""
    nodes = {
        "1": ("DiffuseITLoadDDPM", {"model": "pocket", "dtype": "auto"}),
        "2": ("DiffuseITLoadViT", {"model": "pocket", "layer": -1}),
        "3": ("DiffuseITRangeLoss", {"weight": 0.2, "previous": ["4", 0]}),
        "4": ("DiffuseITStructureLoss", {"vit": ["2", 0], "self_similarity": 1.0, "contrastive": 0.1}),
        "5": ("DiffuseITExamplePicture", {"picture": "lion", "scene": 0}),
        "6": ("LoadImage", {"image": "a.png"}),
        "9:7": (
            "DiffuseITSampler",
            {
                "ddpm": ["1", 0],
                "image": ["5", 0],
                "losses": ["3", 0],
                "seed": 3,
                "steps": 20,
                "skip": 5,
                "resample": 4,
                "method": "diffuseit",
            },
        ),
    }
    return {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}


def changed(prompt, node, **inputs):
    return {**prompt, node: {**prompt[node], "inputs": prompt[node]["inputs"] | inputs}}


@pytest.mark.parametrize(
    ("node", "inputs", "same"),
    [
        ("9:7", {"seed": 4, "steps": 99}, True),
        ("5", {"scene": 7}, True),
        ("3", {"weight": 0.3}, True),
        ("2", {"layer": -1.0}, True),
        ("3", {"weight": 0.0}, False),
        ("2", {"model": "dino_b8.pth"}, False),
        ("9:7", {"method": "mpgd"}, False),
        ("3", {"previous": None}, False),
    ],
)
def test_an_estimate_holds_for_what_costs_the_same(estimate, prompt, node, inputs, same):
    one, other = (estimate.key_of(graph, "9:7", "cpu") for graph in (prompt, changed(prompt, node, **inputs)))
    assert (one == other) is same
    assert one != estimate.key_of(prompt, "9:7", "cuda")


def test_steps_are_those_of_the_core(estimate, prompt):
    assert estimate.steps_of(prompt, "9:7") == SamplerSettings(steps=20, skip=5, resample=4).visits
    assert estimate.steps_of(changed(prompt, "9:7", skip=30), "9:7") is None
    assert estimate.steps_of(changed(prompt, "9:7", steps=["6", 0]), "9:7") is None
    by_preset = {
        **changed(prompt, "9:7", settings=["8", 1]),
        "8": {"class_type": "DiffuseITPreset", "inputs": {"preset": "pocket-text"}},
    }
    assert estimate.steps_of(by_preset, "9:7") == PRESETS["pocket-text"].sampler.visits


def test_what_was_measured_is_found_again(estimate, prompt, tmp_path):
    measured = estimate.Measured(tmp_path / "user" / "runs.json")
    key = estimate.key_of(prompt, "9:7", "cpu")
    assert estimate.answer(prompt, "9:7", measured, "cpu")["measured"] is None
    figures = estimate.Figures(0.5, 7, {"DDPM": 1.0}, 1, (64, 64))
    measured.note(key, figures)
    assert measured.find(key) == figures
    assert estimate.answer(prompt, "9:7", measured, "cpu") == {
        "steps": 18,
        "measured": {
            "seconds_per_step": 0.5,
            "memory": 7,
            "calls": {"DDPM": 1.0},
            "pictures": 1,
            "size": (64, 64),
        },
    }
    with pytest.raises(KeyError):
        estimate.answer(prompt, "8", measured, "cpu")


def test_a_broken_file_of_figures_is_none(estimate, tmp_path):
    path = tmp_path / "runs.json"
    for text in ("", "[]", '{"k": 3}', '{"k": {"memory": 1}}'):
        path.write_text(text)
        assert estimate.Measured(path).find("k") is None
    measured = estimate.Measured(path)
    for number in range(estimate.KEPT + 5):
        measured.note(str(number), estimate.Figures(1, 1, {}, 1, (1, 1)))
    assert measured.find("4") is None
    assert measured.find("5") is not None
