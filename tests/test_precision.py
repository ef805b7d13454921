"""Networks of half precision come close to those of float32."""

from dataclasses import replace

import pytest
import torch

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import ImageStyleLoss, StructureLoss, bind
from diffuseit.methods import DiffuseIT
from diffuseit.pocket.models import pocket_clip, pocket_ddpm, pocket_vit
from diffuseit.presets import PRESETS

SHORT = SamplerSettings(steps=6, skip=3, resample=1, method=DiffuseIT(step_rule="normalized", step_size=0.5))


def run(models, scene):
    losses = PRESETS["pocket-text"].build(models, to="winter landscape", from_="summer landscape")
    return list(sample(models.ddpm, scene, losses, SHORT, 0))[-1].pred_xstart


@pytest.fixture(scope="module")
def plain(models, scene):
    return run(models, scene)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_close_and_its_features_are_float32(models, scene, plain, dtype):
    half = replace(
        models, ddpm=pocket_ddpm(dtype=dtype), vit=pocket_vit(dtype=dtype), clip=pocket_clip(dtype=dtype)
    )
    assert {p.dtype for p in half.vit.model.parameters()} == {dtype}
    features, whole = half.vit(scene), models.vit(scene)
    assert features.keys.dtype == features.cls.dtype == torch.float32
    assert (features.cls - whole.cls).norm() < 0.03 * whole.cls.norm()
    clip, full = half.clip.models[0], models.clip.models[0]
    assert clip(scene).dtype == clip.encode_prompt("winter").dtype == torch.float32
    assert (clip(scene) * full(scene)).sum() > 0.999
    assert (run(half, scene) - plain).abs().mean() < 0.05


def test_small_gradients_survive_float16(models, scene):
    """Weights of 1e-9 are far below what float16 can hold on its way through a network."""
    half = replace(models, ddpm=pocket_ddpm(dtype=torch.float16), vit=pocket_vit(dtype=torch.float16))
    weak = [
        ImageStyleLoss(cls=1e-9, pixels=0),
        StructureLoss(self_similarity=1e-9, contrastive=1e-10),
    ]

    def gradient(models):
        losses = bind(weak, vit=models.vit, style=scene.flip(-1))
        return next(sample(models.ddpm, scene, losses, SHORT, 0)).gradient.flatten()

    whole = gradient(models)
    assert 0 < (gradient(half) - whole).norm() < 0.1 * whole.norm()
