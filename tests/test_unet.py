"""The U-Net against guided-diffusion's own and against the official vectors."""

import json
import math
import re
import warnings
from dataclasses import asdict, replace
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from parity_data import UNET, UNET_GRADIENT, ddpm, matched, parity_set, relative_error, tensors
from torch import Tensor, nn

from diffuseit.errors import InputError
from diffuseit.models.configs import CONFIGS
from diffuseit.models.unet import AttentionBlock, GroupNorm32, UNet, UNetConfig, timestep_embedding
from diffuseit.schema import from_json, to_json

pytestmark = pytest.mark.numeric

BASE = UNetConfig(
    image_size=16,
    model_channels=32,
    num_res_blocks=1,
    attention_resolutions=(2, 4),
    channel_mult=(1, 2, 2),
    num_head_channels=16,
)
CONFIGURATIONS = {
    "as the 256": BASE,
    "as the 512, class-conditional": replace(
        BASE,
        model_channels=64,
        channel_mult=(0.5, 1, 1),
        num_res_blocks=2,
        attention_resolutions=(4,),
        num_classes=10,
    ),
    "as the 64: new order, three blocks": replace(
        BASE, num_res_blocks=3, use_new_attention_order=True, dropout=0.1, channel_mult=(1, 2), num_classes=5
    ),
    "as DDPM: strided convolutions, no scale and shift, fixed variance": replace(
        BASE,
        resblock_updown=False,
        use_scale_shift_norm=False,
        out_channels=3,
        num_res_blocks=2,
        num_heads=4,
        num_head_channels=-1,
    ),
    "pooling, other heads on the way up": replace(
        BASE,
        resblock_updown=False,
        conv_resample=False,
        num_heads=2,
        num_heads_upsample=8,
        num_head_channels=-1,
        dropout=0.3,
    ),
    "new order with heads up, no conv_resample": replace(
        BASE,
        conv_resample=False,
        use_new_attention_order=True,
        num_heads=4,
        num_heads_upsample=2,
        num_head_channels=-1,
    ),
    "attention in the middle only": replace(
        BASE, attention_resolutions=(), use_scale_shift_norm=False, num_head_channels=-1, in_channels=4
    ),
    "attention everywhere, fractional width": replace(
        BASE,
        attention_resolutions=(1, 2, 4),
        channel_mult=(1, 1.5, 0.5),
        model_channels=64,
        num_head_channels=32,
        use_new_attention_order=True,
        resblock_updown=False,
    ),
}


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """guided-diffusion's own `unet` module, from the development dependency guided-diffusion-sdk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return pytest.importorskip(
            "guided_diffusion.unet",
            reason="guided-diffusion-sdk is not installed: it is the reference of these tests",
            exc_type=ImportError,
        )


def reference_arguments(config: UNetConfig) -> dict[str, Any]:
    """`UNetModel`'s arguments; its groups are always 32 and it knows no space-to-depth."""
    assert config.norm_groups == 32 and config.space_to_depth == 1
    return {k: v for k, v in asdict(config).items() if k not in ("norm_groups", "space_to_depth")}


def randomize(network: nn.Module, seed: int) -> None:
    """Weights that leave no path dead: guided-diffusion begins with zeros at the end of every block."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            value = noise / math.sqrt(parameter[0].numel())
        else:
            value = 0.2 * noise + (1.0 if "weight" in name else 0.0)
        parameter.data.copy_(value)


def pair(reference: ModuleType, config: UNetConfig) -> tuple[UNet, nn.Module]:
    """Ours and theirs with the same random weights."""
    theirs = reference.UNetModel(**reference_arguments(config))
    randomize(theirs, seed=3)
    ours = UNet(config)
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


def inputs(config: UNetConfig, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor, Tensor | None]:
    """Two pictures that are not square, at timesteps that are not whole, with their classes."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, config.in_channels, height, width, generator=generator)
    y = None if config.num_classes is None else torch.tensor([config.num_classes - 1, 0])
    return x, torch.tensor([7.5, 881.0]), y


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_equals_guided_diffusion(reference: ModuleType, name: str) -> None:
    config = CONFIGURATIONS[name]
    ours, theirs = pair(reference, config)
    x, t, y = inputs(config)
    with torch.no_grad():
        actual, expected = ours(x, t, y), theirs(x, t, y)
    assert actual.shape == (2, config.out_channels, 16, 24)
    assert 0.3 < expected.std() < 3  # the bound means something
    assert (actual - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"use_new_attention_order": True},
        {"num_head_channels": 32},
        {"norm_groups": 16},
    ],
    ids=str,
)
def test_settings_without_a_trace_in_the_weights_matter(
    reference: ModuleType, change: dict[str, Any]
) -> None:
    """The comparison above sees what keys and shapes do not."""
    ours, theirs = pair(reference, BASE)
    other = UNet(replace(BASE, **change)).eval()
    other.load_state_dict(ours.state_dict())
    x, t, y = inputs(BASE)
    with torch.no_grad():
        assert (other(x, t, y) - theirs(x, t, y)).abs().max() > 1e-3


