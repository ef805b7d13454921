"""Where results go: what is known before a run is said before it, and what happens during it loses no picture."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from standin import replace_core
from typer.testing import CliRunner

import diffuseit
from diffuseit.cli import app
from diffuseit.cli.batch import work_in
from diffuseit.cli.output import Target
from diffuseit.images import metadata
from diffuseit.images.io import read_text

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs and other rules for names")


class Core:
    """A core that inverts colors. `meanwhile` is what happens while it works."""

    def __init__(self) -> None:
        self.runs = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def translate(self, source: torch.Tensor, **_) -> SimpleNamespace:
        self.runs += 1
        self.meanwhile()
        return SimpleNamespace(pictures=-source)

    def vary(self, source: torch.Tensor, *, count: int, seed: int, **_) -> SimpleNamespace:
        self.runs += 1
        self.meanwhile()
        seeds = tuple(one % 2**64 for one in range(seed, seed + count))
        return SimpleNamespace(
            pictures=-source.expand(count, -1, -1, -1), seeds=seeds, scores=torch.zeros(count)
        )


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Core:
    """The stand-in, in an otherwise empty current folder with a red `lion.png`."""
    core = Core()
    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, core.translate)
    monkeypatch.setattr(diffuseit, "vary", core.vary, raising=False)
    red("lion.png")
    return core


def red(path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), "red").save(path)


def run(*arguments: object):
    return CliRunner().invoke(app, ["translate", *map(str, arguments), "--to", "a leopard"])


def good(*arguments: object):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(core: Core, *arguments: object) -> str:
    """The one line that the command ends in, before any work and with nothing written."""
    before = sorted(Path.cwd().rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert core.runs == 0
    assert sorted(Path.cwd().rglob("*")) == before
    return result.stderr


def names(folder: str | Path = ".") -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def is_result(path: str | Path) -> bool:
    return Image.open(path).getpixel((0, 0)) == (0, 255, 255)


# --- Names ------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("stem", ["x" * 251, "写" * 83, "é" * 125, "🐆" * 62], ids=["x", "写", "é", "🐆"])
def test_default_names_are_cut_at_a_character(core: Core, stem: str):
    red(f"{stem}.png")
    good(f"{stem}.png")
    good(f"{stem}.png", "--variations", 3)
    written = names() - {"lion.png", f"{stem}.png"}
    assert len(written) == 5
    for name in written:
        assert len(os.fsencode(name)) <= 255
        kept = re.fullmatch(r"(.+)-translated(-\d)?(-\d|-grid)?\.png", name)[1]
        assert stem.startswith(kept) and len(os.fsencode(kept)) > 150


@posix
def test_the_longest_name_that_is_asked_for_is_written(core: Core):
    name = f"{'y' * 251}.png"
    good("lion.png", "-o", name)
    good("lion.png", "-o", f"z{name[1:]}", "--variations", 2)
    assert names() >= {name, f"z{name[1:]}", f"z{'y' * 248}-2.png", f"z{'y' * 245}-grid.png"}


@posix
@pytest.mark.parametrize(
    "arguments",
    [
        ("lion.png", "-o", f"{'y' * 252}.png"),
        ("lion.png", "-o", f"{'写' * 84}.png"),
        ("lion.png", "-o", f"new/folder/{'y' * 252}.png"),
        ("lion.png", "-o", f"new/{'y' * 256}/out.png"),
        ("lion.png", "-o", "a/" * 2100 + "out.png"),
        ("lion.png", "--style", f"{'y' * 300}.png"),
        (f"{'y' * 300}.png",),
        (".", "-o", f"{'y' * 300}"),
    ],
)
def test_names_that_are_too_long_are_refused_before_the_run(core: Core, arguments: tuple[str, ...]):
    if "--style" in arguments:
        result = CliRunner().invoke(app, ["translate", *arguments])
        assert result.exit_code == 2 and "File name too long" in result.stderr
    else:
        assert "File name too long" in refused(core, *arguments)


def test_tilde_is_the_home_in_every_path_option(core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for name in ("source.png", "mask.png", "in/a.png"):
        red(home / name)
    good("~/source.png", "--output=~/pics/out.png", "--mask=~/mask.png")
    good("~/in", "-o", "~/out")
    again = CliRunner().invoke(app, ["translate", "~/source.png", "--again=~/pics/out.png", "-o", "~/b.png"])
    assert again.exit_code == 0, again.output
    assert is_result(home / "pics" / "out.png") and is_result(home / "out" / "a.png")
    assert (home / "b.png").exists()
    assert names() == {"home", "lion.png"}
    assert (
        CliRunner()
        .invoke(app, ["models", "list", "--folder=~/mf"])
        .output.rstrip()
        .endswith(str(home / "mf"))
    )


def test_a_tilde_of_nobody_is_a_name(core: Core):
    good("lion.png", "-o", "~nobody-has-this-name/out.png")
    assert names("~nobody-has-this-name") == {"out.png"}


# --- Nothing is overwritten unasked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "role"), [("--style", "style image"), ("--mask", "mask"), ("--again", "earlier result")]
)
def test_pictures_that_are_read_are_not_written(core: Core, option: str, role: str):
    good("lion.png", "-o", "other.png")
    core.runs = 0
    os.link("other.png", "twin.png")
    for name in ("other.png", "./other.png", "twin.png"):
        arguments = ["translate", "lion.png", option, "other.png", "-o", name]
        result = CliRunner().invoke(app, [*arguments, "--to", "x"] if option == "--mask" else arguments)
        assert result.exit_code == 2
        assert f"{Path(name)} is the {role} itself: give another name with -o" in result.stderr
    assert core.runs == 0


def test_the_style_picture_that_a_recipe_names_is_not_written(core: Core):
    red("look.png")
    result = CliRunner().invoke(app, ["translate", "lion.png", "--style", "look.png", "-o", "a.png"])
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(app, ["translate", "lion.png", "--again", "a.png", "-o", "look.png"])
    assert again.exit_code == 2 and "look.png is the style image itself" in again.stderr


def test_a_default_name_that_another_command_takes_meanwhile_gets_a_number(core: Core):
    core.meanwhile = lambda: Path("lion-translated.png").write_text("another command's")
    result = good("lion.png")
    assert "Saved lion-translated-2.png" in result.stdout
    assert is_result("lion-translated-2.png")
    assert Path("lion-translated.png").read_text() == "another command's"


def test_names_of_variations_that_another_command_takes_meanwhile_get_a_number(core: Core):
    def take() -> None:
        for name in ("out.png", "out-2.png", "out-grid.png"):
            Path(name).write_text("another command's")

    core.meanwhile = take
    result = good("lion.png", "-o", "out.png", "--variations", 2)
    assert names() == {"lion.png", "out.png", "out-2.png", "out-2-2.png", "out-grid.png", "out-grid-2.png"}
    assert all(is_result(name) for name in ("out.png", "out-2-2.png", "out-grid-2.png"))
    assert Path("out-2.png").read_text() == Path("out-grid.png").read_text() == "another command's"
    assert [line.split()[1] for line in result.stdout.splitlines()] == [
        "out.png",
        "out-2-2.png",
        "out-grid-2.png",
    ]


def test_default_names_of_variations_are_free_together(core: Core):
    for name in ("lion-translated-grid.png", "lion-translated-2-3.png"):
        Path(name).write_text("precious")
    good("lion.png", "--variations", 3)
    assert {f"lion-translated-3{each}.png" for each in ("", "-2", "-3", "-grid")} < names()


@posix
def test_a_link_that_leads_nowhere_has_its_name(core: Core):
    Path("lion-translated.png").symlink_to("gone.png")
    assert "Saved lion-translated-2.png" in good("lion.png").stdout
    Path("in").mkdir()
    red("in/a.png")
    Path("out").mkdir()
    Path("out/a.png").symlink_to("gone.png")
    core.runs = 0
    assert "0 translated into out, 1 there already" in good("in", "-o", "out").stdout
    assert core.runs == 0


def test_a_picture_of_a_folder_that_appears_meanwhile_is_left_alone(core: Core):
    red("in/a.png")
    red("in/b.png")
    core.meanwhile = lambda: Path("out/b.png").write_text("another command's") if core.runs == 2 else None
    assert "1 translated into out, 1 there already, 0 failed" in good("in", "-o", "out").stdout
    assert is_result("out/a.png") and Path("out/b.png").read_text() == "another command's"


# --- No picture is lost -----------------------------------------------------------------------------------------


def test_a_folder_that_vanished_is_made_again(core: Core):
    Path("out").mkdir()
    core.meanwhile = lambda: shutil.rmtree("out")
    assert "Saved out/a.png".replace("/", os.sep) in good("lion.png", "-o", "out/a.png").stdout
    assert is_result("out/a.png")


@pytest.mark.parametrize("count", [1, 3])
def test_a_folder_that_became_unwritable_is_replaced_by_the_current_one(core: Core, count: int):
    def spoil() -> None:
        shutil.rmtree("out")
        Path("out").write_text("a file now")

    Path("out").mkdir()
    core.meanwhile = spoil
    result = good("lion.png", "-o", "out/a.jpg", "--variations", count)
    assert result.stderr.count("instead\n") == (1 if count == 1 else 4)
    saved = [line.split()[1] for line in result.stdout.splitlines()]
    assert saved == ["a.png"] if count == 1 else ["a.png", "a-2.png", "a-3.png", "a-grid.png"]
    assert all(is_result(name) for name in saved)
    assert read_text(Path("a.png")) is not None


def test_where_nothing_can_be_written_the_folder_for_temporary_files_is_left(
    core: Core, tmp_path, monkeypatch
):
    def spoil() -> None:
        (tmp_path / "here").rmdir()

    for name in ("here", "spare"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spare"))
    monkeypatch.chdir(tmp_path / "here")
    core.meanwhile = spoil
    if sys.platform == "win32":
        pytest.skip("Windows keeps the current folder")
    result = good("../lion.png", "-o", "a.png")
    assert is_result(tmp_path / "spare" / "a.png")
    assert str(tmp_path / "spare" / "a.png") in result.stderr


def test_a_format_that_cannot_hold_a_picture_is_replaced_by_png(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    wide = Image.new("RGB", (17_000, 4))  # WebP ends at 16,383 pixels
    assert Target(tmp_path / "a.webp", overwrite=True).save(wide) == tmp_path / "a.png"
    assert Image.open(tmp_path / "a.png").size == wide.size
    assert names(tmp_path) == {"a.png"}
    assert f"saved as {tmp_path / 'a.png'} instead" in capsys.readouterr().err


def test_settings_too_long_for_a_jpeg_are_left_out_and_said(core: Core, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metadata, "_LONGEST_JPEG_MARKER", 1000)
    result = good("lion.png", "-o", "long.jpg")
    assert (
        "Note: JPG files hold no settings of" in result.stderr
        and "--again will not work with long.jpg" in result.stderr
    )
    assert read_text(Path("long.jpg")) is None
    assert "Note" not in good("lion.png", "-o", "long.webp").stderr
    assert read_text(Path("long.webp")) is not None


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".png", ".tif"])
def test_a_text_of_any_length_ends_no_saving(tmp_path: Path, suffix: str):
    for length in (65_000, 65_500, 100_000):
        text, path = "x" * length, tmp_path / f"a{suffix}"
        assert Target(path, overwrite=True).save(Image.new("RGB", (8, 8)), text) == path
        fits = length < 65_400 or suffix not in (".jpg", ".jpeg")
        assert read_text(path) == (text if fits else None)


def test_texts_beyond_what_is_read_are_refused(core: Core):
    result = CliRunner().invoke(app, ["translate", "lion.png", "--to", "x" * 84_000, "-o", "l.jpg"])
    assert result.exit_code == 2 and "--to has 84000 characters: use at most" in result.stderr
    assert "--from has 3000 characters" in refused(core, "lion.png", "--from", "x" * 3000)


@pytest.mark.parametrize("seed", [2**64, 2**70, -1, 10**4000])
def test_seeds_out_of_range_are_refused(core: Core, seed: int):
    assert "--seed is" in (message := refused(core, "lion.png", f"--seed={seed}"))
    assert "use 0 to 18446744073709551615" in message and len(message) < 100


def test_the_largest_seed_has_variations_that_can_be_made_again(core: Core):
    good("lion.png", "--seed", 2**64 - 1, "-o", "a.png", "--variations", 2)
    again = CliRunner().invoke(app, ["translate", "lion.png", "--again", "a-2.png", "-o", "b.png"])
    assert again.exit_code == 0, again.output


# --- What is no file, and folders -------------------------------------------------------------------------------


@posix
@pytest.mark.timeout(60)
@pytest.mark.parametrize("option", [None, "--mask", "--style", "--again"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_pipes_and_devices_do_not_hang(core: Core, option: str | None, kind: str):
    name = "/dev/zero"
    if kind == "fifo":
        os.mkfifo(name := "pipe.png")
    arguments = ["translate", name] if option is None else ["translate", "lion.png", option, name]
    if option in (None, "--mask"):
        arguments += ["--to", "x"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert f"{name} cannot be opened: it is no regular file" in result.stderr
    assert core.runs == 0


@posix
@pytest.mark.timeout(60)
def test_a_folder_with_everything_in_it(core: Core):
    red("in/a.png")
    os.mkfifo("in/pipe.png")
    Path("in/gone.png").symlink_to("nowhere.png")
    Path("in/round.png").symlink_to("round.png")
    for name in ("b.CR2", "c.cr2", "d.eps", "README"):
        Path("in", name).write_text("x")
    Path("in/folder.png").mkdir()
    result = good("in", "-o", "out")
    assert names("out") == {"a.png", "verdicts.csv"}
    assert "1 translated into out, 0 there already, 0 failed" in result.stdout
    assert "Note: in has 3 files of kinds that are not read: .cr2 (2), .eps (1)\n" in result.stderr


def test_a_folder_of_pictures_that_are_not_read_says_so(core: Core):
    Path("in").mkdir()
    Path("in/a.CR2").write_text("x")
    message = "There are no images in in, but 1 file of a kind that is not read: .cr2 (1)"
    assert message in refused(core, "in", "-o", "out")


@pytest.mark.parametrize(("texts", "in_styles"), [((), False), (("winter", "W" * 99), True)])
def test_each_picture_of_a_folder_has_a_result_of_its_own(tmp_path: Path, texts, in_styles: bool):
    stems = ["x" * 251, f"{'x' * 250}y"]
    sources = [
        "a.jpg",
        "a.png",
        "a.jpg.webp",
        "A.gif",
        *(f"{stem}.png" for stem in stems),
        f"{'x' * 251}.jpg",
    ]
    for name in sources:
        tmp_path.joinpath(name).write_bytes(b"")
    work = work_in(tmp_path, Path("out"), texts, in_styles)
    results = [each.target.name for each in work]
    assert sorted({each.source.name for each in work}) == sorted(sources)
    assert len({name.lower() for name in results}) == len(sources) * max(1, len(texts))
    assert all(name.endswith(".png") and len(os.fsencode(name)) <= 255 for name in results)
    assert work == work_in(tmp_path, Path("out"), texts, in_styles)
