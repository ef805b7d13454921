"""Loading and saving diffusion models: what people have on their disks, and what goes wrong with it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_data import parity_set, tensors, weights
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffuseit.errors import InputError, ModelError
from diffuseit.models import configs
from diffuseit.models.configs import CONFIGS, known_config
from diffuseit.models.ddpm import DiffusionConfig, PixelDDPM
from diffuseit.models.ddpm_checkpoint import (
    infer_unet_config,
    load_ddpm,
    peek_unet_config,
    save_ddpm,
    unet_signature,
)
from diffuseit.models.unet import UNet, UNetConfig

pytestmark = pytest.mark.numeric

POCKET = UNetConfig(
    image_size=16,
    model_channels=16,
    out_channels=3,
    num_res_blocks=1,
    attention_resolutions=(4,),
    channel_mult=(1, 1.5, 2),
    num_head_channels=8,
    norm_groups=8,
    space_to_depth=2,
)
VELOCITY = DiffusionConfig(noise_schedule="cosine", prediction="v", variance="fixed_small")
TINY = UNetConfig(
    image_size=32,
    model_channels=32,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 1),
    num_head_channels=16,
)
FITTED = (TINY, DiffusionConfig())


def build(config: UNetConfig = POCKET, diffusion: DiffusionConfig = VELOCITY, seed: int = 0) -> PixelDDPM:
    """A model of random weights, none of them zero."""
    model = PixelDDPM(UNet(config), diffusion)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def tiny_state() -> dict[str, Tensor]:
    return dict(build(TINY, DiffusionConfig()).unet.state_dict())


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def message(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The text of an error, which is one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def known_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of published networks with a small one in it."""
    monkeypatch.setitem(configs.CONFIGS, "tiny", FITTED)


# Our own files


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    model = build()
    path = tmp_path / "pocket.safetensors"
    save_ddpm(model, path, dtype)
    loaded = load_ddpm(path)
    assert (loaded.unet.config, loaded.diffusion) == (POCKET, VELOCITY)
    assert not loaded.training and not any(module.training for module in loaded.modules())
    for key, value in model.unet.state_dict().items():
        found = loaded.unet.state_dict()[key]
        assert found.dtype == torch.float32 and torch.equal(found, value.to(dtype).float()), key
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    schedule = loaded.schedule(10)
    with torch.no_grad():
        expected = build().eval().predict(x, schedule, 4).pred_xstart
        actual = loaded.predict(x, schedule, 4).pred_xstart
    largest = {torch.float32: 1e-4, torch.float16: 0.03, torch.bfloat16: 0.3}[dtype]
    assert (actual - expected).abs().max() < largest


def test_saves_half_precision_in_the_published_layout(tmp_path: Path) -> None:
    path = tmp_path / "pocket.safetensors"
    model = build().to(memory_format=torch.channels_last)  # as training leaves it
    save_ddpm(model, path)
    with safe_open(path, "pt") as file:
        keys = set(file.keys())
        assert keys == set(unet_signature(POCKET))
        assert {file.get_tensor(key).dtype for key in keys} == {torch.float16}
        assert json.loads(file.metadata()["config"]) == json.loads(json.dumps(model.config()))
    assert names(tmp_path) == ["pocket.safetensors"]
    assert torch.equal(load_ddpm(path).unet.out[2].weight, build().unet.out[2].weight.half().float())


