"""The text encoder of the latent pocket model, without a ComfyUI."""

import importlib

import pytest
import torch
from nodes_alone import NAME, import_node_module
from tiny_networks import tiny_clip_state


@pytest.fixture
def pack(monkeypatch):
    """The pack's own modules by their names. The nodes know no other classes than theirs."""
    import_node_module(monkeypatch, "pocket")
    return lambda name: importlib.import_module(f"{NAME}.{name}")


@pytest.fixture
def encode(pack, monkeypatch):
    """`encode(ensemble, text)` -> the conditioning's (tokens, pooled)."""
    module = pack("nodes.pocket")
    monkeypatch.setattr(module.devices, "load", lambda networks, memory: None)

    def encode(ensemble, text):
        network = module.Network(ensemble, ("patcher",) * len(ensemble))
        ((tokens, extra),) = module.PocketText.execute(clip=network, text=text).args[0]
        assert set(extra) == {"pooled_output"}
        return tokens, extra["pooled_output"]

    return encode


def test_a_text_is_one_token(pack, encode):
    models = pack("diffuseit.pocket.models")
    clip = models.pocket_clip()
    tokens, pooled = encode(clip, "winter landscape")
    assert tokens.shape == (1, 1, 64)
    assert torch.allclose(pooled, models.text_embeddings(clip, ["winter landscape"]))
    assert torch.equal(tokens[:, 0], pooled)


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_text_is_zeros_of_the_same_shape(pack, encode, text):
    tokens, pooled = encode(pack("diffuseit.pocket.models").pocket_clip(), text)
    assert tokens.shape == (1, 1, 64) and pooled.shape == (1, 64)
    assert not tokens.any() and not pooled.any()


@pytest.mark.parametrize("text", ["", "lion"])
def test_another_clip_is_refused(pack, encode, text):
    module = pack("diffuseit.models.clip")
    other = module.CLIPEnsemble([module.load_clip(tiny_clip_state(), name="tiny")])
    with pytest.raises(
        ValueError, match=r"^clip is tiny: connect DiffuseIT Load CLIP with the model 'pocket'$"
    ):
        encode(other, text)
