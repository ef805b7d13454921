"""What only shows, lists or notes something ends no run and no list."""

import itertools
import json
import os

import pytest
from comfyui.prompts import text_prompt
from comfyui.server import PromptError

from diffuseit.pocket.models import WEIGHTS

pytestmark = pytest.mark.comfyui

DEEP = "[" * 100_000 + "]" * 100_000
RUNS, SETTINGS = "diffuseit_runs.json", "comfy.settings.json"


SEEDS = itertools.count(700)  # what was run before would come from ComfyUI's cache


def quick():
    return text_prompt(seed=next(SEEDS), steps=4, skip=2)


@pytest.fixture
def user_file(server):
    """`user_file(name, text)` writes a file of the user, for this test."""
    folder = server.base / "user" / "default"
    before = {}

    def write(name, text):
        path = folder / name
        before.setdefault(path, path.read_bytes() if path.exists() else None)
        path.write_text(text)

    yield write
    for path, content in before.items():
        path.unlink() if content is None else path.write_bytes(content)


@pytest.mark.parametrize(
    "metadata",
    [
        "x",
        [1],
        [{}],
        5,
        {"workflow": "abc"},
        {"workflow": [1]},
        {"workflow": {"id": [1]}},
        {"workflow": {"id": 1}},
    ],
    ids=repr,
)
def test_odd_metadata_of_a_prompt(server, metadata):
    prompt = quick()
    for writer in ("save", "frames", "plot"):  # ComfyUI's own expect a dictionary
        del prompt[writer]
    prompt["seen"] = ("PreviewAny", {"source": ["sampler", 2]})
    assert "sampler" in server.run(prompt, extra_pnginfo=metadata).executed


@pytest.mark.parametrize(
    "text",
    ["[]", "null", '"x"', "", "{", DEEP, '{"DiffuseIT.Live.Throttle": "150"}', '{"DiffuseIT.Live.Throttle": null}',
     '{"DiffuseIT.Live.Throttle": 1e400}', '{"DiffuseIT.Live.Throttle": [1]}'],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_odd_settings(server, user_file, text):
    user_file(SETTINGS, text)
    assert "sampler" in server.run(quick()).executed


@pytest.mark.parametrize("text", ["[]", "{", DEEP, '{"k": ' + DEEP + "}", '{"k": {"seconds_per_step": "x"}}'],
                         ids=lambda text: text[:40])  # fmt: skip
def test_odd_notes_of_earlier_runs(server, user_file, text):
    user_file(RUNS, text)
    assert "sampler" in server.run(quick()).executed
    noted = json.loads((server.base / "user" / "default" / RUNS).read_text())
    assert len(noted) == 1, "the run was not noted"


def test_notes_that_cannot_be_written(server):
    path = server.base / "user" / "default" / RUNS
    path.unlink(missing_ok=True)
    path.mkdir()
    try:
        mark = len(server.log())
        assert "sampler" in server.run(quick()).executed
        assert server.log_since(mark).count("DiffuseIT goes on without a note of what the run took") == 1
    finally:
        path.rmdir()


@pytest.fixture
def odd_models(server):
    """A link to a drive that is not there, a pipe, a circle and a hidden file among the models."""
    folder = server.base / "models" / "diffuseit"
    folder.mkdir(parents=True, exist_ok=True)
    odd = [folder / name for name in ("gone.pt", "pipe.pt", "circle.pt", ".unfinished.pt")]
    odd[0].symlink_to("/mnt/usb/unplugged/gone.pt")
    os.mkfifo(odd[1])
    odd[2].symlink_to(odd[2])
    odd[3].write_bytes(b"x")
    (folder / "fine.safetensors").symlink_to(WEIGHTS / "vit.safetensors")
    yield {path.name for path in odd}
    for path in (*odd, folder / "fine.safetensors"):
        path.unlink()


def test_odd_files_among_the_models_hide_no_other(server, odd_models):
    options = server.get("/object_info/DiffuseITLoadViT")["DiffuseITLoadViT"]["input"]["required"]["model"][
        1
    ]["options"]
    assert "fine.safetensors" in options
    assert not odd_models & set(options)
    assert server.get("/diffuseit/models")["models"]
    prompt = quick()
    prompt["vit"] = ("DiffuseITLoadViT", {"model": "fine.safetensors"})
    assert "vit" in server.run(prompt).executed
    prompt["vit"] = ("DiffuseITLoadViT", {"model": "pipe.pt"})
    with pytest.raises(PromptError, match=r"pipe\.pt"):
        server.run(prompt)
