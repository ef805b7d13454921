"""The benchmark of results larger than the model. The rows here need no network."""

import json

import pytest
import torch
from rich.console import Console

from diffuseit.errors import InputError
from diffuseit.pocket.benchmark.large import run_large, seams
from diffuseit.pocket.world.seeds import TUNING

QUIET = Console(quiet=True)


def test_the_truth_reaches_more_than_the_source(tmp_path):
    rows = ("source", "truth-resize", "truth-guided")
    report = run_large(4, tmp_path, rows=rows, seeds=TUNING, console=QUIET)
    source, resized, guided = report["rows"]
    assert source["style_success"] == 0 and guided["style_success"] == 1
    assert source["ssim"] < 0.9 < resized["ssim"]
    assert guided["mae"] < source["mae"]
    kept = json.loads((tmp_path / "large_128.json").read_text())
    assert [row["name"] for row in kept["rows"]] == list(rows)
    assert "truth-guided" in (tmp_path / "large_128.md").read_text()


def test_a_step_at_the_borders_of_tiles_is_a_seam():
    smooth = torch.linspace(-1, 1, 128).expand(1, 3, 128, 128).contiguous()
    stepped = smooth + 0.1 * ((torch.arange(128) // 32) % 2)
    assert seams(stepped).item() > 5
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert abs(seams(noise).item()) < 0.1


def test_an_unknown_row_is_refused():
    with pytest.raises(InputError, match="no row is called tile"):
        run_large(1, rows=("tile",), console=QUIET)
