"""What the front end is told of a run, without a ComfyUI."""

import base64
import io
import json
import math
import re

import pytest
import torch
from nodes_alone import import_node_module
from PIL import Image
from torch import nn

from diffuseit.guidance.loop import Step
from diffuseit.losses import RangeLoss
from tools import fake_comfyui


@pytest.fixture
def live(monkeypatch):
    return import_node_module(monkeypatch, "live")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def step(number, total=8, t=None, items=range(1), **what):
    picture = torch.zeros(len(items), 3, 4, 6)
    terms = {"range": torch.full((len(items),), 1.23456789)}
    t = total - number if t is None else t
    return Step(
        **{
            "number": number,
            "total": total,
            "t": t,
            "items": items,
            "x_t": picture,
            "gradient": picture,
            "x_0": picture,
            "decode": lambda x_0: x_0,
            "terms": terms,
            **what,
        }
    )


@pytest.fixture
def told(live):
    """`told(steps, throttle=..., seconds=...)`: the events of a run that takes `seconds` for a step."""

    def run(steps, throttle=0.0, seconds=1.0, network=None):
        clock, events = Clock(), []
        facts = live.Facts(
            workflow="w",
            prompt="p",
            node="12:3",
            run="r",
            total=steps[0].total,
            batch=1,
            chain=[("4", RangeLoss())],
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
                reporter.step(one, lambda one=one: one.pred_xstart[0])
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


def test_values_that_json_does_not_have_are_null(told):
    terms = {
        "range": torch.tensor([math.nan]),
        "style": torch.tensor([math.inf]),
        "anchor": torch.tensor([0.1234567]),
    }
    assert told([step(0, terms=terms)])[1]["values"] == [{"range": None, "style": None, "anchor": 0.123457}]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("400", 0.4),
        *[(text, 0.15) for text in ("null", "0", "-5", '"150"', "[]", "{}", "true", "NaN", "1e9", "1" * 400)],
    ],
)
def test_the_pause_between_events_is_that_of_the_setting(monkeypatch, tmp_path, text, seconds):
    live = import_node_module(monkeypatch, "live", fake_comfyui.modules(tmp_path))
    (tmp_path / "user" / "default").mkdir(parents=True)
    settings = f'{{"{live.THROTTLE_SETTING}": {text}}}'
    (tmp_path / "user" / "default" / "comfy.settings.json").write_text(settings)
    assert live.throttle() == seconds


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
    assert picture.getpixel((9, 9)) == (128, 128, 128)


def test_resampling_restarts_and_the_next_picture_are_marked(told):
    steps = [
        step(0, t=4),
        step(1, t=4),
        step(2, t=3, restarted=True),
        step(3, t=4),
        step(4, t=3),
        step(5, t=4, items=range(1, 2)),
    ]
    marks = [mark for event in told(steps) for mark in event.get("marks", ())]
    assert marks == [[1, "resample"], [2, "restart"], [5, "picture"]]


def test_gradients_are_the_mean_over_the_batch(told):
    events = told([step(0, 1, shares={1: torch.tensor([1.0, 3.0]), 0: torch.tensor([0.5])})])
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
                reporter.step(step(number), lambda: torch.zeros(3, 4, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [event["kind"] for event in events] == ["begin", "steps", "steps", "end"]
    assert events[-1]["ok"] is False


@pytest.mark.parametrize("place", ["begin", "steps", "end", "result"])
def test_a_run_goes_on_where_it_cannot_be_told(live, place, caplog):
    facts = live.Facts("w", "p", "1", "r", 4, 1, [], 0, {}, (4, 4), torch.zeros(3, 4, 4))

    def send(_, data):
        if data["kind"] == place:
            raise OSError("the socket is gone")

    with live.Live(facts, send) as reporter:
        for number in range(4):
            reporter.step(step(number, 4), lambda: torch.zeros(3, 4, 4))
    reporter.result(torch.zeros(3, 4, 4))
    assert caplog.text.count("goes on without what the page shows of a run") == 1
    assert reporter.figures().pictures == 1


def test_a_step_that_cannot_be_shown_counts_all_the_same(live, caplog):
    """Figures of a run are noted for estimates, also where the page was not told of it."""
    clock = Clock()
    facts = live.Facts("w", "p", "1", "r", 2, 1, [], 0, {}, (4, 4), torch.zeros(3, 4, 4))
    with live.Live(facts, lambda *_: None, clock=clock) as reporter:
        for number in range(2):
            clock.now += 3
            reporter.step(step(number, 2), lambda: torch.zeros(0))
    assert reporter.figures().seconds_per_step == 3
    assert "goes on without" in caplog.text


@pytest.mark.parametrize(
    ("metadata", "id"),
    [
        ({"workflow": {"id": "0b5c"}}, "0b5c"),
        ({"workflow": {"id": 5}}, ""),
        ({"workflow": {"id": "x" * 10**6}}, ""),
        ({"workflow": {}}, ""),
        ({"workflow": "abc"}, ""),
        ({"workflow": [1]}, ""),
        ({}, ""),
        ([{}], ""),
        ("x", ""),
        (None, ""),
    ],
)
def test_a_workflow_is_known_by_its_id_or_not_at_all(live, metadata, id):
    assert live.workflow_id(metadata) == id
