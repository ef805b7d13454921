"""Adaptive weights: importances decide, whatever the size of the gradients."""

from dataclasses import replace

import pytest
import torch
from losses_alone import Toward

from diffuseit.guidance.balance import Balance, Part
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import RangeLoss, StructureLoss, TextStyleLoss, bind
from diffuseit.methods import MPGD, DiffuseIT
from diffuseit.performance.options import Execution

ADAPTIVE = SamplerSettings(
    steps=5,
    skip=2,
    resample=2,
    method=DiffuseIT(step_rule="normalized", step_size=0.5),
    balance="adaptive",
)


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


def test_the_size_of_a_loss_does_not_matter(models, scene):
    def run(size, balance):
        losses = bind([Toward(level=1.0, size=size), Toward(level=-1.0, size=0.3)])
        return last(models, scene, losses, replace(ADAPTIVE, balance=balance))

    assert (run(1.0, "adaptive") - run(1e4, "adaptive")).abs().max() < 1e-3
    assert (run(1.0, "fixed") - run(1e4, "fixed")).abs().max() > 0.1


def test_importance_matters(models, scene):
    bright, dark = (
        last(
            models,
            scene,
            bind([Toward(level=1.0, weight=w), Toward(level=-1.0, size=50.0, weight=1 - w)]),
        )
        for w in (0.9, 0.1)
    )
    assert bright.mean() > dark.mean() + 0.1


def losses(models):
    return bind(
        [
            TextStyleLoss(to="winter", weight=1.0, crops=3),
            StructureLoss(self_similarity=0.5, contrastive=0.5),
            RangeLoss(weight=0.1),
        ],
        vit=models.vit,
        clip=models.clip,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [ADAPTIVE.method, MPGD(step_rule="normalized", step_size=0.5, inner_steps=1)],
    ids=["diffuseit", "mpgd"],
)
def test_pictures_and_crops_keep_to_themselves(models, pair, method):
    settings = replace(ADAPTIVE, method=method)
    together = last(models, pair, losses(models), settings, 10)
    alone = last(models, pair[1:], losses(models), settings, 11)
    assert (together[1] - alone[0]).abs().max() < 1e-2
    in_parts = last(models, pair[1:], losses(models), settings, 11, options=Execution(crop_batch=1))
    assert (in_parts - alone).abs().max() < 1e-2


def test_shares_are_the_importances_at_first(models, pair):
    step = next(sample(models.ddpm, pair, losses(models), ADAPTIVE, 0, measure_every=1))
    assert set(step.shares) == {0, 1, 2}
    text, structure, _ = (step.shares[number] for number in range(3))
    assert (
        (structure / text > 0.3) & (structure / text < 1.1)
    ).all()  # two terms of half the importance each
