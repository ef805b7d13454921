"""Each row of the catalog at full width: its configuration makes exactly the checkpoint's keys and shapes.

The references are other people's: guided-diffusion's U-Net, timm's and open_clip's registered models. All on the
meta device, where a network of any size costs nothing.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from guided_diffusion.script_util import create_model
from published import timm_name, timm_state, zeros
from safetensors.torch import save_file
from tiny_networks import CLIP, tiny_clip_state
from torch import Tensor

from diffuseit.errors import ModelError
from diffuseit.models.checkpoint import misfit, signature
from diffuseit.models.clip import load_clip
from diffuseit.models.clip_config import clip_config, infer_clip
from diffuseit.models.configs import CONFIGS
from diffuseit.models.ddpm_checkpoint import load_ddpm, unet_signature
from diffuseit.models.hub.catalog import catalog, entry_named
from diffuseit.models.load import LAYOUTS, load_model
from diffuseit.models.vit import ViTConfig, infer_config, load_vit, to_timm
from diffuseit.schema import from_json

NAMES = {kind: [name for name, entry in catalog().items() if entry.kind == kind] for kind in LAYOUTS}


def of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", NAMES[kind])


def vit_config(name: str) -> ViTConfig:
    return from_json(ViTConfig, entry_named(name).config, name)


@of("ddpm")
def test_diffusion_models(name: str) -> None:
    entry = entry_named(name)
    found = unet_signature(CONFIGS[entry.config][0])
    assert sum(map(prod, found.values())) == entry.parameters
    flags = {"p2": (128, 1, "16"), "ffhq": (128, 1, "16")}.get(name.split("-")[0], (256, 2, "32,16,8"))
    size = 512 if "512" in name else 256
    with torch.device("meta"):
        reference = create_model(
            image_size=size,
            num_channels=flags[0],
            num_res_blocks=flags[1],
            attention_resolutions=flags[2],
            num_head_channels=64,
            class_cond=name.endswith("-class"),
            learn_sigma=True,
            use_scale_shift_norm=True,
            resblock_updown=True,
        )
    assert misfit(found, signature(reference.state_dict())) is None


@of("vit")
def test_vision_transformers(name: str) -> None:
    entry = entry_named(name)
    config = vit_config(name)
    with torch.device("meta"):
        found = signature(config.build().state_dict())
    assert misfit(found, signature(timm_state(name))) is None
    assert sum(map(prod, found.values())) == entry.parameters
    # And the file alone tells as much, but for the size of DINOv3's training pictures.
    assert infer_config(timm_state(name)) == config


@of("vit")
def test_vision_transformers_know_how_pictures_were_normalized(name: str) -> None:
    config, published = (
        vit_config(name),
        timm.get_pretrained_cfg(timm_name(name)),
    )
    assert (config.mean, config.std) == (published.mean, published.std)
    assert published.input_size[-1] == config.image_size


@of("clip")
def test_clips(name: str) -> None:
    entry = entry_named(name)
    config = clip_config(**entry.config)
    with torch.device("meta"):
        found = signature(config.build().state_dict())
        reference = open_clip.create_model(entry.config["architecture"], load_weights=False, device="meta")
    assert misfit(found, signature(reference.state_dict())) is None
    assert sum(map(prod, found.values())) == entry.parameters


@of("clip")
def test_clips_are_those_open_clip_would_download(name: str) -> None:
    """Repository, activation, normalization, tokenizer."""
    entry = entry_named(name)
    architecture, tag = entry.config["architecture"], entry.config["tag"]
    published = open_clip.get_pretrained_cfg(architecture, tag)
    config = clip_config(architecture, tag)
    assert published["hf_hub"].rstrip("/") == entry.hub.repo
    assert bool(published.get("quick_gelu")) == bool(config.quick_gelu)
    assert (config.mean, config.std) == (tuple(published["mean"]), tuple(published["std"]))
    assert config.resize == published.get("resize_mode", "shortest")
    assert (config.tokenizer_repo == entry.hub.repo) == bool(entry.tokenizer)


@pytest.mark.parametrize(
    "name", ["RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B-32", "ViT-B-16", "ViT-L-14"]
)
def test_openais_own_files(name: str) -> None:
    """Their shapes alone tell what they are."""
    with torch.device("meta"):
        reference = open_clip.create_model(f"{name}-quickgelu", load_weights=False, device="meta")
        found = infer_clip(reference.state_dict(), name).build()
    assert misfit(signature(found.state_dict()), signature(reference.state_dict())) is None
    assert found.visual.image_size == reference.visual.image_size

    def heads(network: torch.nn.Module) -> list[int]:
        return [m.num_heads for m in network.modules() if hasattr(m, "num_heads")]

    assert heads(found) == heads(reference) and heads(found)


def facebook(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's keys and shapes as Facebook's own files of that network have them."""
    state = dict(state)
    width = state["cls_token"].shape[-1]
    state["mask_token"] = torch.zeros(1, width, device=state["cls_token"].device)
    if name.startswith("dino-"):
        del state["mask_token"]
    if "reg" in name:
        state["register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = torch.cat([state["cls_token"], state["pos_embed"]], dim=1)
    if name.startswith("dinov3"):
        state["storage_tokens"] = state.pop("reg_token")
        state["rope_embed.periods"] = torch.zeros(16, device="meta")
        for i in range(1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))):
            for number in "12":
                state[f"blocks.{i}.ls{number}.gamma"] = state.pop(f"blocks.{i}.gamma_{number}")
            state[f"blocks.{i}.attn.qkv.bias"] = torch.zeros(3 * width, device="meta")
            state[f"blocks.{i}.attn.qkv.bias_mask"] = torch.zeros(3 * width, device="meta")
    return state


