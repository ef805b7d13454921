"""Guided models in the graphs of a real server: what it runs, caches, tells the page, and knows afterward."""

import numpy as np
import pytest
from comfyui.prompts import LOADERS, changed
from comfyui.server import PromptError

pytestmark = pytest.mark.comfyui

STEPS = 4
WORKFLOW = {"workflow": {"id": "the workflow"}}


def graph(kind="sd15", **inputs):
    """Guide Model before core's KSampler; `inputs` are those of Guide Model."""
    return {
        **{node: what for node, what in LOADERS.items() if node != "ddpm"},
        "tiny": ("TinyModel", {"kind": kind}),
        "style": ("DiffuseITTextStyleLoss", {"clip": ["clip", 0]}),
        "structure": ("DiffuseITStructureLoss", {"vit": ["vit", 0], "previous": ["style", 0]}),
        "range": ("DiffuseITRangeLoss", {"previous": ["structure", 0]}),
        "guide": (
            "DiffuseITGuideModel",
            {"model": ["tiny", 0], "vae": ["tiny", 1], "image": ["source", 0], "losses": ["range", 0]}
            | inputs,
        ),
        "encode": ("VAEEncode", {"pixels": ["source", 0], "vae": ["tiny", 1]}),
        "sampler": (
            "KSampler",
            {
                **{"model": ["guide", 0], "positive": ["tiny", 2], "negative": ["tiny", 3]},
                **{"latent_image": ["encode", 0], "steps": STEPS, "denoise": 0.7, "cfg": 2.0, "seed": 1},
                **{"sampler_name": "euler", "scheduler": "simple"},
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["tiny", 1]}),
        "save": ("SaveImage", {"images": ["decode", 0]}),
    }


def sampled_by_us(**inputs):
    """The same with DiffuseIT Latent Sampler in SamplerCustomAdvanced."""
    prompt = graph()
    links = {name: prompt["guide"][1][name] for name in ("vae", "image", "losses")}
    del prompt["guide"]
    return prompt | {
        "ours": ("DiffuseITLatentSampler", links | inputs),
        "noise": ("RandomNoise", {"noise_seed": 1}),
        "guider": (
            "CFGGuider",
            {"model": ["tiny", 0], "positive": ["tiny", 2], "negative": ["tiny", 3], "cfg": 2.0},
        ),
        "sigmas": (
            "BasicScheduler",
            {"model": ["tiny", 0], "scheduler": "simple", "steps": STEPS, "denoise": 0.7},
        ),
        "sampler": (
            "SamplerCustomAdvanced",
            {
                **{"noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["ours", 0]},
                **{"sigmas": ["sigmas", 0], "latent_image": ["encode", 0]},
            },
        ),
    }


def told(server, prompt, extra_pnginfo=WORKFLOW):
    """The pack's events of a run, and its outcome."""
    events = []

    def note(event):
        if event["type"] == "diffuseit.run":
            events.append(event["data"])

    outcome = server.run(prompt, note, extra_pnginfo)
    return events, outcome


@pytest.fixture(scope="module")
def plain(server):
    """The events and the outcome of the guided model."""
    return told(server, graph())


@pytest.fixture(scope="module")
def ours(server):
    """Those of our sampler."""
    return told(server, sampled_by_us())


@pytest.mark.parametrize(("way", "node"), [("plain", "guide"), ("ours", "ours")])
def test_the_node_shows_its_run(request, way, node):
    events, outcome = request.getfixturevalue(way)
    begin, *steps, end, result = events
    assert [event["kind"] for event in (begin, end, result)] == ["begin", "end", "result"]
    assert {(event["node"], event["workflow"], event["prompt"]) for event in events} == {
        (node, "the workflow", outcome.id)
    }
    assert begin["total"] == STEPS
    assert [loss["node"] for loss in begin["losses"]] == ["style", "structure", "range"]
    assert sum(len(event["values"]) for event in steps) == STEPS
    assert "text_style" in steps[0]["values"][0]
    assert any(event.get("gradients") for event in steps)
    assert len([frame for event in steps for frame in event["frames"]]) == STEPS
    assert end["outcome"] == "done"
    assert {"VAE", "ViT", "CLIP"} <= set(end["calls"])
    (picture,) = result["pictures"]
    assert picture.startswith("data:image/jpeg;base64,")
    assert outcome.progress["sampler"][-1] == (STEPS, STEPS)


def test_a_guided_picture_is_another_and_comes_again(server, plain):
    (guided,) = server.images(plain[1], "save")
    (free,) = server.images(server.run(changed(graph(), "sampler", model=["tiny", 0])), "save")
    assert np.abs(guided.astype(int) - free.astype(int)).mean() > 2
    server.run(changed(graph(), "guide", step_size=2.0))  # another run of the same loaded model
    (repeated,) = server.images(server.run(changed(graph(), "save", filename_prefix="again")), "save")
    assert np.abs(repeated.astype(int) - guided.astype(int)).max() <= 1


def test_a_guided_model_from_the_cache_is_shown_in_the_workflow_that_runs_it(server, plain):
    server.run(graph())
    events, outcome = told(server, changed(graph(), "sampler", seed=5), {"workflow": {"id": "another"}})
    assert "guide" in outcome.cached
    assert {event["workflow"] for event in events} == {"another"}


@pytest.mark.parametrize(("way", "prompt"), [("plain", graph()), ("ours", sampled_by_us())])
def test_what_a_run_took_is_the_next_estimate(request, server, way, prompt):
    request.getfixturevalue(way)
    node = "guide" if way == "plain" else "ours"
    filled = {
        id: {"class_type": kind, "inputs": server._defaults(kind) | inputs}
        for id, (kind, inputs) in prompt.items()
    }
    found = server.post("/diffuseit/estimate", {"prompt": filled, "node": node})
    assert found["steps"] is None
    assert found["measured"]["size"] == [64, 64]
    filled["tiny"]["inputs"]["kind"] = "flux"
    assert server.post("/diffuseit/estimate", {"prompt": filled, "node": node})["measured"] is None


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (graph("flux") | {"other": ("TinyModel", {"kind": "sd15"})}, None),
        (changed(graph(), "guide", vae=["clip", 0]), "vae"),
        (changed(graph(), "guide", step_size=-1.0), "step_size"),
        (changed(graph(), "guide", start=0.5, end=1.5), "end"),
    ],
)
def test_wrong_inputs_are_said(server, prompt, message):
    if message is None:
        prompt = changed(prompt, "guide", vae=["other", 1])
        with pytest.raises(PromptError, match="this VAE is for another model"):
            server.run(prompt)
    else:
        with pytest.raises(PromptError, match=message):
            server.queue(prompt)
