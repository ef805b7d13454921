"""The nodes that show what a ViT sees, without a ComfyUI."""

import importlib
from typing import get_args

import pytest
import torch
from nodes_alone import NAME, import_node_module
from tiny_networks import DINOV3

from diffuseit.inspection.facets import PatchFacet


@pytest.fixture
def pack(monkeypatch):
    """The pack's own modules by their names. The nodes know no other classes than theirs."""
    import_node_module(monkeypatch, "inspect")
    return lambda name: importlib.import_module(f"{NAME}.{name}")


@pytest.fixture
def show(pack, monkeypatch):
    """`show(node, image, **inputs)` -> the node's image."""
    module = pack("nodes.inspect")
    monkeypatch.setattr(module.devices, "load", lambda networks, memory: None)
    vit = pack("diffuseit.pocket.models").pocket_vit()

    def show(node, image, network=vit, **inputs):
        network = module.Network(network, ())
        inputs = {
            "layer": -1,
            "facet": "key",
            **({"x": 0.5, "y": 0.5} if node == "SelfSimilarity" else {}),
            **inputs,
        }
        with torch.inference_mode():
            return getattr(module, node).execute(vit=network, image=image, **inputs).args[0]

    return show


@pytest.fixture
def scenes(pack):
    """One geometry in three styles, as ComfyUI's IMAGE."""
    world = pack("diffuseit.pocket.world.render")
    pictures = world.render(world.sample_geometry("landscape", [1 << 41] * 3), [0, 2, 5], [1, 2, 3])
    return pack("nodes.images").to_comfy(pictures)


def test_the_facets_are_those_of_the_core(pack):
    assert get_args(PatchFacet) == pack("nodes.inspect").FACETS


def test_pictures_of_a_batch_share_their_colors(show, scenes):
    together = show("KeyPCA", scenes)
    assert scenes.shape == together.shape and together.min() >= 0 and together.max() <= 1
    alike = (together[0] - together[1]).abs().mean()
    assert alike < 0.5 * (scenes[0] - scenes[1]).abs().mean()
    alone = torch.cat([show("KeyPCA", scene[None]) for scene in scenes])
    assert not torch.allclose(alone, together, atol=0.01)
    # Blocks of 4x4 pixels, one for each patch.
    assert torch.equal(together[:, ::4, ::4], together[:, 3::4, 3::4])


def test_the_point_is_red_and_its_map_that_of_the_picture(show, scenes):
    maps = show("SelfSimilarity", scenes, x=1.0, y=0.0)
    red = (maps == torch.tensor([1.0, 0.0, 0.0])).all(dim=-1)
    assert red.sum(dim=(1, 2)).tolist() == [16, 16, 16] and red[:, :4, -4:].all()
    other = show("SelfSimilarity", scenes, x=0.5, y=0.9)
    assert (maps - other).abs().mean() > 0.05


@pytest.mark.parametrize("node", ["KeyPCA", "SelfSimilarity"])
def test_any_size_and_any_vit(pack, show, node):
    image = torch.rand(2, 50, 90, 3, generator=torch.Generator().manual_seed(0))
    vit = pack("diffuseit.models.vit")
    config = vit.ViTConfig(**{name: getattr(DINOV3, name) for name in DINOV3.__dataclass_fields__})
    for facet in get_args(PatchFacet):
        found = show(node, image, vit.random_vit(config), facet=facet, layer=1)
        assert found.shape == image.shape and found.isfinite().all()


@pytest.mark.parametrize("node", ["KeyPCA", "SelfSimilarity"])
def test_a_picture_of_one_color_is_no_error(show, node):
    assert show(node, torch.full((1, 64, 64, 3), 0.5)).isfinite().all()


def test_a_layer_that_is_not_there_is_refused(show, scenes):
    with pytest.raises(ValueError, match="layer 5 does not exist: this vision transformer has 5 layers"):
        show("KeyPCA", scenes, layer=5)


@pytest.mark.parametrize(
    ("name", "value"), [("x", 1.1), ("y", float("nan")), ("facet", "keys"), ("image", None)]
)
def test_inputs_that_break_the_schema_are_refused_by_name(show, scenes, name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        show("SelfSimilarity", **{"image": scenes, name: value})
