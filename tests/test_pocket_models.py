"""The networks that ship: they load, they do what their cards say, and their recipes run and resume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from diffuseit.errors import ModelError
from diffuseit.models.checkpoint import read_checkpoint
from diffuseit.pocket.judge import CLASSES, class_index, load_judge
from diffuseit.pocket.models import WEIGHTS, pocket_clip, pocket_ddpm, pocket_judge, pocket_vit
from diffuseit.pocket.train.export import export
from diffuseit.pocket.train.loop import fit
from diffuseit.pocket.train.networks import NETWORKS
from diffuseit.pocket.world.render import DOMAINS, STYLES, Geometry, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

SEEDS = range(TUNING.start + 1000, TUNING.start + 1012)
CPU = torch.device("cpu")


def scenes(domain: str) -> tuple[Geometry, torch.Tensor, torch.Tensor]:
    """12 pictures, two of each style."""
    geometry = sample_geometry(domain, SEEDS)
    styles = torch.arange(len(SEEDS)) % len(STYLES[domain])
    return geometry, styles, render(geometry, styles, SEEDS)


@pytest.fixture(params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> str:
    return request.param


LATENT = ("taesd", "flux")
"""The networks whose files are ComfyUI's own, without a config of ours."""


def test_the_weights_stay_small() -> None:
    sizes = {path.stem: path.stat().st_size for path in WEIGHTS.glob("*.safetensors")}
    assert sum(sizes[name] for name in LATENT) < 20_000_000
    assert sum(size for name, size in sizes.items() if name not in LATENT) < 25_000_000


@pytest.mark.parametrize("name", NETWORKS)
def test_card_tells_the_truth(name: str) -> None:
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    weights = WEIGHTS / f"{name}.safetensors"
    state, metadata = read_checkpoint(weights)
    assert card["network"] == name
    assert card["bytes"] == weights.stat().st_size
    assert card["parameters"] == sum(value.numel() for value in state.values())
    assert card["images"] > 10_000 and card["steps"] > 100 and card["minutes"] > 0
    assert card["figures"]
    assert name in LATENT or json.loads(metadata["config"])
    assert all(value.dtype == torch.float16 and value.isfinite().all() for value in state.values())


def test_ddpm_predicts_a_picture_from_little_noise() -> None:
    ddpm = pocket_ddpm()
    schedule = ddpm.schedule("50")
    _, _, images = scenes("landscape")
    images = images[:2]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    index = 10
    x_t = schedule.q_sample(images, index, noise)
    with torch.no_grad():
        prediction = ddpm.predict(x_t, schedule, index)
    assert (prediction.pred_xstart - images).square().mean() < 0.25 * (x_t - images).square().mean()


def test_vit_finds_the_geometry_in_another_style(domain: str) -> None:
    geometry, styles, images = scenes(domain)
    others = render(geometry, (styles + 1) % len(STYLES[domain]), range(len(SEEDS)))
    vit = pocket_vit()
    first, second = vit(images), vit(others)
    assert first.keys.shape == (12, 257, 128)
    assert first.cls.shape == (12, 128)
    rows = [F.normalize(features.keys, dim=-1) for features in (first, second)]
    similarities = [(keys @ keys.mT).flatten(1) for keys in rows]
    assert (torch.cdist(*similarities).argmin(1) == torch.arange(12)).all()


def test_cls_is_near_for_equal_styles_and_far_for_others(domain: str) -> None:
    _, styles, images = scenes(domain)
    cls = pocket_vit()(images).cls
    distance = torch.cdist(cls, cls)
    same = styles[:, None] == styles
    assert distance[same & ~torch.eye(12, dtype=torch.bool)].mean() < 0.5 * distance[~same].mean()


def test_clip_names_the_style_of_clean_and_of_noisy_pictures(domain: str) -> None:
    _, styles, images = scenes(domain)
    clip = pocket_clip().models[0]
    sentence = "a landscape in {}" if domain == "landscape" else "{}"
    prompts = torch.stack([clip.encode_prompt(sentence.format(style.title())) for style in STYLES[domain]])
    noisy = images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for pictures in (images, noisy):
        named = (clip.encode_image(pictures)[:, 0] @ prompts.T).argmax(1)
        assert (named == styles).sum() >= 11


def test_judge_names_domain_and_style(domain: str) -> None:
    _, styles, images = scenes(domain)
    judge = pocket_judge()
    assert judge.features(images).shape == (12, 128)
    logits = judge.classify(images)
    assert logits.shape == (12, len(CLASSES))
    assert (logits.argmax(1) == class_index(domain, styles)).all()


def test_a_checkpoint_of_another_kind_is_no_judge() -> None:
    with pytest.raises(ModelError):
        load_judge(WEIGHTS / "vit.safetensors")


def test_a_judgment_does_not_depend_on_the_neighbors(domain: str) -> None:
    _, _, images = scenes(domain)
    judge = pocket_judge()
    torch.testing.assert_close(judge.classify(images)[3:4], judge.classify(images[3:4]), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_recipes_run_resume_and_export(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps, then two more from the saved state, then weights that hold what was trained."""
    network = NETWORKS[name]
    recipe = replace(network.RECIPE, batch=8)
    if name in LATENT:
        monkeypatch.setattr(network, "POOL", 8)
    monkeypatch.setattr("diffuseit.pocket.train.export.evaluate", lambda name, folder: {"none": 0.0})
    torch.manual_seed(0)
    for steps in (2, 4):
        progressed = fit(name, network.build(), network.Loss(8, CPU), recipe, tmp_path, CPU, max_steps=steps)
        assert progressed.steps == steps
    card = export(name, tmp_path, tmp_path)
    assert card["steps"] == 4 and card["images"] == 32
    with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
        assert name in LATENT or json.loads(file.metadata()["config"])
