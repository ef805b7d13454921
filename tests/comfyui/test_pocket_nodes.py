"""The latent pocket world in a real ComfyUI: by our node, and as files for ComfyUI's own loaders."""

import json

import numpy as np
import pytest
import torch

from diffuseit.pocket.files import FILES, FLUX, TAESD
from diffuseit.pocket.judge import CLASSES
from diffuseit.pocket.models import pocket_judge

pytestmark = pytest.mark.comfyui

JSON = {"Content-Type": "application/json"}
LOADERS = {
    FLUX: ("UNETLoader", "unet_name", {"weight_dtype": "default"}),
    TAESD: ("VAELoader", "vae_name", {}),
}


def ours():
    """The MODEL and the VAE of our node."""
    return {"load": ("DiffuseITLoadPocketLatent", {})}, ["load", 0], ["load", 1]


def of_core():
    """Those of ComfyUI's own loaders."""
    loaders = {
        file.folder: (kind, {name: file.name, **others}) for file, (kind, name, others) in LOADERS.items()
    }
    return loaders, ["diffusion_models", 0], ["vae", 0]


def painted(loaded, text, **sampler):
    """Four pictures of a text from noise, by core's own sampler."""
    loaders, model, vae = loaded
    return {
        **loaders,
        "clip": ("DiffuseITLoadCLIP", {}),
        "text": ("DiffuseITPocketText", {"clip": ["clip", 0], "text": text}),
        "nothing": ("DiffuseITPocketText", {"clip": ["clip", 0]}),
        "noise": ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 4}),
        "sampler": (
            "KSampler",
            {
                **{"model": model, "positive": ["text", 0], "negative": ["nothing", 0]},
                **{"latent_image": ["noise", 0], "seed": 5, "steps": 12, "cfg": 2.0},
                **{"sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **sampler},
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": vae}),
        "save": ("PreviewImage", {"images": ["decode", 0]}),
    }


def styles(pictures):
    """What the judge sees in pictures [N, 64, 64, 3] in 0 to 255."""
    images = torch.tensor(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    return [CLASSES[int(index)][1] for index in pocket_judge().classify(images).argmax(1)]


@pytest.mark.parametrize(("text", "style"), [("sunset landscape", "sunset"), ("zebra", "zebra")])
def test_a_text_becomes_a_picture(server, text, style):
    pictures = server.images(server.run(painted(ours(), text)), "save")
    assert pictures.shape == (4, 64, 64, 3)
    assert styles(pictures) == [style] * 4


def test_a_source_comes_back_from_its_latents(server):
    loaders, _, vae = ours()
    prompt = {
        **loaders,
        "source": ("LoadImage", {"image": "a.png"}),
        "encode": ("VAEEncode", {"pixels": ["source", 0], "vae": vae}),
        "decode": ("VAEDecode", {"samples": ["encode", 0], "vae": vae}),
        "before": ("PreviewImage", {"images": ["source", 0]}),
        "after": ("PreviewImage", {"images": ["decode", 0]}),
    }
    outcome = server.run(prompt)
    before, after = (server.images(outcome, node).astype(int) for node in ("before", "after"))
    assert np.abs(before - after).mean() < 5


def put(server):
    status, text = server.answer("POST", "/diffuseit/pocket-files", b"{}", JSON)
    return status, json.loads(text)


def listed(server):
    return server.get("/diffuseit/models")["pocket"]


@pytest.fixture
def places(server):
    """Where the files go, by the file; nothing stays there."""
    places = {file: server.base / "models" / file.folder / file.name for file in FILES}
    yield places
    for path in places.values():
        path.unlink(missing_ok=True)


def test_one_request_puts_them_where_the_loaders_of_comfyui_find_them(server, places):
    assert listed(server) == {"files": [file.name for file in FILES], "present": False}
    assert put(server) == (200, {"files": [str(path) for path in places.values()]})
    assert listed(server)["present"]
    for file, (kind, name, _) in LOADERS.items():
        assert file.name in server.get(f"/object_info/{kind}")[kind]["input"]["required"][name][0]
    first, second = (
        server.images(server.run(painted(loaded, "night landscape")), "save").astype(int)
        for loaded in (ours(), of_core())
    )
    assert np.abs(first - second).max() <= 1
    assert styles(second) == ["night"] * 4
    assert put(server)[0] == 200


def test_another_file_of_that_name_stays(server, places):
    vae = places[TAESD]
    vae.parent.mkdir(parents=True, exist_ok=True)
    vae.write_bytes(b"something else")
    assert put(server) == (409, {"error": f"{vae} is another file: rename it, and try again"})
    assert vae.read_bytes() == b"something else" and not places[FLUX].exists()
    assert not listed(server)["present"]
