"""What the command prints: on any stream, at any width, and whatever strangers wrote."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from diffuseit.cli import app, console

ROOT, TESTS = Path(__file__).parents[1], Path(__file__).parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/full, or names that Windows refuses")

COMMAND = """
# The command with a core that inverts colors.
import sys
from types import SimpleNamespace
import torch
import diffuseit
from diffuseit import cli
from standin import MODELS

def translate(source, *, on_step, **_):
    on_step(SimpleNamespace(number=0, total=1, terms={"loss": torch.zeros(1)}))
    return SimpleNamespace(pictures=-source)

def vary(source, *, count, seed, on_step, **_):
    on_step(SimpleNamespace(number=0, total=1, terms={"loss": torch.zeros(1)}))
    pictures = -source.expand(count, -1, -1, -1)
    return SimpleNamespace(pictures=pictures, seeds=tuple(range(count)), scores=torch.zeros(count))

diffuseit.load_models = lambda name: MODELS
diffuseit.translate = translate
diffuseit.vary = vary
cli.main()
"""


def command(
    *arguments: str, encoding: str = "utf-8", **streams: object
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, TESTS))),
        "PYTHONIOENCODING": f"{encoding}:strict",
        "COLUMNS": "80",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    program = (
        ["-c", COMMAND] if arguments[-1] != "--help" and arguments[0] == "translate" else ["-m", "diffuseit"]
    )
    return subprocess.run([sys.executable, *program, *arguments], env=environment, check=False, **pipes)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def red(name: str | bytes) -> None:
    Image.new("RGB", (64, 64), "red").save(path := Path(os.fsdecode(name)), format="PNG")
    assert path.exists()


# --- Streams ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_names_that_the_stream_cannot_show_lose_no_result(here: Path, encoding: str):
    red("写真.png")
    result = command(
        "translate", "写真.png", "--to", "winter", "--variations", "3", "-o", "絵.png", encoding=encoding
    )
    assert result.returncode == 0, result.stderr
    assert {path.name for path in here.iterdir()} == {
        "写真.png",
        "絵.png",
        "絵-2.png",
        "絵-3.png",
        "絵-grid.png",
    }
    shown = "絵" if encoding == "utf-8" else r"\u7d75"
    assert result.stdout.decode(encoding).count(f"Saved {shown}") == 4


@posix
@pytest.mark.slow
def test_names_that_are_no_text_lose_no_result(here: Path):
    red(b"\xff\xfe.png")
    result = command("translate", os.fsdecode(b"\xff\xfe.png"), "--to", "winter")
    assert result.returncode == 0, result.stderr
    assert os.path.exists(b"\xff\xfe-translated.png")  # noqa: PTH110
    assert rb"Saved \udcff\udcfe-translated.png" in result.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_models_and_help_are_listed_in_any_encoding(here: Path, encoding: str):
    Path("mf").mkdir()
    Path("mf/dino_deitsmall8_pretrain.pth").write_bytes(b"here")
    listed = command("models", "list", "--folder", "mf", encoding=encoding)
    assert listed.returncode == 0, listed.stderr
    (row,) = (line for line in listed.stdout.decode(encoding).splitlines() if "dino-s8" in line)
    assert ("✓" if encoding == "utf-8" else "yes") in row
    helped = command("translate", "--help", encoding=encoding)
    assert helped.returncode == 0, helped.stderr
    assert b"\\u" not in listed.stdout + helped.stdout


@posix
@pytest.mark.slow
def test_a_full_or_closed_stream_loses_no_result(here: Path):
    red("a.png")
    arguments = ("translate", "a.png", "--to", "winter", "-o")
    with Path("/dev/full").open("wb") as full:
        unseen = command(*arguments, "b.png", stderr=full)
        assert unseen.returncode == 0
        assert b"Saved b.png" in unseen.stdout
        unsaid = command(*arguments, "c.png", "--variations", "2", stdout=full)
    assert unsaid.returncode == 2
    assert b"Traceback" not in unsaid.stderr and b"Error: No space left on device\n" in unsaid.stderr
    quoted = f'exec "$0" -c "$1" {" ".join(arguments)} d.png --size source >&- 2>&-'
    closed = subprocess.run(
        ["bash", "-c", quoted, sys.executable, COMMAND],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, TESTS)))},
        check=False,
    )
    assert closed.returncode == 0
    written = {path.name for path in here.iterdir()}
    assert written == {"a.png", "b.png", "c.png", "c-2.png", "c-grid.png", "d.png"}


@posix
@pytest.mark.slow
def test_a_pipe_whose_reader_has_gone_is_no_traceback(here: Path):
    red("a.png")
    reader, writer = os.pipe()
    os.close(reader)
    result = command("translate", "a.png", "--to", "winter", stdout=writer)
    os.close(writer)
    assert b"Traceback" not in result.stderr
    assert Path("a-translated.png").exists()


# --- Widths -----------------------------------------------------------------------------------------------------


def last_line(monkeypatch: pytest.MonkeyPatch, width: int, name: str) -> str:
    """The bar at 12 of 40 steps with five losses."""
    screen = Console(file=io.StringIO(), width=width, force_terminal=False)
    monkeypatch.setattr(console, "messages", screen)
    terms = dict.fromkeys(
        ("text_style", "self_similarity", "contrastive", "divergence", "range"), torch.ones(1)
    )
    with console.step_bar(name) as on_step:
        for number in range(12):
            on_step(SimpleNamespace(number=number, total=40, terms=terms))
    return screen.file.getvalue().rstrip("\n")


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", ["a.png", "a very long name of a picture " * 8, "写真" * 40])
def test_bar_count_and_time_keep_their_width(monkeypatch: pytest.MonkeyPatch, width: int, name: str):
    line = last_line(monkeypatch, width, name)
    assert "\n" not in line
    assert line.count("━") + line.count("╸") + line.count("╺") + line.count(" ") >= 24
    assert " 12/40 " in line and "0:00:" in line
    assert line.lstrip().startswith(name[: 2 if width < 80 else 5])
    assert ("range 1.000" in line) == (width == 200 and name == "a.png")


def test_the_bar_of_pictures_keeps_its_width_too(monkeypatch: pytest.MonkeyPatch):
    screen = Console(file=io.StringIO(), width=60, force_terminal=False)
    monkeypatch.setattr(console, "messages", screen)
    step = SimpleNamespace(number=0, total=2, terms={"loss" * 20: torch.ones(1)})
    with console.pictures_bar(10) as show:
        show(6, "long" * 20, None)
        show(6, "long" * 20, step)
    line = screen.file.getvalue()
    assert " 6/10 " in line and "0:00:0" in line and "━" * 12 in line


# --- What strangers wrote ---------------------------------------------------------------------------------------

HOSTILE = "\x1b[2J\x1b]0;title\x07\r[red]:smile:\u202e\u2066\n\x9b31m"


def test_nothing_printed_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]):
    for print_it in (console.say, console.note, console.inform, console.complain):
        print_it(f"a{HOSTILE}b")
    console.show(table := console.Table("name"))
    table.add_row(console.plain(HOSTILE))
    console.show(table)
    with console.notes():
        import warnings

        warnings.warn(HOSTILE, stacklevel=1)
    with console.step_bar(HOSTILE) as on_step:
        on_step(SimpleNamespace(number=0, total=1, terms={HOSTILE: torch.ones(1)}))
    out, err = capsys.readouterr()
    for line in (out + err).splitlines():
        assert line.isprintable()
    assert out.count(r"a\x1b[2J\x1b]0;title\x07\r[red]:smile:\u202e\u2066\n\x9b31mb") == 1


@posix
def test_hostile_names_of_pictures_are_escaped(here: Path):
    red("a\x1b[2J[red]\n.png")
    red("b.png")
    for arguments in (
        ["translate", "a\x1b[2J[red]\n.png", "--style", "b.png", "-o", "b.png"],
        ["translate", "nothing\x1b[2J.png", "--to", "x"],
        ["translate", "b.png", "--again", "a\x1b[2J[red]\n.png"],
        ["models", "show", "\x1b[2J"],
        ["translate", "b.png", "--to", "x", "--models", "\x1b[2J"],
        ["translate", "b.png", "a\x1b[2J[red]\n.png"],
        ["translate", "b.png", "--\x1b[2J"],
        ["translate", "b.png", "--seed", "\x1b[2J"],
        ["--\x1b[2J"],
        ["\x1b[2J"],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        lines = result.stderr.splitlines()
        assert all(line.isprintable() for line in lines), lines
        assert len(lines) == 1 or lines[0].startswith("Usage: ")
