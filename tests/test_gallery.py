"""The command `diffuseit gallery`, with a translation that takes no time where only the page is meant."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import diffuseit.gallery.sheets as sheets
from diffuseit import load_models
from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.gallery.knobs import KNOBS
from diffuseit.presets import PRESETS


def run(*arguments: object):
    return CliRunner().invoke(app, ["gallery", *map(str, arguments)])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    recorded: list[dict] = []

    def translate(source: torch.Tensor, **settings) -> Result:
        recorded.append({"source": source, **settings})
        return Result(-source)

    monkeypatch.setattr(sheets, "translate", translate)
    return recorded


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size, color in (("a.png", (90, 70), "red"), ("b.jpg", (64, 128), "blue")):
        image = Image.new("RGB", size, color)
        image.paste("white", (20, 20, 40, 50))
        image.save(folder / name)
    return folder


def test_the_page_of_own_photos_shows_every_preset_and_knob(photos, tmp_path, calls):
    out = tmp_path / "out"
    result = run(photos, "--to", "a <b>sketch</b>", "-o", out)
    assert result.exit_code == 0, result.output
    page = (out / "gallery.md").read_text()
    named = [line.split('src="')[1].split('"')[0] for line in page.splitlines() if "<img" in line]
    assert named and {out / name for name in named} == set((out / "gallery").iterdir())
    assert "<b>" not in page and "No photo stands here" not in page
    shown = {call["preset"].name for call in calls}
    assert {"pocket-text", "best-text", "pocket-image", "best-image"} <= shown
    assert not any(name.startswith(("official", "latent")) for name in shown)
    images = [call for call in calls if call["preset"].kind == "image"]
    # Each photo takes its look from the next one.
    assert all(not torch.equal(call["style"], call["source"]) for call in images)
    assert {call["to"] for call in calls if call["preset"].kind == "text"} == {"a <b>sketch</b>"}


def test_one_photo_without_a_style_image_shows_texts_alone(photos, tmp_path, calls):
    (photos / "b.jpg").unlink()
    assert run(photos, "-o", tmp_path / "out").exit_code == 0
    assert {call["preset"].kind for call in calls} == {"text"}


@pytest.mark.parametrize("preset", ["best-text", "best-image", "official-text", "official-agg-image"])
def test_each_knob_gives_presets_that_differ(preset):
    moving = [knob for knob in KNOBS if knob.moves(PRESETS[preset])]
    assert len(moving) >= 3
    for knob in moving:
        ways = list(knob.ways(PRESETS[preset]).values())
        assert PRESETS[preset] in ways and len(set(map(repr, ways))) == len(ways) > 1


def test_photos_beyond_the_most_are_told_of(photos, tmp_path, calls, monkeypatch):
    monkeypatch.setattr("diffuseit.gallery.photos.MOST_PHOTOS", 1)
    result = run(photos, "-o", tmp_path / "out")
    assert "has 2 images: the first 1 are shown" in " ".join(result.stderr.split())
    assert len({call["source"].sum().item() for call in calls}) == 1


def test_bad_folders_are_one_line_before_heavy_work(tmp_path, calls):
    (tmp_path / "empty").mkdir()
    for arguments in (
        (tmp_path / "missing",),
        (tmp_path / "empty",),
        ("--style", "x.png"),
        ("--preset", "nonsense"),
        ("--models", "nonsense"),
    ):
        result = run(*arguments, "-o", tmp_path / "out")
        assert result.exit_code == 2 and not isinstance(result.exception, KeyError), result.output
        assert result.output.startswith("Error: ")
    assert not calls


@pytest.mark.slow
def test_the_page_of_the_pocket_world_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "KNOBS", ())
    result = run("--preset", "fast-text", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "No photo stands here" in (tmp_path / "gallery.md").read_text()
    with Image.open(tmp_path / "gallery" / "presets-text.jpg") as sheet:
        assert sheet.width > 300


def test_figures_say_what_lies_where():
    models = load_models("pocket")
    from diffuseit.pocket.gallery import pocket_subjects

    source = pocket_subjects(models.ddpm)[0].source
    assert sheets.figures(source, source) == "edges 1.00, in place"
    assert "in place" not in sheets.figures(source.roll(5, -1), source)
