"""The benchmark of translated images with their old labels. The rows here need no network but the segmenter."""

import json

import pytest
import torch
from rich.console import Console

from diffuseit.errors import InputError
from diffuseit.pocket.benchmark import labels, segmenter
from diffuseit.pocket.benchmark.labels import PAIRS, recovered, run_labels
from diffuseit.pocket.benchmark.segmenter import confusion, mean_iou, train_segmenter
from diffuseit.pocket.world.seeds import TUNING

QUIET = Console(quiet=True)


def test_the_report_has_every_row_and_the_truth_reaches_all(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "TESTED", 4)
    monkeypatch.setattr(segmenter, "STEPS", 2)
    report = run_labels(3, tmp_path, rows=("colors",), seeds=TUNING, pairs=PAIRS[5:8], console=QUIET)
    source, colors, truth = report["rows"]
    assert [source["name"], colors["name"], truth["name"]] == ["source", "colors", "truth"]
    assert (source["recovered"], truth["recovered"]) == (0, 1)
    # A map of colors moves nothing.
    assert colors["moved"] == 0 and colors["images"] == 9
    assert json.loads((tmp_path / "labels.json").read_text())["pairs"] == report["pairs"]
    assert "| colors |" in (tmp_path / "labels.md").read_text()
    assert (tmp_path / "labels.png").is_file()


def test_pairs_share_no_scene_and_use_every_style_twice():
    scenes = [spec.seed + part for pair in PAIRS for spec in pair.specs(TUNING, 50) for part in range(8)]
    assert len(set(scenes)) == len(scenes) and min(scenes) in TUNING and max(scenes) in TUNING
    assert len({(pair.domain, pair.source) for pair in PAIRS}) == len(PAIRS) == 12
    assert len({(pair.domain, pair.target) for pair in PAIRS}) == 12


def test_the_recovered_gap_is_that_of_all_pairs_together():
    def pair(source: float, text: float, truth: float):
        return {"rows": {"source": {"miou": source}, "text": {"miou": text}, "truth": {"miou": truth}}}

    gap, interval = recovered([pair(0.2, 0.5, 0.8), pair(0.4, 0.8, 0.8)], "text")
    assert gap == pytest.approx(0.7)
    assert interval == pytest.approx((0.5, 1.0))
    assert recovered([pair(0.2, 0.1, 0.8)], "text") == (pytest.approx(-1 / 6), None)


def test_a_segmenter_learns_what_color_means():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(16, 4, 4, generator=generator).round().repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = (2 * masks - 1)[:, None].expand(-1, 3, -1, -1) + 0.1 * torch.randn(
        16, 3, 16, 16, generator=generator
    )
    network = train_segmenter(images, masks.long(), 3, seed=0, steps=40)
    counts = confusion(network, images, masks.long(), 3)
    # The third class is nowhere, and does not count.
    assert counts.sum() == 16**3 and mean_iou(counts) > 0.95
    assert mean_iou(torch.tensor([[3, 1], [0, 4]])) == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_an_unknown_row_is_refused():
    with pytest.raises(InputError, match="no row is called txt"):
        run_labels(1, rows=("txt",), console=QUIET)
