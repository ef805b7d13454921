"""Where Save Signed Image finds the source of a result, and what Verify lists."""

import os
from pathlib import Path

import pytest
import torch
from nodes_alone import import_node_module
from PIL import Image

from tools import fake_comfyui


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base folder of ComfyUI with images."""
    for name in ("input/a.png", "input/b.png", "input/.hidden.png", "output/sub/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    os.utime(tmp_path / "input" / "a.png", (1, 1))
    (tmp_path / "input" / "notes.txt").write_text("")
    return tmp_path


def module(monkeypatch: pytest.MonkeyPatch, base: Path, name: str):
    return import_node_module(monkeypatch, name, fake_comfyui.modules(base))


def graph(**nodes: tuple[str, dict]) -> dict:
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def load(name: str, kind: str = "LoadImage") -> tuple[str, dict]:
    return kind, {"image": name}


SAVE = ("DiffuseITSaveSignedImage", {"images": ["sampler", 0]})


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ({"sampler": ("DiffuseITSampler", {"image": ["a", 0]}), "a": load("a.png")}, "input/a.png"),
        (
            {
                "sampler": ("DiffuseITTranslate", {"image": ["scaled", 0], "style_image": ["b", 0]}),
                "scaled": ("ImageScale", {"image": ["a", 0]}),
                "a": load("a.png"),
                "b": load("b.png"),
            },
            "input/a.png",
        ),
        (
            {
                "sampler": ("KSampler", {"model": ["guide", 0]}),
                "guide": ("DiffuseITGuideModel", {"image": ["c", 0]}),
                "c": load("sub/c.png", "LoadImageOutput"),
            },
            "output/sub/c.png",
        ),
        (
            {
                "sampler": ("DiffuseITSampler", {"image": ["both", 0]}),
                "both": ("ImageBatch", {"image1": ["a", 0], "image2": ["b", 0]}),
                "a": load("a.png"),
                "b": load("b.png"),
            },
            None,
        ),
        ({"sampler": ("ImageInvert", {"image": ["a", 0]}), "a": load("a.png")}, None),
        ({"sampler": ("DiffuseITSampler", {"image": ["a", 0]}), "a": load("../secret.png")}, None),
        ({"sampler": ("DiffuseITSampler", {"image": "literal"})}, None),
    ],
)
def test_the_source_is_what_load_image_gives_to_the_sampler(monkeypatch, base, nodes, found):
    (base / "secret.png").write_bytes((base / "input/a.png").read_bytes())
    save = module(monkeypatch, base, "save_signed")
    assert save.source_of(graph(save=SAVE, **nodes), "save") == (None if found is None else base / found)


def test_verify_lists_images_of_both_folders_the_newest_first(monkeypatch, base):
    verify = module(monkeypatch, base, "verify")
    (file, _) = verify.Verify.define_schema().inputs
    assert list(file.options) == ["b.png", "a.png", "sub/c.png [output]"]


def test_a_failure_to_sign_leaves_every_image_and_says_so(monkeypatch, base):
    pytest.importorskip("c2pa")
    monkeypatch.setenv("DIFFUSEIT_KEYS", str(base / "keys"))
    save = module(monkeypatch, base, "save_signed")
    settings = {"filename_prefix": "x", "format": "webp", "kind": "auto", "mark": True, "sign": True}
    node = save.SaveSignedImage
    good = node.execute(images=torch.rand(2, 8, 8, 4), source_file="a.png", **settings)
    assert [place["filename"] for place in good.ui["images"]] == ["x_00001_.webp", "x_00002_.webp"]
    assert good.args[0].count("compositeWithTrainedAlgorithmicMedia, signed") == 2
    key = base / "keys" / "signing.pem"
    key.write_text("no key")
    with pytest.raises(ValueError, match=r"is saved, but not signed: .* holds no certificate"):
        node.execute(images=torch.rand(2, 8, 8, 3), source_file="", **settings)
    assert len(list((base / "output").glob("x_*.webp"))) == 4
    assert "holds no certificate" in node.validate_inputs(mark=True, sign=True, source_file="")
    assert node.validate_inputs(mark=True, sign=False, source_file="") is True
