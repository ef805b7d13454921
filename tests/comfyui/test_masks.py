"""Masks on a real server: LoadImage, our conversion, and SaveImage's cut to 8 bit in one."""

import numpy as np
import pytest
from comfyui.prompts import text_prompt
from PIL import Image

pytestmark = pytest.mark.comfyui


def masked(picture="a", mask="mask", **inputs):
    return text_prompt(mask=["mask", 0], **inputs) | {
        "source": ("LoadImage", {"image": f"{picture}.png"}),
        "mask": ("LoadImageMask", {"image": f"{mask}.png", "channel": "red"}),
    }


def difference(server, outcome, source):
    (picture,) = server.images(outcome, "save")
    original = np.asarray(Image.open(server.base / "input" / source).convert("RGB"))
    return np.abs(picture.astype(int) - original.astype(int))


def test_outside_the_mask_not_one_level_changes(server):
    change = difference(server, server.run(masked(seed=400)), "a.png")
    assert change[:, 32:].max() == 0
    assert change[:, :32].mean() > 3


@pytest.mark.parametrize("fit", ["keep", "stretch"])
def test_at_the_sources_size_the_protected_part_is_the_source(server, fit):
    prompt = masked("wide", "wide_mask", seed=401, size="source", options=["start", 0])
    outcome = server.run(prompt | {"start": ("DiffuseITStartOptions", {"fit": fit})})
    change = difference(server, outcome, "wide.png")
    assert change[:, 50:].max() == 0
    assert change[:, :50].mean() > 3


def test_the_trajectory_keeps_the_protected_part_too(server):
    frames = server.images(server.run(masked(seed=400)), "frames")
    assert np.ptp(frames[:, :, 32:].astype(int), axis=0).max() == 0


def test_a_masked_loss_runs_at_any_size(server):
    prompt = text_prompt(seed=402) | {
        "source": ("LoadImage", {"image": "wide.png"}),
        "mask": ("LoadImageMask", {"image": "wide_mask.png", "channel": "red"}),
    }
    whole = server.images(server.run(prompt), "save")
    kind, inputs = prompt["style"]
    outcome = server.run({**prompt, "style": (kind, inputs | {"mask": ["mask", 0]})})
    part = server.images(outcome, "save")
    left, right = np.split(np.abs(whole.astype(int) - part.astype(int)), 2, axis=2)
    assert right.mean() > 2 * left.mean() > 0


def test_the_empty_mask_of_load_image_counts_as_none_and_says_so(server):
    """For the sampler and for a loss, whatever the size of the picture."""
    mark = len(server.log())
    prompt = text_prompt(seed=403, mask=["source", 1])
    kind, inputs = prompt["style"]
    prompt["style"] = (kind, inputs | {"mask": ["source", 1]})
    change = difference(server, server.run(prompt), "a.png")
    assert change.mean() > 3
    prompt["source"] = ("LoadImage", {"image": "wide.png"})
    server.run(prompt)
    said = server.log_since(mark)
    assert (
        said.count(
            "DiffuseIT: mask: empty, as Load Image gives it without transparency, so it counts as none"
        )
        == 2
    )
    assert said.count("DiffuseIT: a loss's mask: empty, as Load Image") == 2


def test_a_mask_of_another_size_is_scaled(server):
    small = {"small": ("ImageScale", {"image": ["white", 0], "width": 16, "height": 16, "crop": "disabled"})}
    prompt = masked(seed=404) | small | {"white": ("LoadImage", {"image": "mask.png"})}
    prompt |= {"mask": ("ImageToMask", {"image": ["small", 0], "channel": "red"})}
    prompt["small"][1]["upscale_method"] = "area"
    change = difference(server, server.run(prompt), "a.png")
    assert change[:, 36:].max() == 0
    assert change[:, :28].mean() > 3
