"""The example workflows, run by the server as they are: what a newcomer sees first is a translation that worked."""

import pytest
import torch
from comfyui.workflows import example

from diffuseit.images.resize import resize
from diffuseit.pocket.benchmark.metrics import ssim
from diffuseit.pocket.judge import CLASSES
from diffuseit.pocket.models import pocket_judge

pytestmark = pytest.mark.comfyui

WANTED = {
    "text-guided": "autumn",
    "image-guided": "sunset",
    "loss-swap": "night",
    "mask": "tiger",
    "full-size": "leopard",
}
"""The style that the text or the style picture of an example shows."""
LOADERS = ("DiffuseITLoadDDPM", "DiffuseITLoadViT", "DiffuseITLoadCLIP")


def with_pocket_models(prompt):
    """The paper's networks are too large to try: the pocket ones in their place, and their preset."""
    swapped = {}
    for node, (kind, inputs) in prompt.items():
        if kind in LOADERS:
            inputs = inputs | {"model": "pocket"}
        if kind == "DiffuseITPreset":
            inputs = inputs | {"preset": inputs["preset"].replace("official", "pocket")}
        swapped[node] = (kind, inputs)
    return swapped


def run(server, name):
    """Every sampler's (source, result), [1, 3, H, W] in [-1, 1], of an example."""
    prompt = example(name)
    if name == "full-size":
        prompt = with_pocket_models(prompt)
    samplers = [node for node, (kind, _) in prompt.items() if kind == "DiffuseITSampler"]
    for node in samplers:
        prompt[f"{node} source"] = ("PreviewImage", {"images": prompt[node][1]["image"]})
        prompt[f"{node} result"] = ("PreviewImage", {"images": [node, 0]})
    outcome = server.run(prompt)

    def pictures(node):
        levels = torch.tensor(server.images(outcome, node)).permute(0, 3, 1, 2)
        return levels / 127.5 - 1

    assert samplers
    return [(pictures(f"{node} source"), pictures(f"{node} result")) for node in samplers]


@pytest.fixture(scope="module")
def judge():
    return pocket_judge()


@pytest.mark.parametrize("name", WANTED)
def test_the_wanted_style_is_reached_and_the_layout_stays(server, judge, name):
    for source, result in run(server, name):
        assert style(judge, source) != WANTED[name]
        assert style(judge, result) == WANTED[name]
        assert float(ssim(resize(source, tuple(result.shape[-2:])), result)) > 0.3


def style(judge, picture):
    small = resize(picture, (64, 64))
    return CLASSES[int(judge.classify(small).argmax())][1]
