"""The example workflows, run by the server as they are: what a newcomer sees first is a translation that worked."""

import pytest
import torch
from comfyui.server import PromptError
from comfyui.workflows import example

from diffuseit.images.resize import resize
from diffuseit.pocket.benchmark.metrics import ssim
from diffuseit.pocket.judge import CLASSES
from diffuseit.pocket.models import pocket_judge
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import HELD_OUT

pytestmark = pytest.mark.comfyui

GUIDED = {"07 Guide any model": "night", "08 Guide with the Latent Sampler": "sunset"}
"""The style that the prompt of an example with ComfyUI's own sampling names."""

ENLARGED = 6
"""How many times the pixels of their results are enlarged, with gaps of two pixels between images."""

TINY = {"09 Guide SDXL": "sdxl", "10 Guide Flux": "flux"}
"""The kind of the tiny model that stands in for a large one."""

OUTPUTS = {
    ("CheckpointLoaderSimple", 0): 0,
    ("LoraLoader", 0): 0,
    ("UNETLoader", 0): 0,
    ("CheckpointLoaderSimple", 2): 1,
    ("VAELoader", 0): 1,
    ("CLIPTextEncode", 0): 2,
}
"""The output of TinyModel in the place of an output."""

SEEDVR2 = "11 Invented detail with SeedVR2"
FULL_SIZE = "06 Full-size photos (6 GB download)"
WANTED = {
    "01 Guided by words": "autumn",
    "02 Guided by a picture": "sunset",
    "03 Only inside a mask": "tiger",
    "04 Two losses compared": "night",
    "05 Four nodes to a result": "desert",
    FULL_SIZE: "leopard",
}
"""The style that the text or the style picture of an example shows."""
RUNNERS = ("DiffuseITSampler", "DiffuseITTranslate")
LOADERS = ("DiffuseITLoadDDPM", "DiffuseITLoadViT", "DiffuseITLoadCLIP")
LION = {"picture": "lion", "scene": 4}


def with_pocket_models(prompt):
    """The paper's networks are too large to try: the pocket ones in their place, with their preset."""
    swapped = {}
    for node, (kind, inputs) in prompt.items():
        if kind in LOADERS:
            inputs = inputs | {"model": "pocket"}
        if kind == "DiffuseITLoadModels":
            inputs = inputs | {"set": "pocket"}
        if kind == "DiffuseITPreset":
            inputs = inputs | {"preset": inputs["preset"].replace("official", "pocket")}
        swapped[node] = (kind, inputs)
    return swapped


def with_a_drawing(prompt):
    """What the pocket models know, in place of a photo."""
    swapped = {}
    for node, (kind, inputs) in prompt.items():
        if kind == "LoadImage":
            kind, inputs = "DiffuseITExamplePicture", LION
        if kind == "DiffuseITPreset":
            inputs = inputs | {"from_text": "lion", "to_text": WANTED[FULL_SIZE]}
        swapped[node] = (kind, inputs)
    return swapped


def run(server, name):
    """(source, result), [1, 3, H, W] in [-1, 1], of every node of an example that translates."""
    prompt = example(name)
    if name == FULL_SIZE:
        prompt = with_a_drawing(with_pocket_models(prompt))
    runners = [node for node, (kind, _) in prompt.items() if kind in RUNNERS]
    for node in runners:
        prompt[f"{node} source"] = ("PreviewImage", {"images": prompt[node][1]["image"]})
        prompt[f"{node} result"] = ("PreviewImage", {"images": [node, 0]})
    outcome = server.run(prompt)

    def pictures(node):
        levels = torch.tensor(server.images(outcome, node)).permute(0, 3, 1, 2)
        return levels / 127.5 - 1

    assert runners
    return [(pictures(f"{node} source"), pictures(f"{node} result")) for node in runners]


@pytest.fixture(scope="module")
def judge():
    return pocket_judge()


@pytest.mark.parametrize("name", WANTED)
def test_the_wanted_style_is_reached_and_the_layout_stays(server, judge, name):
    for source, result in run(server, name):
        assert style(judge, source) != WANTED[name]
        assert style(judge, result) == WANTED[name]
        assert float(ssim(resize(source, tuple(result.shape[-2:])), result)) > 0.3


def truth(prompt, style):
    """The scene of an example in another style, [1, 3, 64, 64] in [-1, 1]."""
    (scene,) = (inputs["scene"] for kind, inputs in prompt.values() if kind == "DiffuseITExamplePicture")
    seed = HELD_OUT.start + scene
    return render(sample_geometry("landscape", [seed]), [STYLES["landscape"].index(style)], [seed])


@pytest.mark.parametrize("name", GUIDED)
def test_losses_hold_the_layout_that_the_prompt_alone_loses(server, judge, name):
    prompt = example(name)
    (saved,) = (node for node, (kind, _) in prompt.items() if kind == "SaveImage")
    row = torch.tensor(server.images(server.run(prompt), saved)).permute(0, 3, 1, 2) / 127.5 - 1
    row = row[..., ::ENLARGED, ::ENLARGED]
    source, without, result = (row[..., left : left + 64] for left in (0, 66, 132))
    assert style(judge, source) != GUIDED[name]
    assert style(judge, without) == style(judge, result) == GUIDED[name]
    right = truth(prompt, GUIDED[name])
    assert float(ssim(right, result)) > float(ssim(right, without)) + 0.2


def with_tiny_model(prompt, kind):
    """No file is needed, and the picture is small: the wiring stays."""

    def replaced(value):
        if not isinstance(value, list):
            return value
        node, output = value
        return ["tiny", OUTPUTS[prompt[node][0], output]] if (prompt[node][0], output) in OUTPUTS else value

    gone = {node for node, _ in OUTPUTS} | {"DualCLIPLoader"}
    small = {"width": 64, "height": 64, "steps": 4}
    kept = {
        node: (
            kind,
            {name: small.get(name, replaced(value)) for name, value in inputs.items()},
        )
        for node, (kind, inputs) in prompt.items()
        if kind not in gone
    }
    return {**with_pocket_models(kept), "tiny": ("TinyModel", {"kind": kind})}


@pytest.mark.parametrize("name", TINY)
def test_graphs_for_large_models_run_with_tiny_ones(server, name):
    prompt = with_tiny_model(example(name), TINY[name])
    (saved,) = (node for node, (kind, _) in prompt.items() if kind == "SaveImage")
    outcome = server.run(prompt)
    assert server.images(outcome, saved).shape == (1, 64, 64 + 16 + 64, 3)
    assert {kind for kind, _ in (prompt[node] for node in outcome.executed)} >= {
        "DiffuseITGuideModel",
        "VAEDecode",
    }


def test_the_graph_for_seedvr2_lacks_its_files_alone(server):
    """Its models are too large to try: what the server refuses is that they are not there."""
    prompt = example(SEEDVR2)
    if "SeedVR2Conditioning" not in server.nodes:
        pytest.skip("this ComfyUI has no SeedVR2")
    with pytest.raises(PromptError) as refused:
        server.run(prompt)
    assert {prompt[node][0] for node in refused.value.node_errors} == {"UNETLoader", "VAELoader"}


def style(judge, picture):
    small = resize(picture, (64, 64))
    return CLASSES[int(judge.classify(small).argmax())][1]
