"""Feature networks beyond the paper's: DINOv2, DINOv3 and SigLIP 2, at reduced width, against timm and open_clip."""

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file
from timm.models import eva, vision_transformer
from tiny_networks import (
    CLIP,
    DINO,
    DINOV2,
    DINOV3,
    SIGLIP_CFG,
    picture,
    random_state,
    save_tokenizer,
    tiny_clip_state,
)
from torch import Tensor, nn

from diffuseit.errors import ModelError
from diffuseit.models.clip import CLIPEnsemble, load_clip
from diffuseit.models.clip_config import CLIPConfig
from diffuseit.models.crops import draw_crops
from diffuseit.models.vit import ViT, load_vit
from diffuseit.schema import from_json, to_json

pytestmark = pytest.mark.numeric

REGISTERS = replace(DINOV2, reg_tokens=4, no_embed_class=True, position_offset=0.0, position_antialias=True)
CONFIGS = {"dinov2": DINOV2, "dinov2-reg": REGISTERS, "dinov3": DINOV3}


def timms_own(vit: ViT, image: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """Keys of a layer and the last [CLS], from timm's own forward pass."""
    keys = []
    attention = vit.model.blocks[layer].attn
    handle = attention.register_forward_pre_hook(lambda _module, inputs: keys.append(inputs[0]))
    tokens = vit.model.forward_intermediates(
        vit.preprocess(image),
        indices=1,
        return_prefix_tokens=True,
        norm=False,
        intermediates_only=True,
        output_fmt="NLC",
    )
    handle.remove()
    (_, prefix) = tokens[-1]
    width = keys[0].shape[-1]
    bias = None if attention.qkv.bias is None else attention.qkv.bias[width : 2 * width]
    return nn.functional.linear(keys[0], attention.qkv.weight[width : 2 * width], bias), prefix[:, 0]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layer", [0, 2])
def test_features_are_timms_own(name: str, layer: int) -> None:
    config = CONFIGS[name]
    vit = load_vit(random_state(config.build()), config=config, layer=layer)
    image = picture(2, 3, config.input_size, config.input_size)
    found = vit(image)
    keys, cls = timms_own(vit, image, layer)
    torch.testing.assert_close(found.keys, keys)
    torch.testing.assert_close(found.cls, cls)
    assert found.keys.shape[1] == 1 + config.reg_tokens + (config.image_size // config.patch_size) ** 2


def test_rotary_positions_of_other_sizes_are_timms() -> None:
    vit = load_vit(random_state(DINOV3.build()), config=DINOV3)
    image = picture(1, 3, 64, 96)
    assert vit.preprocess(image).shape[-2:] == (64, 96)
    keys, cls = timms_own(vit, image, 2)
    found = vit(image)
    torch.testing.assert_close(found.keys, keys)
    torch.testing.assert_close(found.cls, cls)
    turned = vit(image.flip(-1)).cls
    assert not torch.allclose(found.cls, turned, rtol=1e-2)  # positions matter


def test_learned_positions_of_other_sizes() -> None:
    """With registers as DINOv2's code does it: to the size itself, with antialias."""
    vit = load_vit(random_state(REGISTERS.build()), config=REGISTERS)
    learned = vit.model.pos_embed
    grid = learned.unflatten(1, (5, 5)).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(grid, size=(3, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(vit.position_embedding(42, 56), expected.flatten(2).transpose(1, 2))
    torch.testing.assert_close(vit.position_embedding(70, 70), learned)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_the_picture(name: str) -> None:
    config = CONFIGS[name]
    vit = load_vit(random_state(config.build()), config=config, layer=1).double()
    image = picture(1, 3, config.input_size, config.input_size).double().requires_grad_()

    def objective(x: Tensor) -> Tensor:
        found = vit(x)
        return found.keys.square().mean() + found.cls.square().mean()

    (gradient,) = torch.autograd.grad(objective(image), image)
    direction = picture(*image.shape, seed=1).double()
    with torch.no_grad():
        numeric = (objective(image + 1e-5 * direction) - objective(image - 1e-5 * direction)) / 2e-5
    # timm computes rotary positions in float32 whatever the network's precision
    torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-4, atol=0)


def test_eva_biases_count(tmp_path: Path) -> None:
    """timm's "qkvb" files keep biases of queries and values apart; those of keys are zero."""
    reference = eva.Eva(
        img_size=64,
        patch_size=16,
        embed_dim=64,
        depth=3,
        num_heads=2,
        qkv_bias=True,
        num_classes=0,
        init_values=1.0,
        num_reg_tokens=4,
        dynamic_img_size=True,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type="dinov3",
        rope_temperature=100.0,
        rope_rotate_half=True,
        use_fc_norm=False,
        norm_layer=lambda width, **options: nn.LayerNorm(width, eps=1e-5, **options),
    )
    reference.load_state_dict(random_state(reference))
    vit = load_vit(reference.state_dict(), num_heads=2, input_size=64)
    image = picture(1, 3, 64, 64)
    with torch.no_grad():
        expected = reference.eval().forward_intermediates(
            vit.preprocess(image), return_prefix_tokens=True, intermediates_only=True, output_fmt="NLC"
        )
    torch.testing.assert_close(vit(image).cls, expected[-1][1][:, 0])
    assert vit.config.qkv_bias


def test_facebooks_layouts_are_converted_as_timm_does() -> None:
    registers = random_state(REGISTERS.build())
    registers["register_tokens"] = registers.pop("reg_token")
    registers["pos_embed"] = torch.cat([torch.randn(1, 1, 64), registers["pos_embed"]], dim=1)
    registers["mask_token"] = torch.zeros(1, 64)
    expected = vision_transformer.checkpoint_filter_fn(dict(registers), REGISTERS.build())
    found = load_vit(registers, config=REGISTERS).model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())

    state = random_state(DINOV3.build())
    state["storage_tokens"] = state.pop("reg_token")
    for i in range(3):
        for number in "12":
            state[f"blocks.{i}.ls{number}.gamma"] = state.pop(f"blocks.{i}.gamma_{number}")
    expected = eva.checkpoint_filter_fn({**state, "rope_embed.periods": torch.ones(8)}, DINOV3.build())
    found = load_vit(state, config=DINOV3).model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_biases_of_zero_are_no_other_network() -> None:
    """timm's "qkvb" variants and Facebook's own files of DINOv3 have them."""
    state = random_state(DINOV3.build())
    zeros = {f"blocks.{i}.attn.qkv.bias": torch.zeros(192) for i in range(3)}
    image = picture(1, 3, 64, 64)
    with_zeros, without = (load_vit(each, config=DINOV3)(image) for each in ({**state, **zeros}, state))
    torch.testing.assert_close(with_zeros.keys, without.keys)
    with pytest.raises(ModelError, match="unexpected"):
        load_vit({**state, "blocks.0.attn.qkv.bias": torch.ones(192)}, config=DINOV3)


def test_gated_layers_are_refused() -> None:
    state = random_state(DINO.build())
    state = {key.replace("mlp.fc1", "mlp.w12"): value for key, value in state.items()}
    with pytest.raises(ModelError, match="SwiGLU"):
        load_vit(state)


@pytest.fixture
def siglip(monkeypatch: pytest.MonkeyPatch) -> CLIPConfig:
    """An architecture that open_clip knows."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-siglip", SIGLIP_CFG)
    half = (0.5, 0.5, 0.5)
    return CLIPConfig(name="tiny", model_cfg="tiny-siglip", mean=half, std=half, resize="squash")


def save_siglip(config: CLIPConfig, folder: Path) -> Path:
    path = folder / "tiny.safetensors"
    save_file(random_state(config.build()), path, {"config": json.dumps(to_json(config))})
    return path


def test_siglip_with_its_tokenizer(tmp_path: Path, siglip: CLIPConfig) -> None:
    save_tokenizer(tmp_path)
    clip = load_clip(save_siglip(siglip, tmp_path))
    # Lower case, no punctuation, an end mark, padded to the context; a long text keeps its end mark.
    assert clip.tokenizer(["A photo, of a LION!"]).tolist() == [[4, 5, 6, 4, 7, 1, 0, 0]]
    assert clip.tokenizer(["of " * 20]).tolist() == [[6] * 7 + [1]]
    assert clip.encode_prompt("lion").shape == (32,)
    image = picture(2, 3, 48, 64)
    # (x / 2 + 1 / 2 - 1 / 2) / (1 / 2)
    expected = nn.functional.interpolate(image, (32, 32), mode="bilinear")
    torch.testing.assert_close(
        clip.encode_image(image)[:, 0], clip.model.encode_image(expected, normalize=True)
    )


def test_an_ensemble_of_different_networks(tmp_path: Path, siglip: CLIPConfig) -> None:
    """Each sees the same crops at its own size, and reads the prompt with its own tokenizer."""
    save_tokenizer(tmp_path)
    ensemble = CLIPEnsemble([load_clip(tiny_clip_state()), load_clip(save_siglip(siglip, tmp_path))])
    image = picture(1, 3, 40, 40)
    crops = draw_crops([torch.Generator().manual_seed(0)], 3, (40, 40))
    assert [clip(image, crops).shape[-1] for clip in ensemble] == [16, 32]
    assert [clip.encode_prompt("lion").shape[0] for clip in ensemble] == [16, 32]


def test_tokenizers_that_cannot_be_used(tmp_path: Path, siglip: CLIPConfig) -> None:
    path = save_siglip(siglip, tmp_path)
    with pytest.raises(
        ModelError, match=r"tokenizer\.json.*timm/ViT-B-16-SigLIP2-256.*SigLIP2-256-tokenizer"
    ):
        load_clip(path)
    home = save_tokenizer(tmp_path)
    whole = (home / "tokenizer.json").read_text()
    for text, message in (
        ("", "is damaged"),
        ("{}", "is damaged"),
        ("[" * 100_000, "is damaged"),
        (whole[:-100], "is damaged"),
        (whole.replace("<eos>", "<end>"), "marks no end"),
    ):
        (home / "tokenizer.json").write_text(text)
        with pytest.raises(ModelError, match=message) as caught:
            load_clip(path)
        assert str(caught.value).isprintable()
    # A panic of the library, which is no Exception.
    regex = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    (home / "tokenizer.json").write_text(json.dumps(json.loads(whole) | {"pre_tokenizer": regex}))
    with pytest.raises(ModelError, match="is damaged"):
        load_clip(path).encode_text([30 * "a" + " b"])
    (home / "tokenizer.json").write_text(whole.replace('"lion": 7', '"lion": 700'))
    with pytest.raises(ModelError, match="more words than the 12"):
        load_clip(path).encode_prompt("lion")


@pytest.mark.parametrize(
    ("end", "padding"), [("<eos>", "<pad>"), ("</s>", "</s>")], ids=["SigLIP 2", "SigLIP"]
)
def test_the_reference_reads_prompts_alike(
    end: str, padding: str, tmp_path: Path, siglip: CLIPConfig
) -> None:
    """open_clip's own model and tokenizer, given the same files, embed a prompt as ours does."""
    home = save_tokenizer(tmp_path, end, padding)
    clip = load_clip(save_siglip(siglip, tmp_path))
    cfg = {key: value for key, value in SIGLIP_CFG.items() if key != "custom_text"}
    reference = open_clip.CustomTextCLIP(**cfg)
    reference.load_state_dict(random_state(siglip.build()), strict=True)
    tokenizer = HFTokenizer(str(home), context_length=8, clean="canonicalize")
    texts = ["a photo of a leopard", "Lion, lion! A lion of lion, a photo of a lion", ""]
    assert torch.equal(clip.tokenizer(texts), tokenizer(texts))
    with torch.no_grad():
        expected = reference.eval().encode_text(tokenizer(texts))
    torch.testing.assert_close(clip.encode_text(texts), expected)


def test_config_round_trip(siglip: CLIPConfig) -> None:
    for config in (siglip, CLIP, DINOV3):
        assert from_json(type(config), json.loads(json.dumps(to_json(config))), "config") == config
