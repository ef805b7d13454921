"""ViT features against the official code, and the loader against what people feed it."""

import json
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from parity_data import (
    GRADIENT,
    VALUE,
    loss_sets,
    matched,
    parity_set,
    relative_error,
    tensors,
    vit,
    weights,
)
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from diffuseit.errors import InputError, ModelError
from diffuseit.models.checkpoint import describe, read_checkpoint
from diffuseit.models.vit import ViT, ViTConfig, ViTFeatures, load_vit
from diffuseit.schema import to_json

pytestmark = pytest.mark.numeric

SMALL = ViTConfig(
    embed_dim=32,
    depth=3,
    num_heads=2,
    patch_size=4,
    image_size=16,
    input_size=16,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


def features(name: str, picture: str, antialias: bool = False) -> ViTFeatures:
    return vit(antialias)(tensors(f"losses_{name}")[picture])


def self_similarity(keys: torch.Tensor) -> torch.Tensor:
    """Cosine similarities [N, N] of key rows [N, D]."""
    norms = keys.norm(dim=-1, keepdim=True)
    return keys @ keys.T / (norms * norms.T).clamp(min=1e-8)


@pytest.mark.parametrize("name", loss_sets())
def test_keys_and_cls(name: str) -> None:
    data = tensors(f"losses_{name}")
    found = features(name, "x")
    assert relative_error(*matched(data, "keys", found.keys)) < VALUE
    assert relative_error(*matched(data, "source_keys", features(name, "source").keys)) < VALUE
    block = vit().layer % len(vit().model.blocks)
    for picture in ("x", "target", "prev"):
        expected = data[f"cls_block{block}_{picture}"]
        assert relative_error(features(name, picture).cls[0], expected) < VALUE, picture


RECORDED_INPUTS = [
    (name, prefix)
    for name in loss_sets()
    for prefix in ("", "aa_")
    if any(key.startswith(f"{prefix}dino_input") for key in tensors(f"losses_{name}"))
]
RECORDED_LOSSES = [
    (name, prefix, loss)
    for name in loss_sets()
    for prefix in ("", "aa_")
    for loss in ("ssim", "dir_cls", "style_cls")
    if f"{prefix}{loss}" in parity_set().config["losses"][name]
]


@pytest.mark.parametrize(("name", "prefix"), RECORDED_INPUTS)
def test_input_of_the_network(name: str, prefix: str) -> None:
    data = tensors(f"losses_{name}")
    pixels = vit(antialias=prefix == "aa_").preprocess(data["x"])
    assert relative_error(*matched(data, f"{prefix}dino_input", pixels)) < VALUE


@pytest.mark.parametrize(("name", "prefix", "loss"), RECORDED_LOSSES)
def test_loss_values_and_gradients(name: str, prefix: str, loss: str) -> None:
    """What the losses make of keys and [CLS], and its gradient at the picture."""
    scalars = parity_set().config["losses"][name][f"{prefix}{loss}"]
    data = tensors(f"losses_{name}")
    x = data["x"].clone().requires_grad_()
    antialias = prefix == "aa_"
    found = vit(antialias)(x)
    if loss == "ssim":
        source = features(name, "source", antialias)
        value = F.mse_loss(self_similarity(found.keys[0]), self_similarity(source.keys[0]))
    else:
        other = features(name, "prev" if loss == "dir_cls" else "target", antialias)
        value = F.mse_loss(found.cls, other.cls) * (-1 if loss == "dir_cls" else 1)
    assert value.item() == pytest.approx(scalars["value"], rel=VALUE)
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.norm().item() == pytest.approx(scalars["grad_norm"], rel=GRADIENT)
    if f"grad/{prefix}{loss}" in data:
        assert relative_error(*matched(data, f"grad/{prefix}{loss}", gradient)) < GRADIENT


def recorded_positions() -> list[tuple[str, str]]:
    return [
        (name, key.removeprefix("pos_embed_interp/"))
        for name in loss_sets()
        for key in tensors(f"losses_{name}")
        if key.startswith("pos_embed_interp/")
    ]


@pytest.mark.parametrize(("name", "key"), recorded_positions())
def test_position_embeddings_of_other_sizes(name: str, key: str) -> None:
    size, _, _ = key.partition("_")
    height, width = map(int, size.split("x"))
    actual, expected = matched(
        tensors(f"losses_{name}"), f"pos_embed_interp/{size}", vit().position_embedding(height, width)
    )
    assert relative_error(actual, expected) < VALUE


def test_gradients_of_cls_and_keys_meet_in_one_forward() -> None:
    """One forward pass serves both; its gradient is that of finite differences."""
    calls = []
    network = load_vit(SMALL_STATE, config=SMALL).double()
    handle = network.model.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    generator = torch.Generator().manual_seed(0)
    image = (2 * torch.rand(2, 3, 20, 16, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    found = network(image)
    assert len(calls) == 1
    handle.remove()
    assert found.keys.shape == (2, 1 + 5 * 4, 32) and found.cls.shape == (2, 32)
    (gradient,) = torch.autograd.grad(found.keys.square().sum() + found.cls.square().sum(), image)
    direction = torch.randn(image.shape, generator=generator, dtype=torch.float64)

    def objective(step: float) -> torch.Tensor:
        with torch.no_grad():
            moved = network(image + step * direction)
        return moved.keys.square().sum() + moved.cls.square().sum()

    numeric = (objective(1e-5) - objective(-1e-5)) / 2e-5
    assert torch.isclose((gradient * direction).sum(), numeric, rtol=1e-6)
    assert (
        all(not parameter.requires_grad for parameter in network.parameters()) and not network.model.training
    )


def small_state():
    generator = torch.Generator().manual_seed(0)
    shapes = {key: value.shape for key, value in SMALL.build().state_dict().items()}
    return {key: 0.2 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


SMALL_STATE = small_state()


@pytest.mark.parametrize(
    "options", [{}, {"reg_tokens": 4}, {"reg_tokens": 2, "no_embed_class": True}, {"pre_norm": True}]
)
def test_tokens_are_timms_own(options: dict) -> None:
    """At the learned size the features are those of timm's own forward, with registers and without."""
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=24, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0, **options
    )
    image = 2 * torch.rand(2, 3, 24, 24) - 1
    network = ViT(model, input_size=24, layer=1)
    expected_keys = []
    model.blocks[1].attn.qkv.register_forward_hook(
        lambda _m, _i, output: expected_keys.append(output[..., 32:64])
    )
    expected = model.forward_intermediates(
        network.preprocess(image),
        return_prefix_tokens=True,
        norm=False,
        intermediates_only=True,
        output_fmt="NLC",
    )[-1]
    found = network(image)
    torch.testing.assert_close(found.keys, expected_keys[0])
    torch.testing.assert_close(found.cls, expected[1][:, 0])


def test_sizes_that_are_no_multiple_of_the_patch() -> None:
    network = load_vit(SMALL_STATE, config=SMALL, input_size=18)
    assert network(torch.zeros(1, 3, 18, 27)).keys.shape == (1, 1 + 4 * 6, 32)


def test_layers_differ_and_are_checked() -> None:
    image = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    first, last = (load_vit(SMALL_STATE, config=SMALL, layer=layer)(image) for layer in (0, -1))
    assert not torch.allclose(first.keys, last.keys)
    torch.testing.assert_close(first.cls, last.cls)
    with pytest.raises(InputError, match="3 blocks"):
        load_vit(SMALL_STATE, config=SMALL, layer=3)


@pytest.mark.parametrize(("layer", "early"), [(-1, 1), (1, 0), (0, 0)])
def test_early_keys_are_those_of_the_layer_half_way(layer: int, early: int) -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    both = load_vit(SMALL_STATE, config=SMALL, layer=layer)(image)
    torch.testing.assert_close(both.early_keys, load_vit(SMALL_STATE, config=SMALL, layer=early)(image).keys)


def test_architecture_from_shapes() -> None:
    dino = parity_set().config["dino"]
    network = load_vit(weights("dino"), num_heads=dino["num_heads"])
    assert len(network.model.blocks) == dino["depth"]
    assert network.model.patch_embed.patch_size == (dino["patch_size"],) * 2
    assert network.model.patch_embed.img_size == (dino["img_size"],) * 2
    assert network.model.blocks[0].attn.num_heads == dino["num_heads"]


def test_config_travels_in_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    half = {key: value.half() for key, value in SMALL_STATE.items()}
    save_file(half, path, metadata={"config": json.dumps(to_json(SMALL))})
    network = load_vit(path)
    assert (network.input_size, network.model.blocks[0].attn.num_heads) == (16, 2)
    assert network.mean.flatten().tolist() == [0.5] * 3
    image = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    torch.testing.assert_close(network(image).cls, load_vit(half, config=SMALL)(image).cls)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {
            "teacher": {f"module.backbone.{k}": v for k, v in state.items()}
            | {"module.head.w": torch.ones(1)}
        },
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
    ],
)
def test_pickled_checkpoints(tmp_path: Path, wrap) -> None:
    path = tmp_path / "dino.pth"
    torch.save(wrap(SMALL_STATE), path)
    state, metadata = read_checkpoint(path)
    assert state.keys() == SMALL_STATE.keys() and metadata == {}
    assert load_vit(path, num_heads=2)(torch.zeros(1, 3, 16, 16)).cls.shape == (1, 32)


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good = tmp_path / "good.pth"
    torch.save(SMALL_STATE, good)
    save_file(SMALL_STATE, tmp_path / "good.safetensors")
    bad = {
        "empty.pth": (b"", "empty"),
        "cut.pth": (good.read_bytes()[:-2000], "damaged"),
        "cut.safetensors": ((tmp_path / "good.safetensors").read_bytes()[:-100], "damaged"),
        "noise.safetensors": (b"\xff" * 64, "damaged"),
        "noise.pth": (b"\xff" * 64, "damaged"),
        "page.pth": (b"<!DOCTYPE html><html></html>", "text file"),
        "code.pth": (pickle.dumps({"weights": Malicious()}, protocol=2), "code"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=message) as caught:
            read_checkpoint(tmp_path / name)
        assert name in str(caught.value)
    torch.save({"state": Malicious()}, tmp_path / "zip.pth")
    with pytest.raises(ModelError, match="code"):
        read_checkpoint(tmp_path / "zip.pth")
    assert "code ran" not in capsys.readouterr().out
    torch.save({"epoch": 3, "loss": [1.0]}, tmp_path / "none.pth")
    with pytest.raises(ModelError, match="no tensors"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="no checkpoint file"):
        load_vit(tmp_path / "missing.pth")
    with pytest.raises(ModelError, match="no checkpoint file"):
        load_vit(tmp_path)


def test_wrong_kind() -> None:
    clip = next(iter(parity_set().config["clip"]))
    kinds = {"adm-unet": weights("unet"), "vit": weights("dino"), "clip-openai": weights("clip", clip)}
    assert {kind: describe(state) for kind, state in kinds.items()} == {kind: kind for kind in kinds}
    assert describe({"a": torch.ones(1)}) == "unknown"
    with pytest.raises(ModelError, match="looks like an ADM U-Net"):
        load_vit(kinds["adm-unet"])
    with pytest.raises(ModelError, match="looks like a CLIP"):
        load_vit(kinds["clip-openai"])
    with pytest.raises(ModelError, match="none of the networks known here"):
        load_vit({"a": torch.ones(1)})


def test_incomplete_state_dict() -> None:
    state = {key: value for key, value in SMALL_STATE.items() if not key.startswith("norm.")}
    with pytest.raises(ModelError, match=r"norm\.weight"):
        load_vit(state, config=SMALL)
    with pytest.raises(ModelError, match="do not divide"):
        load_vit(SMALL_STATE, num_heads=5)
