"""A film through a real ComfyUI: from a video file to a video file, held together."""

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui.prompts import LOADERS, SKIP, STEPS, changed, text_prompt
from comfyui.server import Prompt, PromptError
from comfyui.workflows import example
from flow_files import save_both_ways
from safetensors.torch import save_file

from diffuseit.frames.base import Frame
from diffuseit.frames.video import Video, save_video
from diffuseit.images.io import Picture, to_pil
from diffuseit.pocket.world.render import View, render, sample_geometry

pytestmark = pytest.mark.comfyui

FRAMES = 5
EXACT = {"flow_forward": ["forward", 0], "flow_backward": ["backward", 0]}


@pytest.fixture(scope="module")
def film(server) -> str:
    """A video file among the inputs: the camera goes to the right, by 2 pixels of 128 a frame."""
    return filmed(server, "film.mp4", 2)


@pytest.fixture(scope="module")
def small_film(server) -> str:
    """The same with 64 pixels, 1 a frame."""
    return filmed(server, "small.mp4", 1)


def filmed(server, name: str, scale: int) -> str:
    geometry = sample_geometry("landscape", [(2 << 40) + 11])
    scenes = [render(geometry, [0], [5], View(64 * scale, scale, (step, 0.0)))[0] for step in range(FRAMES)]
    frames = [
        Frame(Picture(to_pil(scene)), Fraction(number, 10), Fraction(1, 10))
        for number, scene in enumerate(scenes)
    ]
    save_video(frames, server.base / "input" / name, (64 * scale, 64 * scale))
    return name


def film_prompt(film: str, **options) -> Prompt:
    """From Load Video to Save Video, with the film's own flow. `options` are inputs of DiffuseIT Correspondences."""
    return text_prompt(size="source", options=["together", 0], seed=70) | {
        "load": ("LoadVideo", {"file": film}),
        "forward": ("PanFlow", {"image": ["source", 0], "x": -2.0}),
        "backward": ("PanFlow", {"image": ["source", 0], "x": 2.0}),
        "source": ("GetVideoComponents", {"video": ["load", 0]}),
        "together": (
            "DiffuseITCorrespondences",
            {"image": ["source", 0], "during": 0.5, "consensus": 1.0, "reach": 4, "window": 3}
            | (options if "optical_flow" in options else EXACT | options),
        ),
        "create": ("CreateVideo", {"images": ["sampler", 0], "fps": ["source", 2]}),
        "save": (
            "SaveVideo",
            {
                "video": ["create", 0],
                "filename_prefix": "film",
                "format": "mp4",
                "format.codec": "auto",
                "codec": "h264",
            },
        ),
    }


def results(server) -> list[Path]:
    return sorted((server.base / "output").glob("film*.mp4"))


def flicker(video: Video) -> float:
    """How much each frame differs from the one before it, whose camera is 2 pixels to the left."""
    pictures = [np.asarray(frame.picture.rgb, float) for frame in video.frames()]
    return float(np.mean([np.abs(b[:, :-2] - a[:, 2:]).mean() for a, b in pairwise(pictures)]))


def test_a_video_file_becomes_a_video_file_that_holds_together(server, film):
    mark = len(server.log())
    server.run(film_prompt(film))
    # The node says what the film is worth, all frames of it.
    assert re.search(r"DiffuseIT: structure .*, warp error 0\.0\d+", server.log_since(mark))
    server.run(film_prompt(film, during=0.0, consensus=0.0))
    together, alone = map(Video.open, results(server)[-2:])
    assert (together.count, together.size, together.rate) == (FRAMES, (128, 128), 10)
    assert flicker(together) < 0.7 * flicker(alone)


