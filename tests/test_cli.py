"""The command line, with the core replaced by a stand-in where only the command is meant."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from standin import MODELS, replace_core
from typer.testing import CliRunner

import diffuseit
from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.errors import DivergedError, ModelError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The keyword arguments of each call of a core that inverts colors in three steps."""
    recorded: list[dict] = []

    def translate(source: torch.Tensor, *, on_step: Callable, **settings) -> Result:
        recorded.append({"source": source, **settings})
        for index in range(3):
            on_step(SimpleNamespace(number=index, total=3, terms={"structure": torch.tensor([0.125])}))
        return Result(-source)

    replace_core(monkeypatch, translate)
    return recorded


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A red picture in an otherwise empty current folder."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (100, 100), "red").save("lion.png")
    return Path("lion.png")


ROOT = str(Path(__file__).parents[1])
TESTS = str(Path(__file__).parent)


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line that the command ends in, with exit code 2 and nothing written."""
    before = sorted(Path.cwd().rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert sorted(Path.cwd().rglob("*")) == before
    return result.stderr


def test_help_lists_every_command():
    text = run("--help").output
    assert all(name in text for name in ("translate", "demo", "benchmark", "presets"))
    assert "pocket" in run("benchmark", "--help").output


def test_the_command_starts_without_heavy_imports():
    heavy = "{'torch', 'numpy', 'PIL', 'timm', 'open_clip'}"
    code = f"import sys, diffuseit.cli; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_translate_by_text(source: Path, calls: list[dict]):
    options = [
        "--seed",
        7,
        "--steps",
        20,
        "--skip",
        5,
        "--resample",
        2,
        "--preset",
        "official-text",
        "-o",
        "new/leopard.png",
    ]
    result = run("translate", source, "--to", "a leopard", "--from", "a lion", *options)
    assert result.exit_code == 0, result.output
    assert "Saved new/leopard.png (64x64" in result.stdout
    assert "structure 0.125" in result.stderr
    assert Image.open("new/leopard.png").getpixel((0, 0)) == (0, 255, 255)
    (call,) = calls
    assert call.pop("source").shape == (1, 3, 64, 64)
    preset = call.pop("preset")
    assert preset.name == "official-text"
    assert (preset.sampler.steps, preset.sampler.skip, preset.sampler.resample) == (20, 5, 2)
    assert call == {
        "to": "a leopard",
        "from_": "a lion",
        "style": None,
        "models": MODELS,
        "seed": 7,
        "mask": None,
    }


def test_translate_by_style_picture_of_another_size(source: Path, calls: list[dict]):
    Image.new("RGB", (300, 40), "blue").save("style.png")
    assert run("translate", source, "--style", "style.png").exit_code == 0
    assert calls[0]["style"].shape == calls[0]["source"].shape
    assert torch.allclose(calls[0]["style"][0, :, 0, 0], torch.tensor([-1.0, -1.0, 1.0]))


def test_the_default_name_overwrites_nothing(source: Path, calls: list[dict]):
    for _ in range(3):
        assert run("translate", source, "--to", "a leopard").exit_code == 0
    names = {path.name for path in Path.cwd().iterdir()}
    assert names == {"lion.png", *(f"lion-translated{n}.png" for n in ("", "-2", "-3"))}


def test_notes_about_the_picture_are_shown(source: Path, calls: list[dict]):
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "green")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    result = run("translate", "moving.gif", "--to", "a leopard", "-o", "out.png")
    assert result.exit_code == 0
    assert "Note: moving.gif has several frames: the first one is used\n" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --to TEXT or --style IMAGE"),
        (["--to", "a leopard", "--style", "lion.png"], "either --to TEXT or --style IMAGE"),
        (["--style", "lion.png", "--from", "a lion"], "--from says what SOURCE shows and needs --to"),
        (["--style", "nothing.png"], "nothing.png cannot be opened"),
        (["--to", "a leopard", "-o", "lion"], "lion has no image extension"),
        (["--to", "a leopard", "-o", "lion.png"], "lion.png is the source itself"),
        (["--to", "a leopard", "-o", "lion.png/out.png"], "Cannot write in lion.png"),
    ],
)
def test_bad_options(source: Path, calls: list[dict], options: list[str], message: str):
    assert message in refused("translate", source, *options)
    assert calls == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be opened"), (b"text", "is not an image"), (b"", "is not an image")],
)
def test_bad_source(source: Path, calls: list[dict], content: bytes | None, message: str):
    if content is not None:
        Path("bad.png").write_bytes(content)
    assert message in refused("translate", "bad.png", "--to", "a leopard")
    assert calls == []


@pytest.mark.parametrize("size", [(1, 1), (7000, 100)])
def test_bad_sizes(source: Path, calls: list[dict], size: tuple[int, int]):
    Image.new("RGB", size).save("bad.png")
    assert f"is {size[0]}x{size[1]} pixels" in refused("translate", "bad.png", "--to", "a leopard")
    assert calls == []


@pytest.mark.parametrize("error", [ModelError("no such models [pocket"), DivergedError("NaN at step 3")])
def test_errors_of_the_core(
    source: Path, calls: list[dict], monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(diffuseit, "translate", fail, raising=False)
    assert refused("translate", source, "--to", "a leopard") == f"Error: {error}\n"


@pytest.mark.parametrize(
    "options", [["--seed", "-1"], ["--steps", "0"], ["--steps", "many"], ["--nonsense"], ["-o", ""]]
)
def test_usage_errors(source: Path, options: list[str]):
    assert run("translate", source, "--to", "a leopard", *options).exit_code == 2


def test_an_empty_name_is_not_the_current_folder(source: Path, calls: list[dict]):
    result = run("translate", "", "--to", "a leopard")
    assert result.exit_code == 2 and "it is empty" in result.stderr
    assert calls == [] and [path.name for path in Path.cwd().iterdir()] == ["lion.png"]


@pytest.mark.parametrize("command", [["demo"], ["benchmark", "pocket"]])
def test_unwritable_folder(source: Path, command: list[str]):
    assert "Cannot write in lion.png/folder" in refused(*command, "-o", "lion.png/folder")


SLOW = """
# WHERE is set before: the place that waits for Ctrl-C.
import sys, time
from types import SimpleNamespace
import torch
from PIL import Image
import diffuseit
from diffuseit import cli
from standin import MODELS, replace_core

def slow_translate(source, *, on_step, **_):
    on_step(SimpleNamespace(number=0, total=100, terms={"loss": torch.zeros(1)}))
    if WHERE == "translate":
        wait()
    return diffuseit.Result(source)

def slow_save(self, path, **_):
    path.write_bytes(b"half a picture")
    wait()

def wait():
    print("waiting", flush=True)
    time.sleep(60)

diffuseit.load_models = lambda name: MODELS
diffuseit.translate = slow_translate
Image.Image.save = slow_save
sys.argv[1:] = ["translate", "lion.png", "--to", "a leopard", "-o", "out.png"]
cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("where", ["translate", "save"])
def test_ctrl_c_leaves_no_half_file(source: Path, where: str):
    process = subprocess.Popen(
        [sys.executable, "-c", f"WHERE = {where!r}\n{SLOW}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, TESTS])},
        # A runner in the background ignores SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "waiting\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert "Traceback" not in errors
    assert [path.name for path in Path.cwd().iterdir()] == ["lion.png"]
