"""The benchmarks run and count; what they time is not looked at."""

import json

import pytest

from benchmarks import floor, growth, memory, plan, speed
from benchmarks.comparison import compare
from benchmarks.meter import Meter
from benchmarks.networks import SCALES
from benchmarks.settings import Task
from diffuseit.errors import InputError

SMALL = ["--scale", "small", "--steps", "1", "--crops", "1", "--clips", "1", "--threads", "1"]


@pytest.mark.slow
def test_speed_counts_one_call_of_each_network_in_a_step(tmp_path, capsys):
    speed.main([*SMALL, "--json", str(tmp_path / "speed.json")])
    report = json.loads((tmp_path / "speed.json").read_text())
    (row,) = report["rows"]
    assert row["calls_per_step"] == {"unet": [1, 1], "vit": [1, 1], "clip RN": [1, 1]}
    assert row["ratio_to_official"] is None
    assert row["floor_seconds"] == pytest.approx(row["share_of_floor"] * row["seconds_per_step"])
    assert "U 1+1, V 1+1, C 1+1" in capsys.readouterr().out


def test_memory_is_set_against_the_plan_and_the_official_code(monkeypatch, capsys):
    rows = [
        {"who": "official", "base_bytes": 100, "peak_bytes": 500, "seconds_per_step": 2.0},
        {
            "who": "default",
            "base_bytes": 100,
            "peak_bytes": 300,
            "estimated_bytes": 190,
            "seconds_per_step": 1.0,
        },
    ]
    asked = []
    monkeypatch.setattr(memory, "compare", lambda *args, **options: asked.append(options) or rows)
    report = memory.main(["--official", "somewhere", "--variants", "default", "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(json.dumps(report))
    assert "estimated" in printed.err
    assert asked == [{"count_memory": True}]
    assert [row["ratio_to_official"] for row in report["rows"]] == [1, 2]
    assert report["rows"][1]["estimated_of_measured"] == 0.95


@pytest.mark.slow
def test_what_a_step_needs_is_what_the_paper_set_up_needs():
    flops = floor.needed_flops(Task(mode="image"), SCALES["paper"])
    # 311e12 multiply-adds in the 129 evaluations of the paper's image guidance
    assert sum(flops.values()) / 2 * 129 == pytest.approx(311e12, rel=0.01)
    assert list(flops) == ["unet", "vit"]


def test_a_folder_without_the_official_code_is_refused(tmp_path):
    with pytest.raises(InputError, match="image_editor"):
        compare(Task(), "small", [], tmp_path)


def test_unknown_variants_are_named():
    with pytest.raises(SystemExit, match="nonsense"):
        speed.main(["--variants", "default,nonsense"])


def test_the_first_step_warms_up():
    meter = Meter("cpu")
    assert list(meter.steps(iter("abc"), 2)) == ["a", "b"]
    meter.seconds = [9.0, 1.0, 2.0]
    assert meter.report()["seconds_per_step"] == 1.5
    meter.seconds = [9.0]
    assert meter.report()["seconds_per_step"] == 9.0


@pytest.mark.slow
def test_growth_measures_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "REPEATS", 1)
    report = growth.main(["--only", "crops", "--values", "1,16", "--json", str(tmp_path / "growth.json")])
    rows = json.loads((tmp_path / "growth.json").read_text())["rows"]
    assert rows == json.loads(json.dumps(report["rows"]))
    assert [(row["of"], row["value"]) for row in rows] == [("crops", 1), ("crops", 16)]
    assert rows[0]["estimated_bytes"] < rows[1]["estimated_bytes"]


@pytest.mark.slow
def test_the_plan_has_every_way_to_save_memory():
    rows = plan.main(["--scale", "small", "--crops", "2"])["rows"]
    totals = {(row["mode"], row["dtype"], row["way"]): row["total_bytes"] for row in rows}
    assert len(totals) == len(rows) == 2 * (len(plan.WAYS) + 1 + 2)
    for dtype in ("float32", "float16"):
        low, default = (totals["text", dtype, way] for way in ("low memory", "default"))
        assert totals["text", dtype, plan.NO_BACKWARD] < low < default
    for row in rows:
        assert row["total_bytes_one_at_a_time"] <= row["total_bytes_offloaded"]
