"""The tiny models are what they claim to be, on the ComfyUI at hand."""

import math
import shutil

import numpy as np
import pytest
from comfyui.inside import call_inside
from comfyui.tiny_kinds import KINDS, SIDE

pytestmark = pytest.mark.comfyui

PICTURES = [kind for kind, found in KINDS.items() if found.medium != "audio"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models that `facts` fills with LoRAs and ControlNets."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def facts(comfyui, models):
    """What tiny_probe.py found out about every kind."""
    return call_inside(comfyui, "tiny_probe", "every_kind", str(models))


@pytest.fixture
def fact(facts, kind):
    """What it found out about one; skips what this ComfyUI does not know."""
    found = facts[kind]
    if "missing" in found:
        pytest.skip(found["missing"])
    assert "error" not in found, found["error"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_core_makes_of_its_checkpoints(fact, kind):
    assert fact["model"] == KINDS[kind].model
    assert KINDS[kind].prediction in fact["prediction"]
    assert fact["latent"] == shapes(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_its_weights_are_few_and_filled_in(fact, kind):
    assert not fact["unfilled"]
    assert max(fact["weights"]) < 25e6


@pytest.mark.parametrize("kind", KINDS)
def test_it_samples(fact, kind):
    assert fact["sample"] == shapes(kind)
    assert fact["finite"]
    assert 0.1 < fact["spread"] < 1000
    assert fact["again"] == 0
    assert fact["of the prompt"] > 0.01


@pytest.mark.parametrize("kind", PICTURES)
def test_its_vae_takes_and_gives_pictures(fact, kind):
    assert fact["picture"] == [1, SIDE, SIDE, 3]
    assert fact["contrast"] > 0.05
    assert fact["encoded"] == [1, *KINDS[kind].latent]
    lowest, highest = KINDS[kind].decoded
    assert fact["middle"] == -lowest / (highest - lowest)
    if lowest < 0:  # core does not clamp pictures that are in [0, 1] by themselves
        assert fact["lowest"] >= 0 and fact["highest"] <= 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PICTURES])
def test_an_audio_vae_gives_a_waveform(fact, kind):
    *_, samples, channels = fact["picture"]
    assert (samples, channels) == (16 * 2048, 2)
    assert math.isfinite(fact["contrast"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_changes_every_layer_of_a_clone(fact, kind):
    assert fact["layers of the LoRA"] == fact["linear layers"] > 10
    assert fact["of the LoRA"] > 0.01
    assert fact["without it"] == 0


@pytest.mark.parametrize("kind", ["sd15", "flux"])
def test_a_controlnet_follows_its_picture(fact, kind):
    assert fact["of the ControlNet"] > 0.01
    assert fact["of its picture"] > 0.01


@pytest.mark.parametrize("kind", ["sd15", "flux"])
def test_a_graph_of_core_nodes_runs_on_it(server, models, facts, kind):
    shutil.copytree(models, server.base / "models", dirs_exist_ok=True)
    picture = server.images(server.run(graph(kind)), "picture")
    assert picture.shape == (1, SIDE, SIDE, 3)
    assert np.std(picture) > 5


def shapes(kind):
    return [[1, *shape] for shape in (KINDS[kind].latent, KINDS[kind].sound) if shape]


def graph(kind):
    return {
        "tiny": ("TinyModel", {"kind": kind}),
        "lora": ("LoraLoaderModelOnly", {"model": ["tiny", 0], "lora_name": f"{kind}.safetensors"}),
        "net": ("ControlNetLoader", {"control_net_name": f"{kind}.safetensors"}),
        "hint": ("EmptyImage", {"width": SIDE, "height": SIDE}),
        "control": (
            "ControlNetApplyAdvanced",
            {
                "positive": ["tiny", 2],
                "negative": ["tiny", 3],
                "control_net": ["net", 0],
                "image": ["hint", 0],
                "vae": ["tiny", 1],
            },
        ),
        "sampler": (
            "KSampler",
            {
                "model": ["lora", 0],
                "positive": ["control", 0],
                "negative": ["control", 1],
                "latent_image": ["tiny", 4],
                "sampler_name": "euler",
                "scheduler": "simple",
                "steps": 3,
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["tiny", 1]}),
        "picture": ("SaveImage", {"images": ["decode", 0]}),
    }
