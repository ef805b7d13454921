"""One server for all tests of a session, with three pictures to work on."""

import pytest
from comfyui.server import ComfyServer, comfyui_path

from diffuseit.pictures import save_picture, to_pil
from diffuseit.pocket.render import render, sample_geometry


@pytest.fixture(scope="session")
def comfyui():
    """The folder of the ComfyUI to test with."""
    path = comfyui_path()
    if path is None:
        pytest.skip("no ComfyUI here: set COMFYUI_PATH to its folder (the one with main.py)")
    return path


@pytest.fixture(scope="session")
def start(comfyui, tmp_path_factory):
    """`start(*options)`: a server in a fresh base directory that has a.png, b.png and c.png as inputs."""

    def start(*options: str) -> ComfyServer:
        base = tmp_path_factory.mktemp("comfyui")
        (base / "input").mkdir()
        scenes = render(sample_geometry("landscape", [1, 2, 3]), [0, 2, 4], [5, 6, 7])
        for name, scene in zip("abc", scenes, strict=True):
            save_picture(to_pil(scene), base / "input" / f"{name}.png")
        return ComfyServer(comfyui, base, *options)

    return start


@pytest.fixture(scope="session")
def server(start):
    """The server that the tests share."""
    with start() as running:
        yield running