def test_the_flow_of_files(server, film):
    flow = torch.zeros(FRAMES - 1, 2, 128, 128)
    flow[:, 0] = -2.0
    save_both_ways(server.base / "input" / "walk" / "flow", flow, -flow)
    loaded = {"flow_forward": ["flow", 0], "flow_backward": ["flow", 1]}
    prompt = film_prompt(film, **loaded) | {"flow": ("DiffuseITLoadFlow", {"folder": "walk/flow"})}
    before = len(results(server))
    server.run(prompt)
    server.run(changed(film_prompt(film), "sampler", seed=70))
    from_files, exact = (
        [np.asarray(frame.picture.rgb) for frame in Video.open(path).frames()]
        for path in results(server)[before:]
    )
    assert np.array_equal(from_files, exact)
    assert "walk/flow" in str(server.get("/object_info/DiffuseITLoadFlow"))
    with pytest.raises(PromptError, match="no folder in ComfyUI's input folder"):
        server.run(changed(prompt, "flow", folder="../output"))


def test_the_example_runs(server, film):
    prompt = example("12 A film")
    (node,) = (node for node, (kind, _) in prompt.items() if kind == "DiffuseITCorrespondences")
    source = prompt[node][1]["image"]
    flows = {
        name: ("PanFlow", {"image": source, "x": x}) for name, x in (("forward", -2.0), ("backward", 2.0))
    }
    server.run(changed(prompt, node, **EXACT) | flows)
    (made,) = (server.base / "output" / "DiffuseIT").glob("film*.mp4")
    assert Video.open(made).count == FRAMES


def test_the_run_is_shown_as_one(server, film):
    # Images that hold together do not start again, whatever the options say.
    prompt = film_prompt(film) | {"start": ("DiffuseITStartOptions", {"restart_above": 0.001})}
    prompt = changed(changed(prompt, "together", previous=["start", 0]), "sampler", seed=71)
    outcome = server.run(prompt)
    # Two windows, of 3 and of 2 images.
    assert outcome.progress["sampler"][-1] == (2 * (STEPS - SKIP), 2 * (STEPS - SKIP))


def test_the_flow_of_comfyuis_own_network(server, film):
    if "OpticalFlowLoader" not in server.get("/object_info"):
        pytest.skip("this ComfyUI has no optical flow model")
    from torchvision.models.optical_flow import raft_large

    torch.manual_seed(0)
    folder = server.base / "models" / "optical_flow"
    folder.mkdir(parents=True, exist_ok=True)
    # Random weights: what it finds is nothing, and the run shows that its values go through.
    save_file(raft_large(weights=None).state_dict(), folder / "raft.safetensors")
    prompt = film_prompt(film, optical_flow=["raft", 0]) | {
        "raft": ("OpticalFlowLoader", {"model_name": "raft.safetensors"})
    }
    before = len(results(server))
    server.run(prompt)
    assert len(results(server)) == before + 1


def test_what_does_not_fit_is_said_in_one_line(server, film):
    other = film_prompt(film) | {"three": ("LoadImage", {"image": "a.png"})}
    with pytest.raises(PromptError, match="one image, which nothing has to agree with"):
        server.run(changed(other, "together", image=["three", 0]))
    kind, inputs = other["together"]
    one_way = {name: value for name, value in inputs.items() if name != "flow_backward"}
    with pytest.raises(PromptError, match="flow_backward is not connected"):
        server.run(other | {"together": (kind, one_way)})
    with pytest.raises(PromptError, match="of 5 images, and here are 1 images"):
        server.run(changed(other, "sampler", image=["three", 0]))
    small = {"small": ("ImageScaleBy", {"image": ["source", 0], "upscale_method": "area", "scale_by": 0.5})}
    with pytest.raises(PromptError, match="128x128 pixels, and the images have 64x64"):
        server.run(changed(other | small, "sampler", image=["small", 0]))


def test_flow_without_opencv_says_what_else_to_connect(server, film):
    prompt = film_prompt(film)
    kind, inputs = prompt["together"]
    estimated = {name: value for name, value in inputs.items() if name not in EXACT}
    try:
        server.run(prompt | {"together": (kind, estimated)})
    except PromptError as error:
        assert "OpenCV" in str(error) and "or connect Load Optical Flow Model" in str(error)  # noqa: PT017


