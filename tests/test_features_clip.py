"""CLIP embeddings, prompts and directions against the official code; loaders and their errors."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import open_clip
import pytest
import tiny_networks
import torch
from parity_data import (
    GRADIENT,
    VALUE,
    clips,
    loss_sets,
    matched,
    parity_set,
    relative_error,
    tensors,
    weights,
)
from safetensors.torch import save_file

from diffuseit.errors import InputError, ModelError
from diffuseit.losses.text_style import target_direction
from diffuseit.models.clip import CLIP, CLIPEnsemble, load_clip
from diffuseit.models.clip_config import clip_config, resolve_architecture
from diffuseit.models.crops import draw_crops
from diffuseit.models.templates import TEMPLATES, fill_templates
from diffuseit.schema import to_json

pytestmark = pytest.mark.numeric

TINY = replace(tiny_networks.CLIP, mean=(0.5,) * 3, std=(0.5,) * 3)
NAMES = list(parity_set().config["clip"])
RECORDED_LOSSES = [
    (name, prefix)
    for name in loss_sets()
    for prefix in ("", "aa_")
    if f"{prefix}clip" in parity_set().config["losses"][name]
]
NETWORKS = [(name, clip) for name in loss_sets() for clip in NAMES]


def network(name: str, antialias: bool = False) -> CLIP:
    return next(clip for clip in clips(antialias) if clip.name == name)


def direction(clip: CLIP, source_picture: torch.Tensor) -> torch.Tensor:
    config = parity_set().config
    e_target, e_source = clip.encode_prompt(config["prompt"]), clip.encode_prompt(config["source"])
    return target_direction(e_target, e_source, clip.encode_image(source_picture)[:, 0])


def test_templates() -> None:
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 79
    assert all(template.count("{}") == 1 for template in TEMPLATES)
    assert "a photo of many {}." not in TEMPLATES
    assert fill_templates("{x}")[0] == TEMPLATES[0].replace("{}", "{x}")


@pytest.mark.parametrize(
    "name", [name for name in loss_sets() if "tokens/prompt" in tensors(f"losses_{name}")]
)
def test_tokens(name: str) -> None:
    data = tensors(f"losses_{name}")
    for key in ("prompt", "source"):
        tokens = clips().models[0].tokenizer(fill_templates(parity_set().config[key]))
        # The official list has the same sentences in another order.
        assert sorted(tokens.tolist()) == sorted(data[f"tokens/{key}"].tolist())


@pytest.mark.parametrize(("name", "clip"), NETWORKS)
def test_prompts_and_pictures(name: str, clip: str) -> None:
    data = tensors(f"losses_{name}")
    recorded = {key.removeprefix(f"clip/{clip}/"): value.squeeze() for key, value in data.items()}
    ours, config = network(clip), parity_set().config
    assert relative_error(ours.encode_prompt(config["prompt"]), recorded["E_T"]) < VALUE
    assert relative_error(ours.encode_prompt(config["source"]), recorded["E_S"]) < VALUE
    assert relative_error(ours.encode_image(data["source"])[0, 0], recorded["E_I0"]) < VALUE
    assert relative_error(ours.encode_image(data["x"])[0, 0], recorded["pred_x"]) < VALUE
    assert relative_error(direction(ours, data["source"])[0], recorded["tgt"]) < VALUE


@pytest.mark.parametrize(("name", "prefix"), RECORDED_LOSSES)
def test_loss_value_and_gradient(name: str, prefix: str) -> None:
    """Minus the mean similarity to the direction over the networks, and its gradient at the picture."""
    scalars = parity_set().config["losses"][name]
    data = tensors(f"losses_{name}")
    x = data["x"].clone().requires_grad_()
    values = []
    for clip in clips(antialias=prefix == "aa_"):
        embedding, target = clip.encode_image(x)[0, 0], direction(clip, data["source"])[0]
        recorded = {key.removeprefix(f"{prefix}clip/{clip.name}/"): value for key, value in data.items()}
        assert relative_error(embedding.detach(), recorded["pred_x"]) < VALUE
        assert relative_error(target, recorded["tgt"][0]) < VALUE
        values.append(-(embedding @ target))
        assert values[-1].item() == pytest.approx(scalars[f"{prefix}clip:{clip.name}"], rel=VALUE)
    value = torch.stack(values).mean()
    assert value.item() == pytest.approx(scalars[f"{prefix}clip"]["value"], rel=VALUE)
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.norm().item() == pytest.approx(scalars[f"{prefix}clip"]["grad_norm"], rel=GRADIENT)
    assert relative_error(*matched(data, f"grad/{prefix}clip", gradient)) < GRADIENT


def test_direction_without_parts_and_of_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    t, s, i = (torch.nn.functional.normalize(torch.randn(8, generator=generator), dim=0) for _ in range(3))
    torch.testing.assert_close(target_direction(t, None, None), t)
    torch.testing.assert_close(target_direction(t, s, i, 0, 0), t)
    full = t - 0.4 * s + 0.2 * torch.stack([i, -i])[0]
    torch.testing.assert_close(target_direction(t, s, torch.stack([i, -i]))[0], full / full.norm())
    without_source = target_direction(t, None, i)
    torch.testing.assert_close(without_source, (t + 0.2 * i) / (t + 0.2 * i).norm())
    assert target_direction(t, t, None, lambda_s=1).abs().max() == 0  # zero, not NaN


def test_one_call_encodes_all_crops_of_a_batch() -> None:
    clip = load_clip(tiny_state(), name="tiny")
    calls = []
    clip.model.visual.register_forward_hook(lambda *_: calls.append(1))
    generator = torch.Generator().manual_seed(0)
    images = 2 * torch.rand(2, 3, 40, 50, generator=generator) - 1
    crops = draw_crops([torch.Generator().manual_seed(seed) for seed in (1, 2)], 3, (40, 50))
    embeddings = clip(images, crops)
    assert len(calls) == 1
    assert embeddings.shape == (2, 3, 16)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(2, 3))
    alone = clip(images[1:], draw_crops([torch.Generator().manual_seed(2)], 3, (40, 50)))
    torch.testing.assert_close(embeddings[1:], alone)
    assert clip(images).shape == (2, 1, 16)
    assert all(not parameter.requires_grad for parameter in clip.parameters())


def test_ensemble() -> None:
    ensemble = clips()
    assert isinstance(ensemble.models, list)
    assert [clip.name for clip in ensemble] == NAMES
    assert len(ensemble) == len(NAMES)
    with pytest.raises(InputError, match="at least one"):
        CLIPEnsemble([])


def test_prompts_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match="prompt is empty"):
        clips().models[0].encode_prompt("  ")
    with pytest.raises(InputError, match="1000000 characters"):
        clips().models[0].encode_prompt("a" * 1_000_000)


def tiny_state(seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TINY.build().state_dict()


def test_own_config_travels_in_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    save_file(
        {key: value.half() for key, value in tiny_state().items()},
        path,
        {"config": json.dumps(to_json(TINY))},
    )
    clip = load_clip(path)
    assert (clip.name, clip.image_size) == ("tiny", 32)
    assert clip.mean.flatten().tolist() == [0.5] * 3
    assert clip.tokenizer(["a lion"]).shape == (1, 20)
    assert next(clip.parameters()).dtype == torch.float32
    assert clip.encode_prompt("a lion").shape == (16,)
    reference = TINY.build()
    reference.load_state_dict({key: value.half() for key, value in tiny_state().items()})
    picture = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    expected = reference.eval().encode_image(picture, normalize=True)
    torch.testing.assert_close(clip.encode_image(picture)[:, 0], expected)


def test_float32_weights_in_openais_layout_are_kept(tmp_path: Path) -> None:
    state = tiny_state()
    clip = load_clip(state, name="x")
    assert torch.equal(clip.model.visual.conv1.weight, state["visual.conv1.weight"])
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "tiny.pt")
    from_file = load_clip(tmp_path / "tiny.pt")
    assert from_file.name == "tiny"
    assert torch.equal(from_file.model.text_projection, state["text_projection"])
    picture = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    assert not torch.allclose(
        clip.encode_image(picture), load_clip(state, quick_gelu=False).encode_image(picture), atol=1e-6
    )


def test_an_architecture_of_open_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "diffuseit-tiny", asdict(TINY.model_cfg))
    torch.save(tiny_state(), tmp_path / "weights.pt")
    clip = load_clip(tmp_path / "weights.pt", config=clip_config("diffuseit-tiny"))
    assert torch.equal(clip.model.text_projection, tiny_state()["text_projection"])
    assert clip.tokenizer(["a lion"]).shape == (1, 20)
    with pytest.raises(InputError, match=r"no weights 'nonsense' of diffuseit-tiny; its tags: none"):
        clip_config("diffuseit-tiny", "nonsense")
    torch.save(weights("dino"), tmp_path / "dino.pth")
    with pytest.raises(ModelError, match=r"looks like a vision transformer.*, which the ViT loader reads"):
        load_clip(tmp_path / "dino.pth", config=clip_config("diffuseit-tiny"))


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "coca_ViT-B-32", "ViT-L-14-CLIPA"])
def test_architectures_that_need_more_than_their_file(name: str) -> None:
    with pytest.raises(InputError, match="not supported"):
        clip_config(name)


def test_openai_weights_run_their_own_activation() -> None:
    """Plain names with OpenAI's tag would run the exact GELU with no more than a warning."""
    assert resolve_architecture("ViT-B/32", "openai") == "ViT-B-32-quickgelu"
    assert resolve_architecture("RN50x16", "openai") == "RN50x16-quickgelu"
    assert resolve_architecture("RN50-quickgelu", "openai") == "RN50-quickgelu"
    assert resolve_architecture("ViT-B-32", "laion2b_s34b_b79k") == "ViT-B-32"
    assert resolve_architecture("ViT-B-32-quickgelu", "laion2b_s34b_b79k") == "ViT-B-32"
    with pytest.raises(InputError, match="did you mean"):
        resolve_architecture("ViT-B-23")


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="looks like an ADM U-Net"):
        load_clip(weights("unet"))
    with pytest.raises(ModelError, match="no checkpoint file"):
        load_clip(tmp_path / "missing.pt")
    incomplete = {key: value for key, value in tiny_state().items() if key != "ln_final.weight"}
    with pytest.raises(ModelError, match=r"ln_final\.weight"):
        load_clip(incomplete)
    path = tmp_path / "clip.safetensors"
    for config, message in (
        ("[]", "not a set of fields"),
        ("{", "not valid JSON"),
        ('{"name": "x"}', "lacks model_cfg"),
        ('{"name": "x", "model_cfg": {}}', "lacks embed_dim"),
        (
            json.dumps(to_json(TINY) | {"model_cfg": to_json(TINY.model_cfg) | {"embed_dim": 17}}),
            "does not fit",
        ),
    ):
        save_file(tiny_state(), path, {"config": config})
        with pytest.raises(ModelError, match=message):
            load_clip(path)