def test_gradient_equals_guided_diffusion(reference: ModuleType) -> None:
    config = CONFIGURATIONS["as the 512, class-conditional"]
    x, t, y = inputs(config)
    cotangent = torch.randn(2, config.out_channels, 16, 24, generator=torch.Generator().manual_seed(6))
    gradients = []
    for network in pair(reference, config):
        picture = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(network(picture, t, y), picture, cotangent)[0])
    assert gradients[1].abs().max() > 0.1
    assert relative_error(*gradients) < 1e-5


# What the authors publish, in guided-diffusion's flags: its README, and DiffuseIT's image_editor.py.
_PUBLISHED = {
    "num_channels": 256,
    "num_head_channels": 64,
    "num_res_blocks": 2,
    "attention_resolutions": "32,16,8",
    "resblock_updown": True,
    "use_scale_shift_norm": True,
    "learn_sigma": True,
}
FULL_WIDTH: dict[str, dict[str, Any]] = {
    "adm256-uncond": {**_PUBLISHED, "image_size": 256},
    "adm256-class": {**_PUBLISHED, "image_size": 256, "class_cond": True},
    "adm512-class": {**_PUBLISHED, "image_size": 512, "class_cond": True},
    "adm512-uncond": {**_PUBLISHED, "image_size": 512},
    "lsun": {**_PUBLISHED, "image_size": 256, "dropout": 0.1},
    "ffhq-p2": {
        **_PUBLISHED,
        "image_size": 256,
        "num_channels": 128,
        "num_res_blocks": 1,
        "attention_resolutions": "16",
    },
    "adm128-class": {
        **_PUBLISHED,
        "image_size": 128,
        "num_heads": 4,
        "num_head_channels": -1,
        "class_cond": True,
    },
    "adm64-class": {
        **_PUBLISHED,
        "image_size": 64,
        "num_channels": 192,
        "num_res_blocks": 3,
        "dropout": 0.1,
        "use_new_attention_order": True,
        "class_cond": True,
    },
}


def test_every_known_configuration_is_checked() -> None:
    assert FULL_WIDTH.keys() == CONFIGS.keys()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", FULL_WIDTH)
def test_full_width_keys_and_shapes(reference: ModuleType, name: str) -> None:
    script_util = pytest.importorskip("guided_diffusion.script_util", exc_type=ImportError)
    with torch.device("meta"):
        theirs = script_util.create_model(**FULL_WIDTH[name])
        ours = UNet(CONFIGS[name][0])
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)

    # What shapes do not show: the heads of every attention block, the dropout of every residual block.
    def heads(network: nn.Module) -> list[int]:
        return [m.num_heads for m in network.modules() if type(m).__name__ == "AttentionBlock"]

    def dropouts(network: nn.Module) -> list[float]:
        return [m.p for m in network.modules() if isinstance(m, nn.Dropout)]

    assert heads(ours) == heads(theirs) and heads(ours)
    assert dropouts(ours) == dropouts(theirs)
    order = {type(m.attention).__name__ for m in theirs.modules() if hasattr(m, "attention")}
    assert order == {"QKVAttention" if ours.config.use_new_attention_order else "QKVAttentionLegacy"}


@pytest.mark.parametrize(("name", "millions"), [("adm256-uncond", 552.8), ("ffhq-p2", 93.6)])
def test_full_width_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in UNet(CONFIGS[name][0]).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def recorded_cases() -> list[dict[str, Any]]:
    return parity_set().config["unet"]["cases"]


@pytest.mark.parametrize("case", recorded_cases(), ids=lambda case: f"index {case['index']}")
def test_official_vectors(case: dict[str, Any]) -> None:
    model, data, number = ddpm(), tensors("unet"), case["case"]
    schedule = model.schedule(parity_set().config["unet"]["respacing"])
    x, y = data[f"{number}/x"], data.get(f"{number}/y")
    t = model.network_timesteps(schedule, case["index"], len(x))
    assert t.tolist() == [case["timestep_passed_to_unet"]] * len(x)
    with torch.no_grad():
        output = model.unet(x, t, y)
        prediction = model.predict(x, schedule, case["index"], y)
    found = {
        "output": output,
        "log_variance": prediction.log_variance.expand_as(x),
        "pred_xstart": prediction.pred_xstart,
    }
    for name, actual in found.items():
        assert relative_error(*matched(data, f"{number}/{name}", actual)) < UNET, name


