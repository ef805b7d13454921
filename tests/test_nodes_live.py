"""What the front end is told of a run, without a ComfyUI."""

import base64
import contextlib
import io
import json
import math
import re
import sys

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

    def run(steps, throttle=0.0, seconds=1.0, network=None, batch=1):
        clock, events = Clock(), []
        facts = live.Facts(
            workflow="w",
            prompt="p",
            node="12:3",
            run="r",
            total=steps[0].total,
            batch=batch,
            chain=[("4", RangeLoss())],
            memory=5,
            networks={"ViT": [network or nn.Identity()]},
            size=(6, 4),
            source=torch.full((batch, 3, 4, 6), -1.0),
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
                reporter.step(one, lambda count, one=one: one.pred_xstart[:count])
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
    assert (begin["batch"], begin["size"], len(begin["sources"])) == (1, (6, 4), 1)
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
    assert [frames[0][:2], frames[-1][:2]] == [[0, 0], [99, 0]]
    start = "data:image/jpeg;base64,"
    assert frames[0][2].startswith(start)
    assert Image.open(io.BytesIO(base64.b64decode(frames[0][2][len(start) :]))).size == (6, 4)


def frames_by_picture(events):
    counts = {}
    for event in events:
        for _, picture, _ in event.get("frames", ()):
            counts[picture] = counts.get(picture, 0) + 1
    return counts


def test_each_picture_of_a_batch_has_its_images(told, live):
    together = frames_by_picture(told([step(n, 100, items=range(3)) for n in range(100)], batch=3))
    one_by_one = frames_by_picture(
        told([step(n, 90, items=range(n // 30, n // 30 + 1)) for n in range(90)], batch=3)
    )
    for counts in (together, one_by_one):
        assert set(counts) == {0, 1, 2}
        assert all(8 <= count <= 14 for count in counts.values())
    many = frames_by_picture(told([step(n, 50, items=range(20)) for n in range(50)], batch=20))
    assert set(many) == set(range(live.SHOWN_PICTURES))
    late = told([step(n, 20, items=range(n, n + 1)) for n in range(20)], batch=20)
    assert set(frames_by_picture(late)) == set(range(live.SHOWN_PICTURES))


def test_a_result_has_its_true_size_and_every_picture_of_the_batch(live):
    facts = live.Facts("w", "p", "1", "r", 4, 3, [], 0, {}, (4, 4), torch.zeros(1, 3, 4, 4))
    events = []
    reporter = live.Live(facts, lambda _, data: events.append(data))
    reporter.result(torch.zeros(3, 3, 600, 1200))
    reporter.result(torch.zeros(1, 3, 4, 4), (1024, 768))
    assert [len(event["pictures"]) for event in events] == [3, 1]
    assert [event["size"] for event in events] == [(1200, 600), (1024, 768)]


def test_a_page_can_catch_up_with_its_own_run_only(live, monkeypatch):
    pages = ["mine"]
    monkeypatch.setattr(live, "client", lambda: pages[-1])
    facts = live.Facts("w", "p", "1", "r", 4, 1, [], 0, {}, (4, 4), torch.zeros(1, 3, 4, 4))
    assert live.latest("mine") == []
    events = []
    with live.Live(facts, lambda _, data: events.append(data), throttle=0) as reporter:
        reporter.step(step(0), lambda count: torch.zeros(count, 3, 4, 4))
        assert live.latest("mine") == events
        assert live.latest("") == live.latest("other") == []
    assert [event["kind"] for event in live.latest("mine")] == ["begin", "steps", "end"]
    pages.append(None)
    with live.Live(facts, lambda *_: None) as reporter:
        assert live.latest("mine") == live.latest("") == []
        monkeypatch.setattr(live, "LONGEST_HISTORY", 2)
        pages.append("mine")
        with live.Live(facts, lambda *_: None, throttle=0) as long:
            for number in range(3):
                assert live.latest("mine")
                long.step(step(number), lambda count: torch.zeros(count, 3, 4, 4))
            assert live.latest("mine") == []


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


def test_every_measurement_is_told_with_the_mean_over_the_batch(told):
    shares = {1: torch.tensor([1.0, 3.0]), 0: torch.tensor([0.5])}
    events = told([step(0, 4), step(1, 4, shares=shares), step(2, 4, shares={0: torch.ones(1)})], throttle=9)
    assert events[2]["gradients"] == [[1, [[0, 0.5], [1, 2.0]]], [2, [[0, 1.0]]]]


def test_calls_are_counted_per_step_without_those_for_the_source(told):
    network = nn.Identity()
    network(torch.zeros(1))
    events = told([step(n) for n in range(8)], network=network)
    assert events[-1]["calls"] == {"ViT": 1.0}
    assert not network._forward_pre_hooks


def test_a_run_says_how_it_ended(live):
    facts = live.Facts("w", "p", "1", "r", 4, 1, [], 0, {}, (4, 4), torch.zeros(1, 3, 4, 4))
    interruption = sys.modules["comfy.model_management"].InterruptProcessingException

    def events_of(error):
        events = []
        reporter = live.Live(facts, lambda _, data: events.append(data), throttle=9.0)
        with contextlib.suppress(*([] if error is None else [error])), reporter:
            for number in range(2):
                reporter.step(step(number), lambda count: torch.zeros(count, 3, 4, 4))
            if error is not None:
                raise error
        return events

    for error, outcome in (
        (None, "done"),
        (KeyboardInterrupt, "failed"),
        (ValueError, "failed"),
        (interruption, "stopped"),
    ):
        events = events_of(error)
        assert [event["kind"] for event in events] == ["begin", "steps", "steps", "end"]
        assert events[-1]["outcome"] == outcome


@pytest.mark.parametrize("place", ["begin", "steps", "end", "result"])
def test_a_run_goes_on_where_it_cannot_be_told(live, place, caplog):
    facts = live.Facts("w", "p", "1", "r", 4, 1, [], 0, {}, (4, 4), torch.zeros(1, 3, 4, 4))

    def send(_, data):
        if data["kind"] == place:
            raise OSError("the socket is gone")

    with live.Live(facts, send) as reporter:
        for number in range(4):
            reporter.step(step(number, 4), lambda count: torch.zeros(count, 3, 4, 4))
    reporter.result(torch.zeros(1, 3, 4, 4))
    assert caplog.text.count("goes on without what the page shows of a run") == 1
    assert reporter.figures().pictures == 1


def test_a_step_that_cannot_be_shown_counts_all_the_same(live, caplog):
    """Figures of a run are noted for estimates, also where the page was not told of it."""
    clock = Clock()
    facts = live.Facts("w", "p", "1", "r", 2, 1, [], 0, {}, (4, 4), torch.zeros(1, 3, 4, 4))
    with live.Live(facts, lambda *_: None, clock=clock) as reporter:
        for number in range(2):
            clock.now += 3
            reporter.step(step(number, 2), lambda count: torch.zeros(0))
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
