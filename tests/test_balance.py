"""Adaptive weights: importances decide, whatever the size of the gradients."""

import dataclasses

import pytest
import torch

from diffuseit import load_models
from diffuseit.errors import InputError
from diffuseit.guidance.balance import Balance, Part
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.losses import RangeLoss, StructureLoss, TextStyleLoss
from diffuseit.losses.base import Term
from diffuseit.performance.options import Execution
from diffuseit.pocket.world.render import render, sample_geometry

ADAPTIVE = SamplerSettings(
    steps=5, skip=2, resample=2, step_rule="normalized", step_size=0.5, balance="adaptive"
)


@pytest.fixture(scope="module")
def models():
    return load_models("pocket")


@pytest.fixture(scope="module")
def scenes():
    return render(sample_geometry("landscape", [1, 2]), [0, 2], [5, 6])


@dataclasses.dataclass(frozen=True)
class Towards:
    """A loss of any size: the distance to `level`, times `size`."""

    level: float
    size: float = 1.0
    weight: float = 1.0

    def item(self, index):
        return self

    def bind(self, source, features_of):
        def value(look):
            return self.size * (look.features - self.level).square().mean(dim=(1, 2, 3))

        return [Term("towards", self.weight, value, view="pred_xstart")]


def last(models, source, losses, settings=ADAPTIVE, seed=0, **options):
    return list(sample(models.ddpm, source, losses, settings, seed, **options))[-1].pred_xstart


def rms(x):
    return x.square().mean(dim=(1, 2, 3)).sqrt()


def test_shares_are_as_large_as_their_importance_says():
    balance = Balance()
    gradient = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    importance = torch.full((2, 1, 1, 1), 0.3)

    def share(scale, learn=True):
        part = Part("noised", scale * gradient, importance)
        return balance.shares({(0, "text"): part}, learn)[(0, "text")][1]

    torch.testing.assert_close(rms(share(1e-6)), torch.full((2,), 0.3))
    torch.testing.assert_close(rms(share(3e-6)), torch.full((2,), 0.3))  # above its mean: no more than that
    torch.testing.assert_close(rms(share(1e-6, learn=False)), torch.full((2,), 0.3 / 2) * 6 / 5)
    torch.testing.assert_close(rms(share(1e-6)), torch.full((2,), 0.3) * 3 / 5)  # mean of 1, 3, 1
    assert not share(0.0).any()
    torch.testing.assert_close(rms(share(1e-6)), torch.full((2,), 0.3) * 4 / 6)  # 0 was left out of the mean


def test_the_size_of_a_loss_does_not_matter(models, scenes):
    def run(size, **changes):
        settings = dataclasses.replace(ADAPTIVE, **changes)
        return last(models, scenes[:1], [Towards(1.0, size), Towards(-1.0, 0.3)], settings)

    assert (run(1.0) - run(1e4)).abs().max() < 1e-3
    assert (run(1.0, balance="fixed") - run(1e4, balance="fixed")).abs().max() > 0.1


def test_importance_matters(models, scenes):
    bright, dark = (
        last(models, scenes[:1], [Towards(1.0, weight=w), Towards(-1.0, 50.0, weight=1 - w)])
        for w in (0.9, 0.1)
    )
    assert bright.mean() > dark.mean() + 0.1


def losses(models):
    return [
        TextStyleLoss(clip=models.clip, to="winter", weight=1.0, crops=3),
        StructureLoss(vit=models.vit, self_similarity=0.5, contrastive=0.5),
        RangeLoss(weight=0.1),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["diffuseit", "mpgd"])
def test_pictures_and_crops_keep_to_themselves(models, scenes, method):
    settings = dataclasses.replace(ADAPTIVE, method=method, inner_steps=1)
    together = last(models, scenes, losses(models), settings, 10)
    alone = last(models, scenes[1:], losses(models), settings, 11)
    assert (together[1] - alone[0]).abs().max() < 1e-2
    in_parts = last(models, scenes[1:], losses(models), settings, 11, execution=Execution(crop_batch=1))
    assert (in_parts - alone).abs().max() < 1e-2


def test_pulls_are_the_importances_at_first(models, scenes):
    step = next(sample(models.ddpm, scenes, losses(models), ADAPTIVE, 0, pulls_every=1))
    assert set(step.pulls) == {0, 1, 2}
    text, structure, _ = (step.pulls[number] for number in range(3))
    assert (
        (structure / text > 0.3) & (structure / text < 1.1)
    ).all()  # two terms of half the importance each


def test_an_unknown_balance_is_refused():
    with pytest.raises(InputError, match="adaptive"):
        SamplerSettings(balance="clever")