@pytest.mark.parametrize("case", recorded_cases(), ids=lambda case: f"index {case['index']}")
def test_official_gradients(case: dict[str, Any]) -> None:
    model, data, number = ddpm(), tensors("unet"), case["case"]
    schedule = model.schedule(parity_set().config["unet"]["respacing"])
    y = data.get(f"{number}/y")
    checked = set()
    for key, expected in data.items():
        match = re.fullmatch(rf"{number}/grad_of_(output|pred_xstart)_dot_(\w+)", key)
        if match is None:
            continue
        x = data[f"{number}/x"].clone().requires_grad_()
        if match[1] == "output":
            value = model.unet(x, model.network_timesteps(schedule, case["index"], len(x)), y)
        else:
            value = model.predict(x, schedule, case["index"], y).pred_xstart
        (gradient,) = torch.autograd.grad(value, x, data[f"{number}/{match[2]}"])
        assert relative_error(gradient, expected) < UNET_GRADIENT, key
        checked.add(match[1])
    assert checked == {"output", "pred_xstart"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["as the 256", "pooling, other heads on the way up"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    config = CONFIGURATIONS[name]
    network = UNet(config).eval()
    randomize(network, seed=3)
    x, t, y = inputs(config)
    with torch.no_grad():
        expected = network(x, t, y)
        network.to(dtype)
        actual = network(x, t, y)
    assert network.dtype == dtype and actual.dtype == x.dtype
    bound = 0.01 if dtype == torch.float16 else 0.08
    assert relative_error(actual, expected) < bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("float_weights", [False, True])
def test_norm_statistics_are_float32(dtype: torch.dtype, float_weights: bool) -> None:
    """Squares of these features overflow fp16, and their spread vanishes in bf16 beside their mean."""
    x = (1000 + 20 * torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0))).to(dtype)
    norm = GroupNorm32(32, 64)
    actual = norm(x) if float_weights else norm.to(dtype)(x)
    assert actual.dtype == dtype
    assert (actual.float() - F.group_norm(x.float(), 32)).abs().max() < (
        0.005 if dtype == torch.float16 else 0.03
    )


def test_space_to_depth() -> None:
    """The folded network is the plain one between a pixel unshuffle and a pixel shuffle."""
    folded = UNet(replace(BASE, space_to_depth=2)).eval()
    plain = UNet(replace(BASE, in_channels=12, out_channels=24)).eval()
    randomize(folded, seed=8)
    plain.load_state_dict(folded.state_dict())
    assert folded.input_blocks[0][0].weight.shape == (32, 12, 3, 3)
    assert folded.out[2].weight.shape == (24, 32, 3, 3)
    assert (folded.config.size_multiple, plain.config.size_multiple) == (8, 4)
    x, t, _ = inputs(BASE)
    with torch.no_grad():
        actual = folded(x, t)
        expected = F.pixel_shuffle(plain(F.pixel_unshuffle(x, 2), t), 2)
    assert actual.shape == (2, 6, 16, 24)
    torch.testing.assert_close(actual, expected)


def test_attention_keeps_no_weights_for_the_backward_pass() -> None:
    """Memory grows with the number of positions, not with its square: fused attention is in use."""
    block = AttentionBlock(BASE, 32, 1).requires_grad_(False)
    kept = []
    for side in (16, 32):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()),
            lambda _: None,
        ):
            block(torch.zeros(1, 32, side, side, requires_grad=True))
        kept.append(sum(sizes))
    assert kept[1] < 5 * kept[0]


def test_batch_items_do_not_meet() -> None:
    network = UNet(BASE).eval()
    randomize(network, seed=9)
    x, t, _ = inputs(BASE)
    with torch.no_grad():
        torch.testing.assert_close(network(x, t)[1:], network(x[1:], t[1:]), atol=1e-5, rtol=0)


def test_timestep_embedding() -> None:
    embedding = timestep_embedding(torch.tensor([0.0, 2.0]), 7)
    assert embedding.shape == (2, 7)
    assert embedding[0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    frequency = 10000 ** (-2 / 3)
    assert embedding[1, 2].item() == pytest.approx(math.cos(2 * frequency), rel=1e-6)
    assert embedding[1, 5].item() == pytest.approx(math.sin(2 * frequency), rel=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 18), (6, 16), (17, 17)])
def test_size_must_be_a_multiple(height: int, width: int) -> None:
    with pytest.raises(InputError, match="multiples of 4"):
        UNet(BASE)(torch.zeros(1, 3, height, width), torch.zeros(1))


def test_labels_exactly_for_class_conditional() -> None:
    x, t, y = torch.zeros(1, 3, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long)
    with pytest.raises(InputError, match="class"):
        UNet(BASE)(x, t, y)
    with pytest.raises(InputError, match="class"):
        UNet(replace(BASE, num_classes=3))(x, t)


@pytest.mark.parametrize("change", [{"num_head_channels": 24}, {"num_head_channels": -1, "num_heads": 7}])
def test_heads_must_divide_channels(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="heads"):
        UNet(replace(BASE, **change))


def test_config_round_trip() -> None:
    for config in CONFIGURATIONS.values():
        assert from_json(UNetConfig, json.loads(json.dumps(to_json(config))), "a U-Net") == config
    with pytest.raises(InputError, match="channel_mult"):
        UNetConfig.from_guided_diffusion({**_PUBLISHED, "image_size": 96})
