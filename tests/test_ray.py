"""Translations on Ray: the callable class without Ray, and a small cluster on this machine where Ray is installed."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from translate_command import good, refused

from diffuseit.images.io import save_picture, to_pil
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.ray import Request, Translator

QUICK = {"steps": 4, "skip": 1, "resample": 1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with three images in `in`."""
    monkeypatch.chdir(tmp_path)
    pictures = render(sample_geometry("landscape", range(3)), [0] * 3, range(3))
    for number in range(3):
        save_picture(to_pil(pictures[number : number + 1]), tmp_path / "in" / f"{number}.png")
    return tmp_path


def columns(**values):
    return {name: np.array(list(column), dtype=object) for name, column in values.items()}


def pixels(file) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def test_the_class_makes_what_the_command_makes(folder):
    good("in", "--to", "winter landscape", "--steps", 4, "--skip", 1, "--resample", 1, "-o", "out")
    translator = Translator(Request(to="winter landscape", **QUICK))
    files = sorted(Path("in").iterdir())
    batch = columns(path=map(str, files), bytes=(file.read_bytes() for file in files), number=range(3))
    made = translator(batch)
    assert made["number"].tolist() == [0, 1, 2] and not any(made["error"])
    for file, result, summary in zip(files, made["result"], made["summary"], strict=True):
        assert np.abs(pixels(io.BytesIO(result)).astype(int) - pixels(Path("out", file.name))).max() <= 1
        assert summary


def test_one_image_in_trouble_stops_no_other(folder):
    translator = Translator(Request(to=("winter landscape", "autumn landscape"), **QUICK))
    made = translator(
        columns(
            path=["../a/bad.png", "in/0.png", "in/1.png", "in/none.png"],
            bytes=[b"no image", Path("in/0.png").read_bytes(), None, None],
            to=["winter landscape", "summer", None, "autumn landscape"],
        )
    )
    bad, other, fine, missing = made["error"]
    assert "bad.png" in bad and "none of the texts" in other and "none.png" in missing
    assert fine == "" and made["result"][2].startswith(b"\x89PNG") and made["result"][0] == b""


def test_a_target_that_is_there_stays(folder):
    translator = Translator(Request(to="winter landscape", **QUICK), folder / "out")
    Path("out").mkdir()
    Path("out/1.png").write_bytes(b"mine")
    batch = columns(path=["in/0.png", "in/1.png"], target=["out/0.png", "out/1.png"], to=[None, None])
    made = translator(batch)
    assert not any(made["error"]) and not any(made["result"])
    assert pixels("out/0.png").shape == (64, 64, 3) and Path("out/1.png").read_bytes() == b"mine"


def test_what_does_not_go_with_ray_is_refused(folder):
    assert "--engine ray is for a folder" in refused("in/0.png", "--to", "winter", "--engine", "ray")
    assert "--workers goes with --engine ray" in refused("in", "--to", "winter", "--workers", 2)
    assert "--engine ray goes without --sign" in refused("in", "--to", "winter", "--engine", "ray", "--sign")


def test_ray_does_not_report_its_use():
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_a_folder_on_two_workers(folder):
    pytest.importorskip("ray", reason="Ray is not installed: `pip install 'diffuseit[ray]'`")
    options = ("--to", "winter landscape", "--steps", 4, "--skip", 1, "--resample", 1)
    good("in", *options, "-o", "here")
    result = good("in", *options, "-o", "there", "--engine", "ray", "--workers", 2)
    assert "3 translated into there" in result.stdout
    for file in sorted(Path("in").iterdir()):
        assert (
            np.abs(pixels(Path("there", file.name)).astype(int) - pixels(Path("here", file.name))).max() <= 1
        )