@of("vit")
def test_facebooks_own_files(name: str) -> None:
    state = to_timm(facebook(name, timm_state(name)))
    config = infer_config(state)
    with torch.device("meta"):
        assert misfit(signature(state), signature(config.build().state_dict())) is None
    assert config.rope_temperature == vit_config(name).rope_temperature


@pytest.mark.parametrize("name", ["dino-s16", "dinov2-s14-reg", "dinov3-s16"])
def test_a_file_at_full_width_loads_by_its_name(name: str, tmp_path: Path) -> None:
    entry = entry_named(name)
    state = {key: value.contiguous() for key, value in zeros(signature(timm_state(name))).items()}
    if entry.file.endswith("safetensors"):
        save_file(state, tmp_path / entry.file)
    else:
        torch.save(state, tmp_path / entry.file)
    vit = load_model(name, tmp_path, layer=5)
    grid = 224 // vit.config.patch_size
    features = vit(torch.zeros(1, 3, 224, 224))
    assert features.keys.shape == (1, 1 + vit.config.reg_tokens + grid**2, 384)


SMALL_VIT = zeros(signature(timm_state("dino-s16")))
FILES = {
    "a U-Net": (zeros(unet_signature(CONFIGS["ffhq-p2"][0])), "ADM U-Net", "the DDPM loader"),
    "a ViT": (SMALL_VIT, "vision transformer", "the ViT loader"),
    "a CLIP": (tiny_clip_state(), "CLIP", "the CLIP loader"),
    "diffusers": ({"down_blocks.0.resnets.0.conv1.weight": torch.ones(1)}, "U-Net of diffusers", ""),
    "transformers": ({"vision_model.embeddings.class_embedding": torch.ones(1)}, "open_clip's file", ""),
    "transformers' ViT": ({"embeddings.patch_embeddings.weight": torch.ones(1)}, "timm's or Facebook's", ""),
    "Stable Diffusion": ({"model.diffusion_model.out.0.weight": torch.ones(1)}, "Stable Diffusion", ""),
    "something else": ({"layer.weight": torch.ones(1)}, "layer.weight", ""),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("loader", "name"),
    [(load_ddpm, "the DDPM loader"), (load_vit, "the ViT loader"), (load_clip, "the CLIP loader")],
)
def test_wrong_kinds_are_named_with_their_loader(loader, name: str, file: str) -> None:
    state, what, right = FILES[file]
    if right == name:
        return
    with pytest.raises(ModelError) as caught:
        loader(state)
    assert what in str(caught.value) and right in str(caught.value)


def change(state: dict[str, Tensor], key: str, fault: str) -> dict[str, Tensor]:
    state = dict(state)
    if fault == "missing":
        del state[key]
    elif fault == "unexpected":
        state[f"{key}_of_another"] = state[key]
    else:
        state[key] = torch.cat([state[key]] * 2)
    return state


@pytest.mark.parametrize("fault", ["missing", "unexpected", "of another shape"])
def test_wrong_keys_and_shapes(fault: str) -> None:
    small = ViTConfig(embed_dim=32, depth=1, num_heads=2, patch_size=4, image_size=16)
    cases = [
        (load_vit, small.build().state_dict(), "blocks.0.norm1.weight", small),
        (load_clip, tiny_clip_state(), "ln_final.weight", CLIP),
    ]
    for loader, state, key, config in cases:
        with pytest.raises(ModelError) as caught:
            loader(change(state, key, fault), config=config)
        assert f"1 {fault} ({key}" in str(caught.value)


def test_another_width_of_the_right_kind() -> None:
    with pytest.raises(ModelError, match=r"does not fit.*of another shape.*cls_token is \[1, 1, 384\], not"):
        load_vit(SMALL_VIT, config=vit_config("dino-b16"))
