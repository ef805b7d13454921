"""The variations node on a real server."""

import numpy as np
import pytest
from comfyui.prompts import LOADERS
from comfyui.server import PromptError

pytestmark = pytest.mark.comfyui

PRESET = {"preset": "fast-text", "vit": ["vit", 0], "clip": ["clip", 0]}


def prompt(**inputs):
    links = {"ddpm": ["ddpm", 0], "image": ["source", 0], "losses": ["preset", 0], "options": ["preset", 1]}
    return {
        **LOADERS,
        "preset": ("DiffuseITPreset", PRESET),
        "vary": ("DiffuseITVariations", links | {"seed": 3, "count": 3} | inputs),
        "sampler": ("DiffuseITSampler", links | {"seed": 3}),
        "best": ("SaveImage", {"images": ["vary", 0]}),
        "ranked": ("SaveImage", {"images": ["vary", 1]}),
        "grid": ("SaveImage", {"images": ["vary", 2]}),
        "single": ("SaveImage", {"images": ["sampler", 0]}),
    }


def test_the_best_is_first_and_each_is_what_its_seed_makes(server):
    result = server.run(prompt())
    (best,), ranked, (grid,), (single,) = (
        [image.astype(int) for image in server.images(result, name)]
        for name in ("best", "ranked", "grid", "single")
    )
    assert len(ranked) == 3 and np.array_equal(best, ranked[0])
    assert grid.shape == (64 + 2 + 64, 64 + 2 + 64, 3)
    assert np.array_equal(grid[:64, :64], best)
    assert min(np.abs(image - single).max() for image in ranked) <= 1  # seed 3 is among them


def test_several_sources_are_refused(server):
    sources = {"more": ("RepeatImageBatch", {"image": ["source", 0], "amount": 2})}
    with pytest.raises(PromptError, match="one image"):
        server.run(prompt(image=["more", 0]) | sources)