def test_saving_leaves_the_model_and_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "pocket.safetensors"
    model = build()
    save_ddpm(model, path)
    before = path.read_bytes()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.unet.out[2].weight.data[0, 0, 0, 0] = 1e6  # infinite in float16
    with pytest.raises(InputError, match=r"out\.2\.weight.*float32"):
        save_ddpm(model, path)
    assert path.read_bytes() == before and names(tmp_path) == ["pocket.safetensors"]
    save_ddpm(model, path, torch.float32)
    assert load_ddpm(path).unet.out[2].weight[0, 0, 0, 0] == 1e6


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*missing") as error:
        save_ddpm(build(), tmp_path / "missing" / "pocket.safetensors")
    message(error)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        save_ddpm(build(), tmp_path / "folder.safetensors")
    assert names(tmp_path) == ["folder.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    save_ddpm(build(), tmp_path / "pocket.safetensors")
    model = load_ddpm(tmp_path / "pocket.safetensors", dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_the_configuration_is_read_without_the_weights(tmp_path: Path) -> None:
    model, path = build(), tmp_path / "pocket.safetensors"
    save_ddpm(model, path)
    assert peek_unet_config(path) == model.unet.config
    path.write_bytes(path.read_bytes()[:-100])
    assert peek_unet_config(path) is None
    assert peek_unet_config(tmp_path / "gone.safetensors") is None
    save_file({"x": torch.zeros(1)}, path)
    assert peek_unet_config(path) is None
    save_file({"x": torch.zeros(1)}, path, {"config": "{}"})
    with pytest.raises(ModelError, match="the config in its metadata cannot be used"):
        peek_unet_config(path)


def test_explicit_config_wins_over_metadata(tmp_path: Path) -> None:
    save_ddpm(build(), tmp_path / "pocket.safetensors")
    chosen = replace(POCKET, num_head_channels=4), replace(VELOCITY, prediction="eps")
    model = load_ddpm(tmp_path / "pocket.safetensors", chosen)
    assert (model.unet.config, model.diffusion) == chosen


# State dicts and guided-diffusion's files


def test_state_dict_stays_its_owners() -> None:
    source = build(TINY, DiffusionConfig())
    model = load_ddpm(source.unet.state_dict(), FITTED)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in source.parameters())
    source.unet.out[2].weight.data.zero_()
    assert model.unet.out[2].weight.abs().max() > 0
    assert (
        load_ddpm(source.state_dict(), FITTED).unet.out[2].weight.abs().max() == 0
    )  # with "unet." before keys


def test_loading_draws_no_random_numbers() -> None:
    state = tiny_state()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_ddpm(state, FITTED)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_published_files_are_recognized(
    tmp_path: Path, known_tiny: None, name: str, dtype: torch.dtype
) -> None:
    state = {key: value.to(dtype) for key, value in tiny_state().items()}
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    model = load_ddpm(path)
    assert (model.unet.config, model.diffusion) == FITTED
    for key, value in state.items():
        assert torch.equal(model.unet.state_dict()[key], value.float())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_wrapped_and_old_files(tmp_path: Path, known_tiny: None) -> None:
    state = tiny_state()
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()}, "step": 7}, tmp_path / "wrapped.pt"
    )
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("wrapped.pt", "old.pt"):
        assert torch.equal(load_ddpm(tmp_path / name).unet.out[2].weight, state["out.2.weight"])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_published_network_is_recognized_by_its_shapes(name: str) -> None:
    """What the first match gives computes the same in evaluation: only dropout may differ."""
    unet, diffusion = CONFIGS[name]
    match = next(key for key, value in CONFIGS.items() if unet_signature(value[0]) == unet_signature(unet))
    assert replace(CONFIGS[match][0], dropout=unet.dropout) == unet
    assert CONFIGS[match][1] == diffusion
    assert name == "lsun" or match == name


def test_published_diffusion_processes() -> None:
    """As guided-diffusion's README has them: all alike, but for the cosine of the smallest."""
    for name, (_, diffusion) in CONFIGS.items():
        schedule = "cosine" if name == "adm64-class" else "linear"
        assert diffusion == DiffusionConfig(1000, schedule, "eps", "learned_range", rescale_timesteps=True), (
            name
        )


def test_configuration_by_name(known_tiny: None) -> None:
    assert load_ddpm(tiny_state(), "tiny").unet.config == TINY
    with pytest.raises(InputError, match=r"adm257.*adm256-uncond"):
        load_ddpm(tiny_state(), "adm257")
    assert known_config("adm512-class")[0].num_classes == 1000


def test_parity_weights_and_the_configuration_their_shapes_tell() -> None:
    flags = parity_set().config["model_config"]
    config = UNetConfig.from_guided_diffusion(flags)
    inferred = infer_unet_config(weights("unet"))
    unseen = ("image_size", "num_heads", "num_head_channels", "num_heads_upsample", "dropout", "norm_groups")
    unseen += ("use_new_attention_order", "attention_resolutions", "conv_resample")
    assert replace(inferred, **{name: getattr(config, name) for name in unseen}) == config
    deepest = 2 ** (len(config.channel_mult) - 1)
    assert set(inferred.attention_resolutions) == {r for r in config.attention_resolutions if r <= deepest}
    model = load_ddpm(weights("unet"), (config, DiffusionConfig.from_guided_diffusion(flags)))
    case = parity_set().config["unet"]["cases"][0]["case"]
    x, y = tensors("unet")[f"{case}/x"], tensors("unet").get(f"{case}/y")
    assert model.predict(x, model.schedule(10), 3, y).pred_xstart.isfinite().all()


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        POCKET,
        replace(TINY, num_classes=7, out_channels=3, use_scale_shift_norm=False),
        replace(TINY, resblock_updown=False, num_res_blocks=3, channel_mult=(1, 2, 2, 4)),
        replace(TINY, resblock_updown=False, conv_resample=False, channel_mult=(1, 2, 4), num_res_blocks=2),
        replace(TINY, channel_mult=(0.5, 1, 1.5), attention_resolutions=(1, 4), model_channels=64),
        replace(TINY, channel_mult=(2,), attention_resolutions=(), resblock_updown=False),
        *(unet for unet, _ in CONFIGS.values()),
    ],
    ids=str,
)
def test_inferred_configurations(config: UNetConfig) -> None:
    with torch.device("meta"):
        state = UNet(config).state_dict()
    unseen = (
        "image_size",
        "num_heads",
        "num_head_channels",
        "dropout",
        "norm_groups",
        "use_new_attention_order",
    )
    found = infer_unet_config(state)
    assert replace(found, **{name: getattr(config, name) for name in unseen}) == config


# What goes wrong


