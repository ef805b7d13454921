"""The variations node on a real server."""

import numpy as np
import pytest
from comfyui.prompts import LOADERS, changed
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
        "best seed": ("PreviewAny", {"source": ["vary", 3]}),
        "seeds": ("PreviewAny", {"source": ["vary", 4]}),
    }


def test_the_best_is_first_and_each_is_what_its_seed_makes(server):
    """On the second of several machines, which takes the seeds that follow those of the first."""
    result = server.run(changed(prompt(), "vary", seed=0, part=1))
    (best,), ranked, (grid,), (single,) = (
        [image.astype(int) for image in server.images(result, name)]
        for name in ("best", "ranked", "grid", "single")
    )
    assert len(ranked) == 3 and np.array_equal(best, ranked[0])
    assert np.abs(grid[: 3 * 64 : 3, : 3 * 64 : 3] - best).max() <= 1  # enlarged, at the top left
    assert min(np.abs(image - single).max() for image in ranked) <= 1  # seed 3 is among them
    seeds = [int(seed) for seed in result.outputs["seeds"]["text"]]
    assert sorted(seeds) == [3, 4, 5]
    assert np.abs(ranked[seeds.index(3)] - single).max() <= 1
    assert [int(seed) for seed in result.outputs["best seed"]["text"]] == seeds[:1]
    assert [int(seed) for seed in result.outputs["vary"]["diffuseit_seeds"]] == seeds


def test_the_node_shows_the_best_at_the_end(server):
    """The run itself shows the first seed, so this one begins with a seed that does not win."""
    graph = {name: node for name, node in prompt().items() if name not in ("sampler", "single")}
    for first in (40, 41, 42):
        result = server.run(changed(graph, "vary", seed=first))
        if int(result.outputs["vary"]["diffuseit_seeds"][0]) != first:
            break
    ranked = server.images(result, "ranked").astype(int)
    shown = np.asarray(result.previews[-1].convert("RGB").resize((64, 64))).astype(int)
    assert int(result.outputs["vary"]["diffuseit_seeds"][0]) != first
    assert np.abs(ranked - shown).mean(axis=(1, 2, 3)).argmin() == 0


def test_a_chain_of_losses_needs_no_options(server):
    """At the size of a source of another shape, whose protected part survives."""
    source = ("LoadImage", {"image": "wide.png"})
    chain = {
        **LOADERS,
        "source": source,
        "mask": ("LoadImageMask", {"image": "wide_mask.png", "channel": "red"}),
        "range": ("DiffuseITRangeLoss", {}),
        "vary": (
            "DiffuseITVariations",
            {"ddpm": ["ddpm", 0], "image": ["source", 0], "losses": ["range", 0], "mask": ["mask", 0]}
            | {"seed": 3, "count": 2, "size": "source", "fit": "stretch"},
        ),
        "save": ("SaveImage", {"images": ["vary", 1]}),
        "original": ("SaveImage", {"images": ["source", 0]}),
    }
    result = server.run(chain)
    original, pictures = server.images(result, "original"), server.images(result, "save")
    assert pictures.shape == (2, *original.shape[1:])
    assert np.array_equal(pictures[:, :, 50:], np.repeat(original[:, :, 50:], 2, 0))
    assert not np.array_equal(pictures[:, :, :50], np.repeat(original[:, :, :50], 2, 0))


def test_several_sources_are_refused(server):
    sources = {"more": ("RepeatImageBatch", {"image": ["source", 0], "amount": 2})}
    with pytest.raises(PromptError, match="one image"):
        server.run(prompt(image=["more", 0]) | sources)
