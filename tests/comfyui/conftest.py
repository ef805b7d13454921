"""One server for all tests of a session, with a few pictures to work on."""

from pathlib import Path

import pytest
import torch
from comfyui.inside import give_nodes
from comfyui.server import ComfyServer, comfyui_path, comfyui_python, missing_requirements

from diffuseit.images.io import save_picture, to_pil
from diffuseit.images.resize import resize
from diffuseit.pocket.world.render import render, sample_geometry

WIDE = (60, 100)  # height, width of wide.png: nothing that a model takes as it is


@pytest.fixture(scope="session")
def comfyui():
    """The folder of the ComfyUI to test with."""
    path = comfyui_path()
    if path is None:
        pytest.skip("no ComfyUI here: set COMFYUI_PATH to its folder (the one with main.py)")
    if missing := missing_requirements(path):
        pytest.skip(
            f"{comfyui_python(path)} cannot run the ComfyUI in {path}: it lacks {', '.join(missing[:4])}"
            f"{' and others' if missing[4:] else ''}. Install that ComfyUI's requirements.txt beside ours, or set "
            "COMFYUI_PYTHON to its Python."
        )
    return path


@pytest.fixture(scope="session")
def start(comfyui, tmp_path_factory):
    """`start(*options)`: a server in a fresh base directory, with inputs, a second folder of models, and TinyModel."""

    def start(*options: str) -> ComfyServer:
        base = tmp_path_factory.mktemp("comfyui")
        write_inputs(base / "input")
        give_nodes(base, "tiny_nodes")
        (base / "elsewhere" / "weights").mkdir(parents=True)
        paths = base / "extra_model_paths.yaml"
        paths.write_text(f"other:\n  base_path: {base / 'elsewhere'}\n  diffuseit: weights\n")
        return ComfyServer(comfyui, base, "--extra-model-paths-config", str(paths), *options)

    return start


@pytest.fixture(scope="session")
def server(start):
    """The server that the tests share."""
    with start() as running:
        yield running


def write_inputs(folder: Path) -> None:
    """a.png, b.png and c.png of 64x64, wide.png, and masks whose left half is white for both sizes."""
    scenes = render(sample_geometry("landscape", [1, 2, 3]), [0, 2, 4], [5, 6, 7])
    for name, scene in zip("abc", scenes, strict=True):
        save_picture(to_pil(scene), folder / f"{name}.png")
    save_picture(to_pil(resize(scenes[:1], WIDE)), folder / "wide.png")
    for name, (height, width) in {"mask": (64, 64), "wide_mask": WIDE}.items():
        mask = torch.full((3, height, width), -1.0)
        mask[..., : width // 2] = 1
        save_picture(to_pil(mask), folder / f"{name}.png")
