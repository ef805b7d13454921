"""The benchmark and the demo, on very few pictures."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import InputError
from diffuseit.images.io import read_mark
from diffuseit.pocket.benchmark.run import ROWS, run_benchmark
from diffuseit.pocket.benchmark.verdict import run_verdict
from diffuseit.pocket.world.seeds import TUNING
from diffuseit.presets import PRESETS


@pytest.mark.slow
def test_every_row_has_its_figures(tmp_path):
    settings = replace(PRESETS["pocket-text"].sampler, steps=6, skip=3, resample=2)
    report = run_benchmark(3, tmp_path, seeds=TUNING, settings=settings, batch=2)
    assert json.loads((tmp_path / "benchmark.json").read_text())["n"] == 3
    assert [row["name"] for row in report["rows"]] == list(ROWS)
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["ceiling"]["style_success"] == 1 and rows["source"]["style_success"] == 0
    for row in rows.values():
        low, high = row["style_success_ci"]
        assert 0 <= low <= row["style_success"] <= high <= 1
        assert {"ssim", "edge_f1", "mae", "frechet", "frechet_floor", "seconds"} <= row.keys()
    assert Image.open(tmp_path / "contact_sheet.png").width > 5 * 192


@pytest.mark.slow
def test_one_picture_and_some_rows():
    report = run_benchmark(1, rows=("source", "ceiling"))
    assert [row["frechet"] for row in report["rows"]] == [None, None]


@pytest.mark.slow
def test_the_networks_have_the_precision_that_was_asked_for(tmp_path):
    command = f"benchmark pocket --n 1 --rows source --dtype bfloat16 -o {tmp_path}".split()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert json.loads((tmp_path / "benchmark.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.slow
def test_the_verdict_warns_of_what_must_fail(tmp_path):
    report = run_verdict(4, tmp_path, seeds=TUNING)
    style, weak, other = report["rows"]
    assert [row["kind"] for row in report["rows"]] == ["style", "too weak", "other domain"]
    assert weak["right"]["count"] == weak["failed"]["count"] == other["failed"]["count"] == 4
    assert other["lost"]["count"] >= 3 and other["far"]["count"] >= 3
    assert style["lost"]["count"] <= 1 and style["far"]["count"] <= 1
    assert json.loads((tmp_path / "verdict.json").read_text())["n"] == 4
    assert "4 of 4" in (tmp_path / "verdict.md").read_text()
    assert Image.open(tmp_path / "verdict.png").width > 4 * 192


def test_unknown_rows_are_named():
    with pytest.raises(InputError, match="nonsense"):
        run_benchmark(1, rows=("nonsense",))


@pytest.mark.slow
def test_the_demo_writes_its_sheet(tmp_path):
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "demo.png").width > 4 * 256
    assert read_mark(tmp_path / "summer-winter-source.png") == "algorithmicMedia"
    assert read_mark(tmp_path / "summer-winter-translated.png") == "trainedAlgorithmicMedia"
    assert "lion" in result.stdout
