"""Converted checkpoints are smaller, carry their configuration, and compute the same."""

import json
from pathlib import Path

import pytest
import torch
from parity_data import relative_error
from published import timm_state, zeros
from safetensors import safe_open
from tiny_networks import CLIP, DINO, DINOV2, DINOV3, UNET, picture, random_state, tiny_clip_state, tiny_ddpm
from torch import Tensor
from typer.testing import CliRunner

from diffuseit import load_models
from diffuseit.cli import app
from diffuseit.errors import InputError, ModelError
from diffuseit.models.checkpoint import signature
from diffuseit.models.clip import load_clip
from diffuseit.models.convert import convert, save_features
from diffuseit.models.ddpm_checkpoint import load_ddpm, save_ddpm
from diffuseit.models.load import load_model
from diffuseit.models.vit import load_vit
from diffuseit.schema import to_json

# Largest difference, as a part of the largest value, that rounding the weights to half precision may make.
TOLERANCE = {"fp16": 2e-3, "bf16": 2e-2}
PRECISIONS = pytest.mark.parametrize("precision", TOLERANCE)


def dtypes(path: Path) -> set[tuple[bool, str]]:
    """(is a matrix, dtype) of all tensors in a file."""
    with safe_open(path, "pt") as file:
        tensors = [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118
    return {(value.ndim > 1, str(value.dtype)) for value in tensors if value.is_floating_point()}


def close(found: Tensor, expected: Tensor, precision: str) -> bool:
    return 0 < relative_error(found, expected) < TOLERANCE[precision]


@PRECISIONS
def test_diffusion_model(precision: str, tmp_path: Path) -> None:
    model = tiny_ddpm()
    save_ddpm(model, tmp_path / "unet.safetensors", torch.float32)
    path = convert(tmp_path / "unet.safetensors", precision=precision)
    assert path == tmp_path / f"unet-{precision}.safetensors"
    assert path.stat().st_size < 0.6 * (tmp_path / "unet.safetensors").stat().st_size
    converted = load_ddpm(path)
    assert converted.unet.config == UNET and converted.diffusion == model.diffusion
    x, schedule = picture(2, 3, 32, 32), model.schedule("20")
    for index in (2, 10, 18):
        found, expected = (network.predict(x, schedule, index) for network in (converted, model))
        assert close(found.pred_xstart, expected.pred_xstart, precision)
        assert close(found.mean, expected.mean, precision)


@PRECISIONS
@pytest.mark.parametrize("config", [DINO, DINOV2, DINOV3], ids=["dino", "dinov2", "dinov3"])
def test_vision_transformer(config, precision: str, tmp_path: Path) -> None:
    torch.save({"teacher": random_state(config.build())}, tmp_path / "vit.pth")
    original = load_vit(random_state(config.build()), config=config)
    save_features(original.model, config, tmp_path / "vit.safetensors", torch.float32)
    path = convert(tmp_path / "vit.safetensors", tmp_path / "new" / "half.safetensors", precision)
    converted = load_vit(path)
    assert converted.config == config
    half = {"fp16": "torch.float16", "bf16": "torch.bfloat16"}[precision]
    assert dtypes(path) == {(True, half), (False, "torch.float32")}
    image = picture(1, 3, config.input_size, config.input_size)
    found, expected = converted(image), original(image)
    assert close(found.keys, expected.keys, precision)
    assert close(found.cls, expected.cls, precision)


@PRECISIONS
def test_clip(precision: str, tmp_path: Path) -> None:
    """From OpenAI's layout, and from open_clip's with the architecture's name."""
    torch.save(tiny_clip_state(), tmp_path / "clip.pt")
    original = load_clip(tmp_path / "clip.pt")
    named = load_clip(tiny_clip_state(), config=CLIP)
    save_features(named.model, CLIP, tmp_path / "named.safetensors", torch.float32)
    for name in ("clip.pt", "named.safetensors"):
        converted = load_clip(convert(tmp_path / name, precision=precision))
        image = picture(1, 3, 40, 40)
        assert close(converted.encode_image(image), original.encode_image(image), precision)
        assert close(converted.encode_prompt("a lion"), original.encode_prompt("a lion"), precision)
    assert converted.config == CLIP


def test_a_name_of_the_catalog(tmp_path: Path) -> None:
    """The converted file stands in for the original, which can then be deleted."""
    original = tmp_path / "dino_deitsmall16_pretrain.pth"
    state = zeros(signature(timm_state("dino-s16")))
    torch.save({key: value.contiguous() for key, value in state.items()}, original)
    result = CliRunner().invoke(app, ["models", "convert", "dino-s16", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert "dino-s16-fp16.safetensors (43 MB)" in result.stdout
    original.unlink()
    assert load_model("dino-s16", tmp_path).config.embed_dim == 384
    result = CliRunner().invoke(app, ["models", "verify", "--folder", str(tmp_path)])
    assert result.exit_code == 0 and "dino-s16  right" in result.stdout
    converted = tmp_path / "dino-s16-fp16.safetensors"
    converted.write_bytes(converted.read_bytes()[:-100])
    result = CliRunner().invoke(app, ["models", "verify", "--folder", str(tmp_path)])
    assert result.exit_code == 2 and "delete and download again" in result.stderr


def test_refusals(tmp_path: Path) -> None:
    torch.save(tiny_clip_state(), tmp_path / "clip.pt")
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        convert(tmp_path / "clip.pt", tmp_path / "clip.bin")
    torch.save({"vision_model.embeddings.class_embedding": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="cannot be converted"):
        convert(tmp_path / "other.pt")
    save_features(load_clip(tmp_path / "clip.pt").model, CLIP, tmp_path / "a.safetensors", torch.float32)
    with pytest.raises(InputError, match="is the source itself"):
        convert(tmp_path / "a.safetensors", tmp_path / "a.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        convert(tmp_path / "clip.pt", tmp_path / "file" / "x.safetensors")
    huge = {**tiny_clip_state(), "visual.conv1.weight": torch.full((64, 3, 8, 8), 1e6)}
    torch.save(huge, tmp_path / "huge.pt")
    with pytest.raises(InputError, match=r"conv1\.weight has values that are not finite.*bf16"):
        convert(tmp_path / "huge.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.safetensors",
        "clip.pt",
        "file",
        "huge.pt",
        "other.pt",
    ]


def test_metadata_says_what_the_file_is(tmp_path: Path) -> None:
    save_features(DINO.build(), DINO, tmp_path / "vit.safetensors", torch.float16)
    with safe_open(tmp_path / "vit.safetensors", "pt") as file:
        assert json.loads(file.metadata()["config"]) == to_json(DINO)


def test_bundles_come_from_local_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing files are an error that says how to get them; nothing is asked of any server."""
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"`diffuseit models download paper` \(6\.0 GB\).*dino_vitbase8"):
        load_models("paper")
    with pytest.raises(ModelError, match="use 'pocket'"):
        load_models("papers")


def test_a_bundle_is_loaded_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle's structure with networks of reduced width in the places of its own."""
    from diffuseit.models import bundle
    from diffuseit.models.hub.catalog import members

    small = {"ddpm": tiny_ddpm(), "vit": load_vit(random_state(DINO.build()), config=DINO)}
    small["clip"] = load_clip(tiny_clip_state())
    asked = []

    def load_entry(entry, path: Path, **options):
        asked.append(path)
        return small[entry.kind]

    monkeypatch.setattr(bundle, "load_entry", load_entry)
    for entry in members("paper"):
        (tmp_path / entry.file).write_bytes(b"weights")
    models = load_models("paper", tmp_path)
    assert (models.ddpm, models.vit) == (small["ddpm"], small["vit"])
    assert len(models.clip) == 5
    assert (models.text_preset, models.image_preset) == ("official-text", "official-image")
    assert asked == [tmp_path / entry.file for entry in members("paper")]