def test_unknown_network_asks_for_its_configuration() -> None:
    with pytest.raises(ModelError) as error:
        load_ddpm(tiny_state())
    text = message(error)
    assert (
        "32 channels x (1, 1), 1 blocks per level, attention at 1/2, no classes and 6 output channels" in text
    )
    assert "config=" in text and "adm256-uncond" in text


def test_wrong_kind() -> None:
    for state, words in (
        (weights("dino"), "vision transformer"),
        (weights("clip", next(iter(parity_set().config["clip"]))), "CLIP"),
        ({"model.diffusion_model.out.weight": torch.zeros(1)}, "Stable Diffusion"),
        ({"conv1.weight": torch.zeros(1)}, "conv1.weight"),
    ):
        with pytest.raises(ModelError, match=words) as error:
            load_ddpm(state)
        assert "ADM U-Net" in message(error)


def test_classifiers_and_upsamplers_are_told_apart() -> None:
    classifier = {k: v for k, v in tiny_state().items() if not k.startswith(("output_blocks.", "out."))}
    with pytest.raises(ModelError, match="classifier") as error:
        load_ddpm(classifier)
    message(error)
    upsampler = UNet(replace(TINY, in_channels=6)).state_dict()
    with pytest.raises(ModelError, match="unknown layout") as error:
        load_ddpm(upsampler)
    message(error)


def damage(change: str) -> dict[str, Tensor]:
    state = tiny_state()
    if change == "missing":
        for key in [key for key in state if key.startswith("middle_block.")]:
            del state[key]
    elif change == "extra":
        state["lora.weight"] = torch.zeros(2)
    else:
        state["out.2.weight"] = state["out.2.weight"][:3]
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", r"\d\d missing \(middle_block\.0\.in_layers\.0\.weight, .*, \.\.\.\)"),
        ("extra", r"1 unexpected \(lora\.weight\)"),
        ("misshapen", r"out\.2\.weight is \[3, 32, 3, 3\], not \[6, 32, 3, 3\]"),
    ],
)
def test_wrong_keys_and_shapes(change: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as error:
        load_ddpm(damage(change), FITTED)
    assert len(message(error)) < 400
    with pytest.raises(ModelError) as error:  # nor is it taken for something else
        load_ddpm(damage(change))
    message(error)


def test_wrong_name_tells_the_right_one(known_tiny: None) -> None:
    with pytest.raises(ModelError, match="it fits config='tiny'") as error:
        load_ddpm(tiny_state(), "ffhq-p2")
    assert len(message(error)) < 700


def test_given_configuration_that_contradicts_itself() -> None:
    with pytest.raises(InputError, match="output channels"):
        load_ddpm(tiny_state(), (TINY, VELOCITY))


def save_tiny(folder: Path, suffix: str) -> Path:
    path = folder / f"tiny{suffix}"
    if suffix == ".safetensors":
        save_ddpm(build(TINY, DiffusionConfig()), path)
    else:
        torch.save(tiny_state(), path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 300, -1000])
def test_truncated(tmp_path: Path, suffix: str, kept: int) -> None:
    path = save_tiny(tmp_path, suffix)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=re.escape(str(path))) as error:
        load_ddpm(path)
    assert "download it again" in message(error)


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"<html>not found</html>" * 100, lambda data: b"\x00" * len(data)],
    ids=["web page", "zeros"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_corrupted(tmp_path: Path, suffix: str, spoil: Callable[[bytes], bytes]) -> None:
    path = save_tiny(tmp_path, suffix)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ModelError, match="download it again") as error:
        load_ddpm(path)
    message(error)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    state = tiny_state()
    state["time_embed.2.bias"][3] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(ModelError, match=r"nan\.pt is damaged.*time_embed\.2\.bias") as error:
        load_ddpm(tmp_path / "nan.pt", FITTED)
    message(error)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint file") as error:
        load_ddpm(tmp_path / "nothing.pt")
    message(error)
    with pytest.raises(ModelError):
        load_ddpm(tmp_path)


def spoiled_config(part: str | None, field: str, value: Any) -> str:
    values = build().config()
    if part is None:
        values[field] = value
    else:
        values[part][field] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        "{}",
        '{"unet": 3, "diffusion": {}}',
        spoiled_config("unet", "depth", 3),
        spoiled_config("diffusion", "sigma", 3),
        spoiled_config("diffusion", "prediction", "x0"),
        spoiled_config("diffusion", "variance", "learned_range"),
        spoiled_config("unet", "model_channels", "many"),
        spoiled_config("unet", "model_channels", 24),
        spoiled_config("unet", "norm_groups", 5),
        spoiled_config("unet", "norm_groups", 0),
        spoiled_config("unet", "num_head_channels", 7),
        spoiled_config("unet", "num_head_channels", 0),
        spoiled_config("unet", "channel_mult", []),
        spoiled_config("unet", "channel_mult", None),
        spoiled_config("unet", "channel_mult", [1, 1]),
    ],
)
def test_spoiled_metadata(tmp_path: Path, config: str) -> None:
    path = tmp_path / "pocket.safetensors"
    save_file(build().unet.state_dict(), path, {"config": config})
    with pytest.raises(ModelError, match=r"pocket\.safetensors") as error:
        load_ddpm(path)
    message(error)