LATENT_LOSSES = {
    "style": (
        "DiffuseITTextStyleLoss",
        {"clip": ["clip", 0], "to_text": "winter landscape", "from_text": "summer landscape"},
    ),
    "structure": ("DiffuseITStructureLoss", {"vit": ["vit", 0], "previous": ["style", 0]}),
}


def latent_prompt(film: str, way: str, **options) -> Prompt:
    """A film of 64x64 pixels through the latent pocket model, whose latents "patch" or "sampler" guides.

    `options` are inputs of DiffuseIT Correspondences.
    """
    links = {
        "image": ["source", 0],
        "losses": ["structure", 0],
        "vae": ["pocket", 1],
        "options": ["together", 0],
    }
    patched = way == "patch"
    return {
        **{node: LOADERS[node] for node in ("vit", "clip")},
        **LATENT_LOSSES,
        "load": ("LoadVideo", {"file": film}),
        "source": ("GetVideoComponents", {"video": ["load", 0]}),
        "forward": ("PanFlow", {"image": ["source", 0], "x": -1.0}),
        "backward": ("PanFlow", {"image": ["source", 0], "x": 1.0}),
        "together": (
            "DiffuseITCorrespondences",
            {"image": ["source", 0], "during": 0.5, "consensus": 1.0, "reach": 4, "window": 8}
            | EXACT
            | options,
        ),
        "pocket": ("DiffuseITLoadPocketLatent", {}),
        "to": ("DiffuseITPocketText", {"clip": ["clip", 0], "text": "winter landscape"}),
        "nothing": ("DiffuseITPocketText", {"clip": ["clip", 0], "text": ""}),
        "patch": (
            "DiffuseITGuideModel",
            {"model": ["pocket", 0], "step_size": 1.0, "start": 0.0, "end": 0.85} | links,
        ),
        "ours": ("DiffuseITLatentSampler", {"method": "mpgd", "resample": 4, "step_size": 1.0} | links),
        "theirs": ("KSamplerSelect", {"sampler_name": "euler_ancestral"}),
        "encode": ("VAEEncode", {"pixels": ["source", 0], "vae": ["pocket", 1]}),
        "noise": ("RandomNoise", {"noise_seed": 3}),
        "guider": (
            "CFGGuider",
            {
                "model": ["patch" if patched else "pocket", 0],
                **{"positive": ["to", 0], "negative": ["nothing", 0], "cfg": 2.0},
            },
        ),
        "sigmas": (
            "BasicScheduler",
            {"model": ["pocket", 0], "scheduler": "simple", "steps": STEPS, "denoise": 0.6},
        ),
        "sampler": (
            "SamplerCustomAdvanced",
            {
                **{
                    "noise": ["noise", 0],
                    "guider": ["guider", 0],
                    "sampler": ["theirs" if patched else "ours", 0],
                },
                **{"sigmas": ["sigmas", 0], "latent_image": ["encode", 0]},
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["pocket", 1]}),
        "consensus": ("DiffuseITConsensus", {"image": ["decode", 0], "options": ["together", 0]}),
        "save": ("PreviewImage", {"images": ["consensus", 0]}),
        "during": ("PreviewImage", {"images": ["decode", 0]}),
    }


@pytest.mark.parametrize("way", ["patch", "sampler"])
def test_latents_hold_together(server, small_film, way):
    def changes(**options) -> list[float]:
        outcome = server.run(latent_prompt(small_film, way, **options))
        found = []
        for node in ("during", "save"):
            pictures = server.images(outcome, node).astype(float)
            assert pictures.shape == (FRAMES, 64, 64, 3)
            found.append(np.mean([np.abs(b[:, :-1] - a[:, 1:]).mean() for a, b in pairwise(pictures)]))
        return found

    (during, both), (alone, _) = changes(), changes(during=0.0)
    assert during < 0.6 * alone
    assert both < 0.6 * during
