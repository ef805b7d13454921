"""Presets that a graph saves, on a real server."""

import json

import numpy as np
import pytest
from comfyui.prompts import LOADERS, changed, sampler, text_prompt
from comfyui.server import PromptError

pytestmark = pytest.mark.comfyui

WORDS = {"to_text": "autumn landscape", "from_text": "summer landscape"}


def graph(name, weight=2.0, **inputs):
    """A text prompt with option nodes, saved as a preset."""
    prompt = text_prompt(seed=910, options=["start", 0])
    prompt = changed(prompt, "style", weight=weight, **WORDS)
    return prompt | {
        "start": ("DiffuseITStartOptions", {"start_color": 0.5, "previous": ["method", 0]}),
        "method": ("DiffuseITMethodOptions", {"step_rule": "freedom"}),
        "keep": ("DiffuseITSavePreset", {"losses": ["range", 0], "name": name} | inputs),
    }


def by_preset(name):
    """The same with the saved preset, on a sampler whose widgets say something else."""
    preset = {"preset": name, "vit": ["vit", 0], "clip": ["clip", 0]} | WORDS
    links = {"options": ["preset", 1], "seed": 910, "steps": 50, "skip": 0, "method": "mpgd"}
    return {**LOADERS, **sampler("preset", **links), "preset": ("DiffuseITPreset", preset)}


def picture(server, prompt):
    (found,) = server.images(server.run(prompt), "save").astype(int)
    return found


def file_of(server, name):
    return server.base / "user" / "default" / "diffuseit" / "presets" / f"{name}.json"


def test_a_saved_preset_does_what_its_graph_did(server):
    name = "warm 가을"
    outcome = server.run(graph(name, description="Warm"))
    assert str(file_of(server, name).parent) in outcome.outputs["keep"]["text"][0]
    saved = json.loads(file_of(server, name).read_text(encoding="utf-8"))
    assert saved["description"] == "Warm" and "autumn" not in json.dumps(saved)
    node = server.get("/object_info/DiffuseITPreset")["DiffuseITPreset"]
    assert node["input"]["required"]["preset"][1]["options"][-1] == name
    made = picture(server, by_preset(name))
    assert np.abs(made - picture(server, graph(name, description="Warm"))).max() <= 1

    outcome = server.run(graph(name, weight=9.0, description="Warm"))
    assert "Not saved: there is another preset" in outcome.outputs["keep"]["text"][0]
    assert np.abs(picture(server, by_preset(name)) - made).max() == 0
    server.run(graph(name, weight=9.0, description="Warm", replace=True))
    assert np.abs(picture(server, by_preset(name)) - made).max() > 10  # not what the cache has


def test_what_is_no_preset_is_told(server):
    alone = {
        node: what for node, what in graph("x").items() if node not in ("sampler", "save", "frames", "plot")
    }
    two = graph("x") | {"other": ("DiffuseITSampler", graph("x")["sampler"][1] | {"steps": 9})}
    look = (
        "DiffuseITImageStyleLoss",
        {"vit": ["vit", 0], "style_image": ["source", 0], "previous": ["range", 0]},
    )
    both = changed(changed(graph("x"), "sampler", losses=["look", 0]), "keep", losses=["look", 0]) | {
        "look": look
    }
    linked = changed(graph("x"), "sampler", steps=["number", 0]) | {"number": ("PrimitiveInt", {"value": 8})}
    for prompt, reason in (
        (alone, "connect the same losses to a sampler too"),
        (two, "have these losses and other settings"),
        (both, "these losses have both"),
        (linked, "a link decides a setting of the node sampler"),
        (graph("../../x"), "a preset cannot be called"),
        (graph("best-text"), "a preset of DiffuseIT has this name"),
    ):
        keep_alone = {node: what for node, what in prompt.items() if node not in ("save", "frames", "plot")}
        with pytest.raises(PromptError, match=reason):
            server.run(keep_alone)
    assert not list(file_of(server, "x").parent.glob("x*"))


def test_a_preset_of_another_is_told_about_before_the_run(server):
    path = file_of(server, "strange")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"type": "Preset", "exec": 1}')
    with pytest.raises(PromptError, match="fields that this version does not know: exec"):
        server.run(by_preset("strange"))
    path.unlink()
    with pytest.raises(PromptError, match="preset is 'strange': use one of"):
        server.run(by_preset("strange"))
