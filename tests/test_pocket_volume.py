"""The benchmark of volumes. The rows here need no diffusion network."""

import torch
from rich.console import Console

from diffuseit.pocket.benchmark.film import run_film
from diffuseit.pocket.benchmark.volume import measure, measure_volume, swept
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING


def test_the_true_volume_changes_as_the_truth_does():
    report = run_film(
        2,
        kind="volume",
        frames=4,
        rows=("source", "truth"),
        seeds=TUNING,
        console=Console(quiet=True),
        measured=measure_volume,
    )
    source, truth = report["rows"]
    assert truth["excess"] == 0 and truth["style"] == 1 and truth["ssim"] > 0.99
    assert source["excess"] > 0.0001 and source["style"] == 0


def test_slices_change_slowly_and_a_copy_of_one_slice_is_no_volume():
    geometry = swept(sample_geometry("landscape", [TUNING.start]), TUNING.start, 8)
    slices = render(geometry, [0] * 8, [1] * 8)
    change = slices.diff(dim=0).abs().flatten(1).mean(1)
    assert change.min() > 0 and change.max() < 0.1
    copied = measure(slices[:1].expand_as(slices), slices)
    assert copied["warp"] == 0 and copied["excess"] > 0


def test_other_volumes_have_the_same_first_slice():
    one = sample_geometry("animal", [TUNING.start])
    assert torch.equal(swept(one, TUNING.start, 3).params[0], one.params[0])
