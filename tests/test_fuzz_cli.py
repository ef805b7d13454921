"""Random recipes and command lines: each ends well or in one line, in time, in memory, and writes nothing else.

`FUZZ_EXAMPLES=5000` looks longer, and so does `-m nightly`.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from standin import MODELS
from typer.testing import CliRunner, Result

import diffuseit
from diffuseit.cli import app
from diffuseit.images.io import read_text, save_picture
from diffuseit.images.recipe import Recipe

NIGHTLY = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")), derandomize=False)
MOST_VISITS = 1100
LONGEST_SECONDS = 20
LARGEST_GROWTH = 1_000_000_000
"""Bytes of memory beyond those at the start."""


@pytest.fixture(scope="module", autouse=True)
def _core() -> Iterator[None]:
    """A core that inverts colors: the command alone is meant."""

    def vary(source: torch.Tensor, *, count: int, seed: int, **_) -> SimpleNamespace:
        pictures = -source.expand(count, -1, -1, -1)
        return SimpleNamespace(
            pictures=pictures, seeds=tuple(range(seed, seed + count)), scores=torch.zeros(count)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffuseit, "load_models", lambda name: MODELS, raising=False)
        patch.setattr(
            diffuseit, "translate", lambda source, **_: SimpleNamespace(pictures=-source), raising=False
        )
        patch.setattr(diffuseit, "vary", vary, raising=False)
        yield


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The recipes of two results, by what guided them. The pictures they name are in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, color in (("source", "red"), ("look", "blue"), ("mask", "white")):
        Image.new("RGB", (64, 64), color).save(f"{name}.png")
    for options in (["--to", "winter", "--from", "summer"], ["--style", "look.png", "--mask", "mask.png"]):
        assert run("source.png", *options, "-o", f"{options[0][2:]}.png").exit_code == 0
    return {name: str(read_text(Path(f"{name}.png"))) for name in ("to", "style")}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["translate", *arguments])


def memory() -> int:
    """The most bytes that this process has held."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def check(folder: Path, arguments: list[str], may_write: bool) -> Result:
    """Run the command in `folder` and hold it to what it promises."""
    here, before, held, began = Path.cwd(), set(folder.rglob("*")), memory(), time.monotonic()
    os.chdir(folder)
    try:
        result = run(*arguments)
    finally:
        os.chdir(here)
    assert time.monotonic() - began < LONGEST_SECONDS
    assert memory() - held < LARGEST_GROWTH
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2)
    assert all(line.isprintable() for line in result.output.splitlines())
    if result.exit_code == 2 and "Usage:" not in result.stderr:
        assert result.stderr.splitlines()[-1].startswith("Error: ")
    written = {path for path in set(folder.rglob("*")) - before if path.is_file()}
    assert bool(written) == (result.exit_code == 0) or may_write
    assert not any(path.name.startswith(".diffuseit-") for path in written)
    return result


# --- Recipes ----------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [
        "",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "x" * 3000,
        "[red]",
        "/dev/zero",
        "../look.png",
        "NaN",
        "pocket",
        "Path",
    ]
) | st.text(max_size=10)
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**9, 1e308, 0.5, -0.0, 10**400]) | st.integers()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=6,
)


