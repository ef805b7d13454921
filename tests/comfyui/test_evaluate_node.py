"""The evaluation node on a real server, behind graphs that have no sampler of ours."""

import numpy as np
import pytest

pytestmark = pytest.mark.comfyui

SCALE = {"upscale_method": "bicubic", "width": 200, "height": 120, "crop": "disabled"}


def prompt(editor, **inputs):
    """What an editor of ComfyUI makes of wide.png, measured."""
    kind, settings = editor
    return {
        "source": ("LoadImage", {"image": "wide.png"}),
        "editor": (kind, {"image": ["source", 0]} | settings),
        "evaluate": (
            "DiffuseITEvaluate",
            {"image": ["editor", 0], "source": ["source", 0], "to_text": "", "from_text": ""} | inputs,
        ),
        "report": ("SaveImage", {"images": ["evaluate", 0]}),
        **{
            name: ("PreviewAny", {"source": ["evaluate", output]})
            for output, name in enumerate(("text", "structure", "reached", "in place"), start=1)
        },
    }


def test_it_measures_behind_any_editor(server):
    result = server.run(prompt(("ImageInvert", {})))
    (shown,) = result.outputs["evaluate"]["text"]
    assert shown == result.outputs["text"]["text"][0]
    assert shown.startswith("structure kept, in place")
    assert float(result.outputs["structure"]["text"][0]) > 0.5
    assert float(result.outputs["reached"]["text"][0]) == 0
    assert result.outputs["in place"]["text"] == ["True"]
    (report,) = server.images(result, "report")
    assert report.shape[1] > 600 and np.unique(report.reshape(-1, 3), axis=0).shape[0] > 50


def test_the_networks_of_a_loader_measure_an_image_of_another_size(server):
    links = {"vit": ["vit", 0], "clip": ["clip", 0], "style_image": ["look", 0]}
    graph = prompt(("ImageScale", SCALE), to_text="winter landscape", **links) | {
        "vit": ("DiffuseITLoadViT", {}),
        "clip": ("DiffuseITLoadCLIP", {}),
        "look": ("LoadImage", {"image": "b.png"}),
    }
    result = server.run(graph)
    (text,) = result.outputs["text"]["text"]
    for words in (
        "resized from 100x60 to 200x120",
        "text match (pocket)",
        "style match",
        "structure distance",
    ):
        assert words in text
