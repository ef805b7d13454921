"""What cannot work is a red node with one sentence, before any network goes to the device; the queue goes on."""

import pytest
from comfyui.prompts import changed, image_prompt, sampler, text_prompt
from comfyui.server import PromptError

pytestmark = pytest.mark.comfyui

LOADED = "Requested to load"  # ComfyUI's log says so of every network that goes to the device


@pytest.fixture(scope="module")
def unloaded(server):
    """A server with nothing on the device, whose log would tell if that changed."""
    server.free(unload_models=True)
    mark = len(server.log())
    server.run(text_prompt(seed=500))
    assert LOADED in server.log_since(mark)
    server.free(unload_models=True)
    return server


def without(prompt, node, name):
    kind, inputs = prompt[node]
    return {**prompt, node: (kind, {key: value for key, value in inputs.items() if key != name})}


def with_preset(preset, **inputs):
    links = {"vit": ["vit", 0], "preset": preset}
    return {**image_prompt(), **sampler("preset"), "preset": ("DiffuseITPreset", links | inputs)}


def text_preset(**inputs):
    prompt = {**text_prompt(), **with_preset("pocket-text", clip=["clip", 0], **inputs)}
    return {**prompt, "clip": ("DiffuseITLoadCLIP", {})}


def solid(value=1.0, width=64, height=64):
    return ("SolidMask", {"value": value, "width": width, "height": height})


def wide(prompt):
    return changed(prompt, "source", image="wide.png")


EMPTY_TEXT = "the text to translate to is empty: say in a few words what the image should become"
ALPHA = "the image has an alpha channel; remove it first"
JOINED = {"full": solid(), "joined": ("JoinImageWithAlpha", {"image": ["source", 0], "alpha": ["full", 0]})}
PAIR = {"pair": ("ImageBatch", {"image1": ["source", 0], "image2": ["look", 0]})}
LINKED_TEXT = {"words": ("PrimitiveString", {"value": " "})}
LINKED_NUMBER = {"number": ("PrimitiveInt", {"value": 40})}

BEFORE_THE_RUN = {
    "empty text": (changed(text_prompt(), "style", to_text=" \n"), "style", EMPTY_TEXT),
    "empty text of a preset": (text_preset(to_text=""), "preset", EMPTY_TEXT),
    "skip is steps": (text_prompt(steps=5, skip=5), "sampler", "it must leave at least one step"),
    "skip above steps": (text_prompt(steps=5, skip=9), "sampler", "it must leave at least one step"),
    "losses not connected": (without(text_prompt(), "sampler", "losses"), "sampler", "losses"),
    "text preset without CLIP": (
        with_preset("pocket-text"),
        "preset",
        "the preset pocket-text is guided by text: connect DiffuseIT Load CLIP to 'clip'",
    ),
    "image preset without picture": (
        with_preset("pocket-image"),
        "preset",
        "the preset pocket-image is guided by an image: connect one to 'style_image'",
    ),
    "no such preset": (with_preset("mine"), "preset", "preset is 'mine': use one of official-text"),
    "a file of the catalog": (
        changed(text_prompt(), "vit", model="dino_deitsmall16_pretrain.pth"),
        "vit",
        "dino_deitsmall16_pretrain.pth is not in models/diffuseit: download dino-s16 in the DiffuseIT sidebar, under "
        "Models (87 MB)",
    ),
    "no such file": (changed(text_prompt(), "vit", model="gone.pt"), "vit", "gone.pt"),
}

IN_THE_RUN = {
    "empty text from a link": (
        changed(text_prompt(), "style", to_text=["words", 0]) | LINKED_TEXT,
        "style",
        EMPTY_TEXT,
    ),
    "skip from a link": (
        text_prompt(skip=["number", 0]) | LINKED_NUMBER,
        "sampler",
        "skip is 40 of 8 steps: it must leave at least one step",
    ),
    "more steps than the node takes": (
        text_prompt(steps=["number", 0]) | {"number": ("PrimitiveInt", {"value": 1001})},
        "sampler",
        "steps is 1001: use 1 to 1000",
    ),
    "no losses in a fan": (
        {**text_prompt(), "range": ("DiffuseITCombineLosses", {})},
        "range",
        "no losses are connected: connect at least one",
    ),
    "mask of another shape": (
        text_prompt(mask=["mask", 0]) | {"mask": solid(width=32, height=48)},
        "sampler",
        "mask: the mask is 32x48 pixels and the image 64x64: give one of the same shape",
    ),
    "mask of a loss of another shape": (
        changed(text_prompt(), "style", mask=["mask", 0]) | {"mask": solid(width=32)},
        "sampler",
        "a loss's mask: the mask is 32x64 pixels and the image 64x64: give one of the same shape",
    ),
    "mask without white": (
        text_prompt(mask=["mask", 0]) | {"mask": solid(value=0.0, width=32, height=32)},
        "sampler",
        "mask: the mask is empty, so nothing would change: paint what may change",
    ),
    "alpha": (text_prompt(image=["joined", 0]) | JOINED, "sampler", f"image: {ALPHA}"),
    "alpha of the style": (
        changed(image_prompt(), "style", style_image=["joined", 0]) | JOINED,
        "style",
        f"style_image: {ALPHA}",
    ),
    "two styles for one source": (
        changed(image_prompt(), "style", style_image=["pair", 0]) | PAIR,
        "sampler",
        "2 style images for 1 sources: give one, or one for each",
    ),
    "a tiny picture": (
        text_prompt(image=["tiny", 0]) | {"tiny": ("EmptyImage", {"width": 5, "height": 4})},
        "sampler",
        "The image is 5x4 pixels: at least 8x8 are needed",
    ),
    "no such layer": (
        changed(text_prompt(), "vit", layer=63),
        "vit",
        "layer 63 does not exist: this vision transformer has",
    ),
}


def refused(server, prompt):
    """(node errors, sentence, log since) of a prompt that must fail."""
    mark = len(server.log())
    with pytest.raises(PromptError) as caught:
        server.run(prompt)
    return caught.value.node_errors, str(caught.value), server.log_since(mark)


@pytest.mark.parametrize("case", BEFORE_THE_RUN)
def test_it_is_refused_before_the_run(unloaded, case):
    prompt, node, sentence = BEFORE_THE_RUN[case]
    node_errors, text, log = refused(unloaded, prompt)
    assert set(node_errors) == {node}
    assert sentence in text
    assert sentence in log
    assert LOADED not in log


@pytest.mark.parametrize("case", IN_THE_RUN)
def test_the_node_says_so_before_anything_is_loaded(unloaded, case):
    prompt, node, sentence = IN_THE_RUN[case]
    node_errors, text, log = refused(unloaded, prompt)
    assert set(node_errors) == {node}
    assert sentence in text
    assert len(text.strip().splitlines()) == 1
    assert sentence in log
    assert LOADED not in log


def test_the_queue_works_after_failures(unloaded):
    refused(unloaded, IN_THE_RUN["alpha"][0])
    refused(unloaded, BEFORE_THE_RUN["empty text"][0])
    assert unloaded.run(text_prompt(seed=501)).outputs["save"]


def test_a_set_without_its_files_is_told_before_the_run(server):
    """In one line, which says where the download is."""
    prompt = text_prompt() | {"ddpm": ("DiffuseITLoadModels", {"set": "light"})}
    with pytest.raises(PromptError, match=r"the set light lacks .* \(2.9 GB\)$") as refused:
        server.run(prompt)
    assert set(refused.value.node_errors) == {"ddpm"}
