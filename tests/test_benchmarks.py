"""The benchmarks run and count; what they time is not looked at."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import comfyui, floor, growth, latent, memory, plan, speed
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


class Blocks(nn.Module):
    """Decodes one pixel into 8x8: two blocks of two convolutions, 6 channels."""

    def __init__(self):
        super().__init__()
        self.up, self.last = nn.Upsample(scale_factor=8), nn.Conv2d(6, 3, 3, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def decode(self, z):
        hidden = self.up(z)
        for block in self.blocks:
            hidden = block(hidden)
        return self.last(hidden)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return self.two(self.one(x).relu()).relu()


def test_operations_and_bytes_of_a_decoder_are_those_of_its_layers():
    with torch.device("meta"):
        decoder = comfyui.Decoder("a", Blocks().to(comfyui.DTYPE).requires_grad_(False), channels=6)
    rows = {(row["size"], row["recompute"]): row for row in latent.decoder_rows([decoder], (64, 32))}
    pixels = 64 * 64
    layers, last = 2 * pixels * 9 * 6 * 6, 2 * pixels * 9 * 6 * 3
    plain, again = rows[64, False], rows[64, True]
    assert plain["forward_flops"] == again["forward_flops"] == 4 * layers + last
    assert plain["backward_flops"] == 4 * layers + last
    assert 2 * layers <= again["backward_flops"] - plain["backward_flops"] <= 4 * layers
    # The inputs of all five layers or of the two blocks and the last layer, 2 bytes each, and the picture.
    assert plain["kept_bytes"] == pixels * 2 * (5 * 6 + 3)
    assert again["kept_bytes"] == pixels * 2 * (3 * 6 + 3)
    assert rows[32, False]["kept_bytes"] == plain["kept_bytes"] / 4


def test_overhead_is_what_decoder_and_networks_take_over_the_step():
    decoders = [
        {
            "decoder": name,
            "size": 512,
            "recompute": again,
            "forward_flops": cost,
            "backward_flops": cost * more,
        }
        for name, cost in (("full", 100), ("tiny", 10))
        for again, more in ((False, 1), (True, 2))
    ]
    features = [{"network": name, "forward_flops": 5, "backward_flops": 5} for name in ("vit", "clip")]
    model = {"model": "m", "cfg": True, "forward_flops": 1000, "full": "full", "tiny": "tiny"}
    way = latent.Way("tiny", full=False, size=512)
    ways = (
        way,
        replace(way, name="rarely", every=2),
        replace(way, name="full again", full=True, recompute=True),
    )
    rows = latent.overhead_rows(decoders, [model], features, {"a": ["vit"], "b": ["vit", "clip"]}, ways)
    ratios = {(row["networks"], row["way"]): row["ratio"] for row in rows}
    assert ratios == pytest.approx(
        {
            ("a", "tiny"): 1.03,
            ("b", "tiny"): 1.04,
            ("a", "rarely"): 1.015,
            ("b", "rarely"): 1.02,
            ("a", "full again"): 1.31,
            ("b", "full again"): 1.32,
        }
    )


def test_a_folder_without_comfyui_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="comfy/ldm is missing"):
        latent.main(["--comfyui", str(tmp_path)])
