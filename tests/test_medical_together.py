"""Slices of a volume that are held together, with the pocket models."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from translate_command import good, run

from diffuseit.images.medical.parts import Parts
from diffuseit.pocket.benchmark.volume import swept
from diffuseit.pocket.world.render import render, sample_geometry

QUICK = ("--to", "a winter landscape", "--steps", 4, "--skip", 1, "--resample", 1, "--window", "127,255")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gray volume of 64x64 pixels and 3 slices that change slowly."""
    monkeypatch.chdir(tmp_path)
    scenes = render(swept(sample_geometry("landscape", [1]), 1, 3), [0] * 3, [1] * 3).mean(1)
    levels = ((scenes + 1) * 127.5).round().numpy().astype(np.uint8)
    nibabel.save(
        nibabel.Nifti1Image(levels[:, ::-1].transpose(2, 1, 0), np.diag([-1, 1, 1, 1])), "source.nii"
    )
    return Path("source.nii")


def roughness(path: str) -> float:
    return np.abs(np.diff(nibabel.load(path).get_fdata(), axis=2)).mean()


@pytest.mark.slow
def test_neighbors_agree_and_a_run_that_ended_goes_on(stack: Path, monkeypatch: pytest.MonkeyPatch):
    good(stack, *QUICK, "-o", "alone.nii")
    good(stack, *QUICK, "--consensus", 0.8, "-o", "held.nii")
    assert roughness("held.nii") < 0.8 * roughness("alone.nii")

    save = Parts.save

    def broken(self, index: int, pixels: np.ndarray) -> None:
        if index == 1:
            raise RuntimeError("out of power")
        save(self, index, pixels)

    monkeypatch.setattr(Parts, "save", broken)
    assert run(stack, *QUICK, "--consensus", 0.8, "--at-once", 2, "-o", "later.nii").exit_code == 1
    monkeypatch.setattr(Parts, "save", save)
    assert len(list(Path("later.nii.parts").glob("*-canvas.npy"))) == 1
    good(stack, *QUICK, "--consensus", 0.8, "--at-once", 2, "-o", "later.nii")
    assert nibabel.load("later.nii").shape == (64, 64, 3)
    assert not Path("later.nii.parts").exists()