def places(values: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in JSON values."""
    keys = (
        values.keys() if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    )
    return [place for key in list(keys) for place in [(values, key), *places(values[key])]]


def spoil(data: st.DataObject, text: str) -> str:
    """The recipe with a few values changed, removed, added or moved, or a few characters of it changed."""
    if data.draw(st.integers(0, 4)) == 0:
        start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 40))
        more = data.draw(TEXTS | st.sampled_from(["1e400", "-1e400", "Infinity", "[" * 2000, "9" * 5000]))
        return (text[:start] + more + text[start + length :]).encode("ascii", "backslashreplace").decode()
    values = json.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(values)))
        match data.draw(st.sampled_from(["change", "change", "remove", "add", "copy"])):
            case "change":
                container[key] = data.draw(VALUES)
            case "remove":
                container.pop(key)
            case "add" if isinstance(container, dict):
                container[data.draw(TEXTS)] = data.draw(VALUES)
            case _:
                container[key] = json.loads(json.dumps(data.draw(st.sampled_from(places(values)))[0]))
        if not places(values):
            break
    return json.dumps(values)


def try_recipe(made: dict[str, str], data: st.DataObject) -> None:
    text = spoil(data, made[data.draw(st.sampled_from(sorted(made)))])
    save_picture(Image.new("RGB", (8, 8)), "spoilt.png", text)
    result = check(Path.cwd(), ["--again", "spoilt.png", "source.png", "-o", "out.png"], may_write=False)
    Path("out.png").unlink(missing_ok=True)
    assert result.exit_code != 1
    if result.exit_code == 0:
        assert len(Recipe.from_text(text, "it").preset.sampler.timetable) <= MOST_VISITS


@given(data=st.data())
def test_any_recipe_is_used_or_refused(made: dict[str, str], data: st.DataObject):
    try_recipe(made, data)


@pytest.mark.nightly
@pytest.mark.timeout(0)
@NIGHTLY
@given(data=st.data())
def test_any_recipe_is_used_or_refused_for_long(made: dict[str, str], data: st.DataObject):
    try_recipe(made, data)


# --- Command lines ----------------------------------------------------------------------------------------------

# What is written must stay in the folder of the example: no other folder's name, and no home but the one given.
NAMES = st.sampled_from(
    [
        "source.png",
        "look.png",
        "a.jpg",
        "sub/a.webp",
        "sub",
        ".",
        "",
        "-",
        "--",
        "~/b.png",
        "~",
        "a.bmp",
        "c.exe",
    ]
    + [
        "x" * 251 + ".png",
        "写" * 84 + ".png",
        "new/" + "x" * 300 + "/a.png",
        "\x1b[2J.png",
        "\udcff.png",
        "a.b.tif",
    ]
) | st.text(max_size=12).map(
    lambda name: name.replace("/", "").replace("\0", "").lstrip("~").strip(".") + ".png"
)
READ = NAMES | st.sampled_from(
    [
        "/dev/zero",
        "/dev/null",
        "/proc/self/mem",
        "pipe.png",
        "/",
        "..",
        "gone.png",
        "loop.png",
        "result.png",
        "in",
    ]
)
WORDS = TEXTS.map(lambda text: text.replace("\0", ""))
COUNTS = (NUMBERS | st.floats()).map(str) | WORDS
ARGUMENTS = st.lists(
    st.tuples(st.sampled_from(["--to", "--from", "--models", "--preset"]), WORDS)
    | st.tuples(st.sampled_from(["--seed", "--steps", "--skip", "--resample"]), COUNTS)
    | st.tuples(st.just("--variations"), st.sampled_from(["0", "1", "2", "3", "65", "10000000000", "x"]))
    | st.tuples(
        st.sampled_from(["--fit", "--size"]), st.sampled_from(["keep", "crop", "model", "source", "x"])
    )
    | st.tuples(st.sampled_from(["--style", "--mask", "--again"]), READ)
    | st.tuples(st.sampled_from(["-o", "--output"]), NAMES)
    | st.tuples(st.sampled_from(["--help", "--nonsense", "--"])),
    max_size=4,
)


def try_command(made: dict[str, str], sources: str, arguments: list[tuple[str, ...]], to: bool) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        for picture in ("source.png", "look.png", "mask.png"):
            shutil.copy(picture, folder)
        shutil.copy("to.png", folder / "result.png")
        (folder / "in").mkdir()
        shutil.copy("source.png", folder / "in")
        (folder / "in" / "a.heic").touch()
        if sys.platform != "win32":
            os.mkfifo(folder / "pipe.png")
            (folder / "loop.png").symlink_to("loop.png")
        os.environ["HOME"] = name
        given = [word for group in arguments for word in group]
        check(folder, [sources, *(["--to", "winter"] if to else []), *given], may_write=True)
        assert sorted(path.name for path in Path.cwd().iterdir()) == sorted(
            [*(f"{kept}.png" for kept in ("source", "look", "mask", "to", "style")), folder.name]
        )


@given(sources=READ, arguments=ARGUMENTS, to=st.booleans())
def test_any_command_line_ends_well_or_in_words(made: dict[str, str], sources, arguments, to: bool):
    try_command(made, sources, arguments, to)


@pytest.mark.nightly
@pytest.mark.timeout(0)
@NIGHTLY
@given(sources=READ, arguments=ARGUMENTS, to=st.booleans())
def test_any_command_line_ends_well_or_in_words_for_long(made: dict[str, str], sources, arguments, to: bool):
    try_command(made, sources, arguments, to)
