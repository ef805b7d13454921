"""What every loader promises: weights in memory of their own, the same picture wherever they lay, no connection."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import tiny_networks
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_networks import (
    CLIP,
    DINO,
    DINOV3,
    SIGLIP_CFG,
    picture,
    random_state,
    save_tokenizer,
    tiny_clip_state,
    tiny_ddpm,
)
from torch import Tensor, nn

from diffuseit import load_models
from diffuseit.errors import ModelError
from diffuseit.models.clip import load_clip
from diffuseit.models.convert import convert
from diffuseit.models.ddpm_checkpoint import load_ddpm, save_ddpm
from diffuseit.models.load import load_model
from diffuseit.models.vit import load_vit
from diffuseit.pocket.judge import load_judge
from diffuseit.pocket.models import WEIGHTS
from diffuseit.schema import to_json

pytestmark = pytest.mark.numeric

ALIGNMENT = 64
"""Bytes, as torch allocates."""

Loader = Callable[[Path], nn.Module]
FILES: dict[str, tuple[Loader, Path]] = {
    "ddpm": (load_ddpm, WEIGHTS / "unet.safetensors"),
    "vit": (load_vit, WEIGHTS / "vit.safetensors"),
    "clip": (load_clip, WEIGHTS / "clip.safetensors"),
    "judge": (load_judge, WEIGHTS / "judge.safetensors"),
}
KINDS = pytest.mark.parametrize("kind", FILES)


def shifted(source: Path, target: Path, by: int, dtype: torch.dtype = torch.float32) -> Path:
    """A copy of a safetensors file whose metadata is longer by so many characters."""
    with safe_open(source, "pt") as file:
        state = {key: file.get_tensor(key).to(dtype) for key in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    save_file(state, target, metadata | {"note": "x" * by})
    return target


def assert_owned(network: nn.Module) -> None:
    """Each weight begins at an aligned address, in storage that holds nothing else."""
    for name, value in network.state_dict().items():
        assert value.data_ptr() % ALIGNMENT == 0, name
        assert value.untyped_storage().nbytes() == value.nbytes and value.is_contiguous(), name


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_weights_lie_in_aligned_memory_of_their_own(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    loader, source = FILES[kind]
    for by in (0, 8, 30, 56):
        assert_owned(loader(shifted(source, tmp_path / f"{by}.safetensors", by, dtype)))


@pytest.mark.parametrize("old", [False, True])
def test_weights_of_a_pickle_lie_in_memory_of_their_own(old: bool, tmp_path: Path) -> None:
    """As views of one tensor, and in another order of dimensions, as training leaves them."""
    state = dict(tiny_ddpm().unet.state_dict())
    flat = torch.cat([torch.zeros(1), *(value.flatten() for value in state.values())])
    ends = torch.tensor([1, *(value.numel() for value in state.values())]).cumsum(0).tolist()
    views = {
        key: flat[start : start + value.numel()].view(value.shape)
        for (key, value), start in zip(state.items(), ends, strict=False)
    }
    views["out.2.weight"] = views["out.2.weight"].to(memory_format=torch.channels_last)
    torch.save(views, tmp_path / "unet.pt", _use_new_zipfile_serialization=not old)
    network = load_ddpm(tmp_path / "unet.pt", (tiny_networks.UNET, tiny_ddpm().diffusion))
    assert_owned(network.unet)
    assert all(torch.equal(value, state[key]) for key, value in network.unet.state_dict().items())


def answer(kind: str, network: Any) -> Tensor:
    """What a network makes of a picture."""
    image = picture(1, 3, 64, 64)
    if kind == "ddpm":
        return network.predict(image, network.schedule(10), 5).pred_xstart
    if kind == "vit":
        return network(image).keys
    return network.encode_image(image) if kind == "clip" else network.classify(image)


@KINDS
@torch.no_grad()
def test_a_result_does_not_depend_on_the_length_of_the_metadata(kind: str, tmp_path: Path) -> None:
    loader, source = FILES[kind]
    first, *others = (
        answer(kind, loader(shifted(source, tmp_path / f"{by}.safetensors", by))) for by in (0, 1, 8, 30, 56)
    )
    assert all(torch.equal(first, other) for other in others)


@torch.no_grad()
def test_a_converted_file_with_longer_metadata_gives_the_same_pixels(tmp_path: Path) -> None:
    save_ddpm(tiny_ddpm(), tmp_path / "unet.safetensors", torch.float32)
    converted = convert(tmp_path / "unet.safetensors")
    longer = shifted(converted, tmp_path / "longer.safetensors", 30, torch.float16)
    image, index = picture(1, 3, 32, 32), 5
    first, second = (
        model.predict(image, model.schedule(10), index).pred_xstart
        for model in map(load_ddpm, (converted, longer))
    )
    assert torch.equal(first, second)


@KINDS
@torch.no_grad()
def test_a_file_may_go_once_it_is_loaded(kind: str, tmp_path: Path) -> None:
    """A mapped file that is truncated in use would end the process."""
    loader, source = FILES[kind]
    path = shifted(source, tmp_path / "weights.safetensors", 0)
    network = loader(path)
    expected = answer(kind, network)
    os.truncate(path, 0)
    torch.testing.assert_close(answer(kind, network), expected)
    with pytest.raises(ModelError, match="download it again"):
        loader(path)


def test_a_state_dict_stays_its_owners() -> None:
    state = random_state(DINO.build())
    network = load_vit(state, config=DINO)
    state["norm.weight"].zero_()
    assert network.model.norm.weight.abs().min() > 0


# Connections


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Attempts to open a connection or to look up a name. Libraries may swallow the error."""
    made: list[str] = []

    def refuse(name: str) -> Callable[..., None]:
        def refused(*arguments: object, **_: object) -> None:
            made.append(f"{name}{arguments}")
            raise OSError("no connections")

        return refused

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse(name))
    return made


@pytest.mark.slow
def test_loading_opens_no_connection(
    attempts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-siglip", SIGLIP_CFG)
    monkeypatch.setenv("HF_ENDPOINT", "https://example.com")
    load_models("pocket")
    for loader, path in FILES.values():
        loader(path)
    torch.save(tiny_clip_state(), tmp_path / "openai.pt")
    load_clip(tmp_path / "openai.pt").encode_prompt("a lion")
    torch.save({"teacher": random_state(DINO.build())}, tmp_path / "dino.pth")
    load_vit(tmp_path / "dino.pth", num_heads=1)
    load_vit(random_state(DINOV3.build()), config=DINOV3)
    siglip = replace(CLIP, model_cfg="tiny-siglip")
    save_file(
        random_state(siglip.build()), tmp_path / "siglip.safetensors", {"config": json.dumps(to_json(siglip))}
    )
    with pytest.raises(ModelError, match="tokenizer"):
        load_clip(tmp_path / "siglip.safetensors")
    save_tokenizer(tmp_path)
    load_clip(tmp_path / "siglip.safetensors").encode_prompt("a lion")
    convert(tmp_path / "openai.pt")
    for name in ("adm256-uncond", "dino-b8", "clip-b32", "siglip2-b16-256"):
        with pytest.raises(ModelError, match="is not in"):
            load_model(name, tmp_path)
    assert attempts == []
