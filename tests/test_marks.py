"""Marks that say how an image came to be, beside the settings that it carries."""

from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin
from standin import replace_core
from typer.testing import CliRunner

from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.images import marks
from diffuseit.images.io import read_mark, read_picture, read_text, save_picture

EDITED, MADE = "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photo and a core that inverts it."""

    def translate(source: torch.Tensor, **_) -> Result:
        return Result(-source)

    replace_core(monkeypatch, translate)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("photo.png")
    return tmp_path


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, ["translate", *arguments])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "tif", "tiff"])
def test_every_format_holds_the_mark_beside_the_settings(tmp_path, suffix):
    file = tmp_path / f"result.{suffix}"
    save_picture(Image.new("RGB", (20, 10), "blue"), file, '{"seed": 7}', mark=EDITED)
    assert (read_mark(file), read_text(file)) == (EDITED, '{"seed": 7}')
    assert read_picture(file).size == (10, 20)
    save_picture(Image.new("RGB", (20, 10)), file, mark=MADE)
    assert (read_mark(file), read_text(file)) == (MADE, None)


def test_a_format_without_metadata_is_still_written(tmp_path):
    save_picture(Image.new("RGB", (20, 10)), tmp_path / "result.bmp", "{}", mark=EDITED)
    assert read_mark(tmp_path / "result.bmp") is None


def test_the_command_marks_results_unless_it_is_told_not_to(folder):
    run("photo.png", "--to", "winter", "-o", "a.webp")
    run("photo.png", "--to", "winter", "--no-mark", "-o", "b.webp")
    assert (read_mark(Path("a.webp")), read_mark(Path("b.webp"))) == (EDITED, None)
    assert read_text(Path("b.webp")) is not None
    run("photo.png", "--again", "a.webp", "-o", "c.webp")
    run("photo.png", "--again", "a.webp", "--no-mark", "-o", "d.webp")
    assert (read_mark(Path("c.webp")), read_mark(Path("d.webp"))) == (EDITED, None)


def test_a_generated_source_makes_a_generated_result(folder):
    save_picture(Image.open("photo.png"), "made.png", mark=MADE)
    (folder / "in").mkdir()
    Path("made.png").rename(folder / "in" / "made.png")
    Path("photo.png").rename(folder / "in" / "photo.png")
    run("in", "--to", "winter", "-o", "out")
    assert (read_mark(Path("out/made.png")), read_mark(Path("out/photo.png"))) == (MADE, EDITED)


@pytest.mark.parametrize(
    "packet",
    [
        '<rdf:Description Iptc4xmpExt:DigitalSourceType="{}"/>',
        "<Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>",
        '<Iptc4xmpExt:DigitalSourceType rdf:resource="{}"/>',
    ],
)
def test_marks_of_other_programs_are_read(tmp_path, packet):
    term = f"http://cv.iptc.org/newscodes/digitalsourcetype/{MADE}"
    assert mark_of(tmp_path, packet.format(term)) == MADE


@pytest.mark.parametrize(
    "packet", ["", "DigitalSourceType", "DigitalSourceType http://evil/" + "a" * 99, "<" * 5000]
)
def test_what_is_no_mark_is_none(tmp_path, packet):
    assert mark_of(tmp_path, packet) is None


def mark_of(folder: Path, packet: str) -> str | None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(marks.PNG_KEY, packet)
    Image.new("RGB", (8, 8)).save(folder / "other.png", pnginfo=chunks)
    return read_mark(folder / "other.png")
