"""Files in models/diffuseit and in other folders: listed, loaded, and refused with a reason."""

import re
import shutil

import numpy as np
import pytest
import torch
from comfyui.prompts import changed, text_prompt
from comfyui.server import PromptError

from diffuseit.models.checkpoint import LABELS
from diffuseit.pocket.models import WEIGHTS

pytestmark = pytest.mark.comfyui

LOADERS = {"ddpm": "model", "vit": "model", "clip": "model"}


class Code:
    """Prints when a careless program unpickles it."""

    def __reduce__(self):
        return print, ("code from a checkpoint ran",)


@pytest.fixture(scope="module")
def folder(server):
    """models/diffuseit with one file of every sort, written while the server runs."""
    folder = server.base / "models" / "diffuseit"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("unet", "vit", "clip"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", folder / f"a {name}.safetensors")
    (folder / "deeper").mkdir()
    shutil.copy(WEIGHTS / "vit.safetensors", folder / "deeper" / "vit.safetensors")
    shutil.copy(
        WEIGHTS / "unet.safetensors", server.base / "elsewhere" / "weights" / "other unet.safetensors"
    )
    (folder / "cut.safetensors").write_bytes((WEIGHTS / "unet.safetensors").read_bytes()[:100_000])
    (folder / "page.pt").write_text("<!DOCTYPE html><html>not found</html>")
    (folder / "empty.pth").write_bytes(b"")
    torch.save({"weight": Code()}, folder / "code.pt")
    torch.save({"some.weight": torch.zeros(2)}, folder / "unknown.pt")
    (folder / "notes.txt").write_text("no model")
    return folder


def levels_apart(first: np.ndarray, second: np.ndarray) -> int:
    """The largest difference of two pictures, in levels of 255."""
    return int(np.abs(first.astype(int) - second).max())


def options(server, node, name):
    return server.get(f"/object_info/{node}")[node]["input"]["required"][name][1]["options"]


@pytest.mark.parametrize(
    ("node", "name"),
    [("DiffuseITLoadDDPM", "model"), ("DiffuseITLoadViT", "model"), ("DiffuseITLoadCLIP", "model")],
)
def test_loaders_list_the_pocket_model_and_then_the_files(server, folder, node, name):
    first, *files = options(server, node, name)
    assert first == "pocket"
    assert {"a unet.safetensors", "other unet.safetensors", "code.pt", "empty.pth"} <= set(files)
    assert any(file.endswith("vit.safetensors") and file.startswith("deeper") for file in files)
    assert "notes.txt" not in files


def test_files_load_from_both_folders_and_equal_the_pocket_models(server, folder):
    pocket = server.images(server.run(text_prompt(seed=600)), "save")
    prompt = text_prompt(seed=600)
    for node, file in {
        "ddpm": "other unet.safetensors",
        "vit": "deeper/vit.safetensors",
        "clip": "a clip.safetensors",
    }.items():
        prompt = changed(prompt, node, **{LOADERS[node]: file})
    outcome = server.run(prompt)
    assert {"ddpm", "vit", "clip", "sampler"} <= set(outcome.executed)
    assert levels_apart(server.images(outcome, "save"), pocket) <= 1


def test_an_ensemble_of_two_runs_with_both(server, folder):
    one = server.images(server.run(text_prompt(seed=601)), "save")
    other = {"other": ("DiffuseITLoadCLIP", {"model": "a clip.safetensors"})}
    pair = changed(text_prompt(seed=601), "clip", **{"further.clip0": ["other", 0]}) | other
    gap = changed(text_prompt(seed=601), "clip", **{"further.clip3": ["other", 0]}) | other
    first, second = (server.images(server.run(prompt), "save") for prompt in (pair, gap))
    assert levels_apart(first, second) <= 1
    assert levels_apart(first, one) > 1, "two CLIPs see other crops than one"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_in_half_precision_give_nearly_the_same_picture(server, dtype):
    prompt = text_prompt(seed=602)
    full, half = (
        server.images(server.run(changed(prompt, "ddpm", dtype=name)), "save").astype(int)
        for name in ("float32", dtype)
    )
    assert 0 < np.abs(full - half).mean() < 8


VIT, DDPM, CLIP = (re.escape(LABELS[kind]) for kind in ("vit", "adm-unet", "clip-openai"))


@pytest.mark.parametrize(
    ("node", "file", "sentence"),
    [
        ("ddpm", "a vit.safetensors", f"looks like {VIT}.*; here {DDPM} is needed"),
        ("vit", "a unet.safetensors", f"looks like {DDPM}.*; here {VIT} is needed"),
        ("clip", "a unet.safetensors", f"looks like {DDPM}.*; here {CLIP} is needed"),
        ("ddpm", "cut.safetensors", "is truncated or damaged, download it again"),
        ("vit", "page.pt", "is a text file that starts with '<!DOCTYPE', no checkpoint: download it again"),
        ("clip", "empty.pth", "is empty: download it again"),
        ("ddpm", "code.pt", r"holds Python code besides tensors \(.*\) and is not opened"),
        ("clip", "unknown.pt", "are none of the networks known here"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(server, folder, node, file, sentence):
    mark = len(server.log())
    with pytest.raises(PromptError) as caught:
        server.run(changed(text_prompt(seed=603), node, **{LOADERS[node]: file}))
    assert set(caught.value.node_errors) == {node}
    assert len(str(caught.value).strip().splitlines()) == 1
    log = server.log_since(mark)
    for place in (str(caught.value), log):
        assert re.search(f"{re.escape(file)} (is|looks|holds)", place)
        assert re.search(sentence, place)
    assert "Requested to load" not in log
    assert "code from a checkpoint ran" not in log
    assert server.run(text_prompt(seed=604, steps=4, skip=2)).outputs["save"]
