"""Results at the size of their source, by the sampler and behind any other node, in a real ComfyUI."""

import numpy as np
import pytest
from comfyui.prompts import text_prompt

pytestmark = pytest.mark.comfyui

WIDE = {"source": ("LoadImage", {"image": "wide.png"})}


def test_the_node_does_what_the_sampler_does_at_the_size_of_the_source(server):
    prompt = text_prompt(seed=500) | WIDE
    kind, inputs = prompt["sampler"]
    outcome = server.run(
        prompt
        | {
            "at once": (kind, inputs | {"size": "source"}),
            "full": ("DiffuseITFullSize", {"image": ["sampler", 0], "source": ["source", 0]}),
            "soft": ("DiffuseITFullSize", {"image": ["sampler", 0], "source": ["source", 0], "detail": 0.0}),
            **{f"save {name}": ("SaveImage", {"images": [name, 0]}) for name in ("at once", "full", "soft")},
        }
    )
    small, once, full, soft = (
        server.images(outcome, name) for name in ("save", "save at once", "save full", "save soft")
    )
    assert once.shape == full.shape == soft.shape != small.shape
    assert np.abs(once.astype(int) - full.astype(int)).mean() < 1
    assert np.abs(full.astype(int) - soft.astype(int)).mean() > 0.5


def test_a_recolored_image_of_another_node_gets_its_detail_back(server):
    outcome = server.run(
        WIDE
        | {
            "inverted": ("ImageInvert", {"image": ["source", 0]}),
            "small": ("ImageScaleBy", {"image": ["inverted", 0], "upscale_method": "area", "scale_by": 0.5}),
            "full": ("DiffuseITFullSize", {"image": ["small", 0], "source": ["source", 0]}),
            **{f"save {name}": ("SaveImage", {"images": [name, 0]}) for name in ("inverted", "full")},
        }
    )
    inverted, full = (server.images(outcome, f"save {name}") for name in ("inverted", "full"))
    assert np.abs(inverted.astype(int) - full.astype(int)).mean() < 3
