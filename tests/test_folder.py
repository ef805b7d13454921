"""`diffuseit translate FOLDER`: all of it, once, whatever one picture does."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from standin import replace_core
from typer.testing import CliRunner

from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.errors import DivergedError


@pytest.fixture
def seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of each call of a core that inverts colors, and fails at green and blue pictures."""
    recorded: list[int] = []

    def translate(source: torch.Tensor, *, seed: int, on_step, **_) -> Result:
        recorded.append(seed)
        for number in range(4):
            on_step(SimpleNamespace(number=number, total=4, terms={"structure": torch.tensor([0.5])}))
        if source[0, 1].mean() > 0.9:
            raise DivergedError("the sample is not finite")
        if source[0, 2].mean() > 0.9:
            raise RuntimeError("out of memory\nhere is a table")
        return Result(-source)

    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, translate)
    Path("in").mkdir()
    for name in ("b.png", "a.jpg", "c.webp"):
        Image.new("RGB", (80, 64), "red").save(f"in/{name}")
    Path("in/notes.txt").write_text("no picture")
    Path("in/.hidden.png").write_text("no picture")
    Path("in/more").mkdir()
    return recorded


def run(*arguments: object):
    return CliRunner().invoke(app, ["translate", *map(str, arguments)])


def names(folder: str) -> list[str]:
    """The files but for the table of verdicts."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != "verdicts.csv")


def test_every_picture_with_the_same_seed(seeds: list[int]):
    result = run("in", "--to", "winter", "--seed", 5, "-o", "out")
    assert result.exit_code == 0, result.output
    assert names("out") == ["a.png", "b.png", "c.png"]
    assert Image.open("out/b.png").getpixel((0, 0)) == (0, 255, 255)
    assert "3 translated into out, 0 there already, 0 failed" in result.stdout
    assert seeds == [5, 5, 5]


def test_the_verdicts_stand_in_a_table_that_grows(seeds: list[int]):
    run("in", "--to", "winter", "-o", "out")
    Path("out/b.png").unlink()
    Path("in/=d.png").write_bytes(Path("in/b.png").read_bytes())
    run("in", "--to", "winter", "-o", "out")
    rows = list(csv.DictReader(Path("out/verdicts.csv").read_text().splitlines()))
    assert [row["source"] for row in rows] == ["a.jpg", "b.png", "c.webp", "'=d.png", "b.png"]
    assert rows[0]["result"] == "a.png" and rows[0]["to"] == "winter" and rows[0]["seed"] == "0"
    assert float(rows[0]["edge_f1"]) == 1 and rows[0]["structure_kept"] == rows[0]["target_reached"] == ""


def test_another_table_of_that_name_is_left_alone(seeds: list[int]):
    Path("out").mkdir()
    Path("out/verdicts.csv").write_text("mine\n")
    result = run("in", "--to", "winter", "-o", "out")
    assert result.exit_code == 0 and result.stderr.count("no verdicts are kept") == 1
    assert Path("out/verdicts.csv").read_text() == "mine\n"


def test_one_bar_counts_pictures(seeds: list[int]):
    assert "3/3" in run("in", "--to", "winter", "-o", "out").stderr


def test_what_is_there_is_left_alone(seeds: list[int]):
    Path("out").mkdir()
    Path("out/b.png").write_text("precious")
    result = run("in", "--to", "winter", "-o", "out")
    assert "2 translated into out, 1 there already, 0 failed" in result.stdout
    assert Path("out/b.png").read_text() == "precious"
    assert "0 translated into out, 3 there already" in run("in", "--to", "winter", "-o", "out").stdout
    assert len(seeds) == 2


def test_failures_are_listed_and_the_others_translated(seeds: list[int]):
    Image.new("RGB", (64, 64), "lime").save("in/aa.png")
    Image.new("RGB", (64, 64), "blue").save("in/bb.png")
    Path("in/damaged.png").write_text("no picture")
    Image.new("RGB", (900, 9)).save("in/long.png")
    result = run("in", "--to", "winter", "-o", "out")
    assert result.exit_code == 1
    assert names("out") == ["a.png", "b.png", "c.png"]
    assert "3 translated into out, 0 there already, 4 failed" in result.stdout
    failures = [line for line in result.stderr.splitlines() if line.startswith("Failed: ")]
    assert failures[0] == "Failed: in/aa.png: the sample is not finite"
    assert failures[1] == "Failed: in/bb.png: RuntimeError: out of memory here is a table"
    assert failures[2].startswith("Failed: in/damaged.png is not an image")
    assert failures[3].startswith("Failed: in/long.png: The image is 900x9 pixels")


def test_equal_stems_do_not_overwrite_each_other(seeds: list[int]):
    Image.new("RGB", (64, 64), "red").save("in/A.bmp")
    assert run("in", "--to", "winter", "-o", "out").exit_code == 0
    assert names("out") == ["A.bmp.png", "a.jpg.png", "b.png", "c.png"]


def test_the_default_folder(seeds: list[int]):
    assert run("in/", "--to", "winter").exit_code == 0
    assert names("in-translated") == ["a.png", "b.png", "c.png"]


def test_notes_name_their_picture(seeds: list[int]):
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "black")]
    frames[0].save("in/moving.gif", save_all=True, append_images=frames[1:])
    stderr = run("in", "--to", "winter", "-o", "out").stderr
    assert "Note: in/moving.gif has several frames: the first one is used" in stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["in", "--to", "winter", "-o", "in"], "in holds the sources"),
        (["in", "--to", "winter", "-o", "out.png"], "in is a folder: give a folder for the results"),
        (["in/more", "--to", "winter"], "There are no images in in/more"),
        (["in", "-o", "out"], "either --to TEXT or --style IMAGE"),
        (["in", "--to", " ", "-o", "out"], "the text to translate to is empty"),
        (["in", "--to", "winter", "--steps", "5", "--skip", "5", "-o", "out"], "skip is 5 of 5"),
        (["in", "--to", "winter", "-o", "in/b.png/out"], "Cannot write in"),
        (["in", "--style", "nothing.png", "-o", "out"], "nothing.png cannot be opened"),
    ],
)
def test_what_is_wrong_for_all_is_said_once_before_the_first(seeds: list[int], options, message: str):
    result = run(*options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert seeds == []
    assert not Path("out").exists()
