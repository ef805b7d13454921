"""Saved presets: what comes back, and what a stranger's file can do."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import InputError
from diffuseit.images.io import read_text, save_picture, to_pil
from diffuseit.losses import ColorStatisticsLoss, StructureLoss, TextStyleLoss
from diffuseit.losses.schedule import ramp
from diffuseit.preset_files import find_preset, list_presets, presets_folder, read_preset, write_preset
from diffuseit.presets import PRESETS

OWN = replace(
    PRESETS["best-text"],
    name="밤 하늘 2",
    description="Darker",
    losses=(
        TextStyleLoss(to="night", from_="day", weight=3.0, crops=2),
        StructureLoss(self_similarity=0.5, schedules=(ramp(1, 0, 0.5, 1.0),)),
        ColorStatisticsLoss(),
    ),
    sampler=replace(PRESETS["fast-text"].sampler, steps=4, skip=1, resample=1, restart_above=0.5),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of presets, which the command finds too."""
    monkeypatch.setenv("DIFFUSEIT_PRESETS", str(tmp_path / "presets"))
    return presets_folder()


def put(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def test_a_preset_comes_back_without_its_prompts(folder):
    path = write_preset(OWN, folder)
    assert path == folder / "밤 하늘 2.json"
    style = replace(OWN.losses[0], to=None, from_=None)
    assert read_preset(path) == replace(OWN, losses=(style, *OWN.losses[1:]))
    assert "day" not in path.read_text(encoding="utf-8")
    renamed = path.rename(folder / "other.json")
    assert read_preset(renamed).name == "other"
    renamed.write_bytes(b"\xef\xbb\xbf" + renamed.read_bytes())  # as an editor of Windows saves it
    assert find_preset("other", folder) == find_preset(str(renamed), folder)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_saved(folder, name):
    mine = replace(PRESETS[name], name="mine")
    assert read_preset(write_preset(mine, folder)) == mine


def test_nothing_is_replaced_unless_asked(folder):
    path = write_preset(OWN, folder)
    before = path.stat().st_mtime_ns
    assert write_preset(OWN, folder) == path and path.stat().st_mtime_ns == before
    other = replace(OWN, description="Lighter")
    with pytest.raises(InputError, match=r"^there is another preset 밤 하늘 2 already: choose another name"):
        write_preset(other, folder)
    assert read_preset(path).description == "Darker"
    write_preset(other, folder, overwrite=True)
    assert read_preset(path).description == "Lighter"
    assert [entry.name for entry in folder.iterdir()] == [path.name]


BAD_NAMES = ["", " ", ".", "..", "../up", "a/b", "a\\b", "C:x", ".hidden", "ends.", "con", "NUL.x", "lpt1"]


@pytest.mark.parametrize(
    "name", [*BAD_NAMES, "best-text", "x" * 101, "가" * 90, "a\nb", "tab\tx", "null\0", "\u202e"]
)
def test_a_name_that_is_no_file_name_is_refused(folder, name):
    with pytest.raises(InputError, match=r"^a preset cannot be called|longer|characters"):
        write_preset(replace(OWN, name=name), folder)
    assert not folder.exists() or not list(folder.iterdir())


@given(name=st.text(max_size=40))
def test_no_name_leaves_the_folder(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("presets") / "inner"
    try:
        path = write_preset(replace(OWN, name=name), folder)
    except InputError:
        return
    assert path.parent == folder and path.is_file()
    assert list(list_presets(folder).values()) == [path]


GOOD = {
    "type": "Preset",
    "name": "x",
    "description": "",
    "kind": "text",
    "losses": [{"type": "RangeLoss", "weight": 1.0}],
    "sampler": {"steps": 4, "skip": 1},
}
BAD_FILES = {
    "no JSON": ("{", "is not valid JSON"),
    "a list": ("[]", "not a set of fields"),
    "deep": ("[" * 100_000, "nested too deeply|not valid JSON"),
    "unknown field": (GOOD | {"exec": "rm -rf /"}, "does not know: exec"),
    "unknown loss": (GOOD | {"losses": [{"type": "os.system"}]}, "cannot be 'os.system'"),
    "other type": (GOOD | {"sampler": {"steps": "4"}}, "whole number"),
    "too many steps": (GOOD | {"sampler": {"steps": 10**9}}, "use 1 to 1000"),
    "not finite": (json.dumps(GOOD).replace("1.0", "NaN"), "NaN is not a JSON value"),
    "huge": (" " * 1_000_001, "larger than any preset"),
    "skips all": (GOOD | {"sampler": {"steps": 4, "skip": 4}}, "at least one step"),
}


@pytest.mark.parametrize(("document", "reason"), BAD_FILES.values(), ids=list(BAD_FILES))
def test_a_strangers_file_is_refused_in_one_line(folder, document, reason):
    path = put(folder, "strange", document)
    with pytest.raises(InputError, match=reason) as refused:
        read_preset(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_only_files_are_listed(folder):
    write_preset(OWN, folder)
    put(folder, "best-text", GOOD)  # hidden by the core's
    put(folder, ".hidden", GOOD)
    (folder / "folder.json").mkdir()
    (folder / "note.txt").write_text("x")
    os.mkfifo(folder / "pipe.json")
    (folder / "circle.json").symlink_to(folder / "circle.json")
    assert list(list_presets(folder)) == [OWN.name]
    with pytest.raises(InputError, match="there is no preset"):
        read_preset(folder / "pipe.json")
    assert list_presets(folder / "not there") == {}


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_takes_a_name_or_a_file(folder, tmp_path, scene, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(to_pil(scene), "scene.png")
    path = write_preset(OWN, folder)
    results = []
    for number, preset in enumerate((OWN.name, path)):
        out = tmp_path / f"{number}.png"
        done = run("translate", "scene.png", "--to", "night landscape", "--preset", preset, "-o", out)
        assert done.exit_code == 0, done.output
        results.append(json.loads(read_text(out)))
    assert results[0] == results[1]
    assert results[0]["preset"]["sampler"]["steps"] == 4 and results[0]["preset"]["name"] == OWN.name
    listed = run("presets").output
    assert OWN.name in listed and "Darker" in listed and str(folder) in listed.replace("\n", "")
    path.unlink()
    again = run("translate", "--again", tmp_path / "0.png", "scene.png", "-o", "again.png")
    assert again.exit_code == 0, again.output  # a result carries its preset with it

    put(folder, "broken", "{")
    assert "cannot be used" in run("presets").output
    for asked, reason in (
        ("broken", "valid JSON"),
        ("nothing", "there is no preset"),
        ("no.json", "no preset"),
    ):
        failed = run("translate", "scene.png", "--to", "night", "--preset", asked, "-o", "bad.png")
        assert failed.exit_code == 2 and reason in failed.output
    assert not (tmp_path / "bad.png").exists()
