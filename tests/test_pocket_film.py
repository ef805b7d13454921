"""The benchmark of films and views. The rows here need no network but the judge."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from diffuseit.errors import InputError
from diffuseit.pocket.benchmark.film import film_motion, measure, run_film
from diffuseit.pocket.benchmark.tasks import draw_specs
from diffuseit.pocket.models import pocket_judge
from diffuseit.pocket.world.moving import shoot
from diffuseit.pocket.world.render import sample_geometry
from diffuseit.pocket.world.seeds import TUNING

QUIET = Console(quiet=True)


@pytest.mark.parametrize("kind", ["film", "views"])
def test_the_truth_has_the_best_figures(kind: str, tmp_path: Path) -> None:
    rows = ("source", "truth")
    report = run_film(2, tmp_path, kind=kind, frames=4, rows=rows, seeds=TUNING, console=QUIET)  # type: ignore[arg-type]
    source, truth = report["rows"]
    assert (
        truth["ssim"] == pytest.approx(1) and truth["style"] == 1 and truth["sharpness"] == pytest.approx(1)
    )
    assert source["ssim"] < 0.9 and source["style"] == 0
    assert source["warp"] < 0.01 and truth["warp"] < 0.01
    assert ("disparity" in truth) == (kind == "views")
    kept = json.loads((tmp_path / f"{kind}.json").read_text())
    assert [row["name"] for row in kept["rows"]] == list(rows)
    assert "| truth |" in (tmp_path / f"{kind}.md").read_text()
    with Image.open(tmp_path / f"{kind}.webp") as moving:
        # Four frames there and two back.
        assert getattr(moving, "n_frames", 1) == 6


def test_a_frozen_film_does_not_flicker_and_is_not_the_true_film() -> None:
    spec = draw_specs([1], TUNING)[0]
    shot = shoot(sample_geometry(spec.domain, [spec.seed]), film_motion(spec.seed, 4, 4))
    truth = shot.pictures(spec.target, spec.seed + 1)
    frozen = measure(truth[:1].expand_as(truth), truth, shot, spec, "film", pocket_judge())
    own = measure(truth, truth, shot, spec, "film", pocket_judge())
    assert frozen["flicker"] < 1e-6 and frozen["ssim"] < own["ssim"]
    assert own["warp"] < frozen["warp"]
    noisy = truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    flickering = measure(noisy, truth, shot, spec, "film", pocket_judge())
    assert flickering["flicker"] > 0.05 and flickering["warp"] > 10 * own["warp"]


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(InputError, match="no row is called films"):
        run_film(1, rows=("films",), console=QUIET)
