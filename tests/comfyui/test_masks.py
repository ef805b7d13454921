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
