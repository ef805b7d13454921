"""What each loss has in the gradient, measured beside a run that stays as it is."""

from dataclasses import replace

import pytest
import torch
from losses_alone import guidance

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import make_timetable
from diffuseit.losses import (
    ImageStyleLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
    bind,
)
from diffuseit.methods import AGG, MPGD, DiffuseIT
from diffuseit.performance.options import FULL_SPEED, LOW_MEMORY

QUICK = SamplerSettings(steps=6, skip=2, method=DiffuseIT(step_rule="normalized", step_size=0.5))


@pytest.fixture(scope="module")
def losses(models, pair):
    """Three on the ViT, two on the CLIPs of which one is masked, one on the picture."""
    left = torch.zeros(1, 1, *pair.shape[-2:])
    left[..., : pair.shape[-1] // 2] = 1
    bound = bind(
        [
            StructureLoss(self_similarity=1, contrastive=0.1),
            TextStyleLoss(to="winter landscape", weight=2, crops=3),
            TextStyleLoss(to="night", weight=1, crops=3),
            SemanticDivergenceLoss(weight=0.01, until=0.75),
            ImageStyleLoss(cls=1, pixels=1),
            RangeLoss(weight=20),
        ],
        vit=models.vit,
        clip=models.clip,
        style=pair[1:],
    )
    bound[2] = replace(bound[2], mask=left)
    return bound


def run(models, source, losses, **options):
    return list(sample(models.ddpm, source, losses, QUICK, 0, **options))


@pytest.mark.slow
@pytest.mark.parametrize("options", [FULL_SPEED, LOW_MEMORY])
def test_measuring_changes_nothing(models, pair, losses, options):
    plain = run(models, pair, losses, options=options)
    measured = run(models, pair, losses, options=options, measure_every=1)
    for a, b in zip(plain, measured, strict=True):
        assert torch.equal(a.gradient, b.gradient)
        assert torch.equal(a.pred_xstart, b.pred_xstart)
        assert not a.shares
        assert set(b.shares) == set(range(len(losses))) - ({3} if b.t == 0 else set())
        assert all(share.shape == (len(pair),) for share in b.shares.values())


@pytest.mark.parametrize("method", [DiffuseIT(), MPGD(), AGG()], ids=lambda method: type(method).__name__)
def test_a_loss_has_the_share_that_it_would_have_alone(models, pair, method):
    """In the first step, where its company has not moved the picture yet."""
    settings = SamplerSettings(steps=6, skip=2, method=method)
    company = bind(
        [
            StructureLoss(self_similarity=1, contrastive=0.1),
            ImageStyleLoss(cls=1, pixels=1),
            TextStyleLoss(to="winter landscape", weight=2, crops=0),
            TextStyleLoss(to="night", weight=1, crops=0),
        ],
        vit=models.vit,
        clip=models.clip,
        style=pair[1:],
    )

    def first(losses):
        return next(sample(models.ddpm, pair[:1], losses, settings, 0, measure_every=1)).shares

    together = first(company)
    for number, loss in enumerate(company):
        torch.testing.assert_close(together[number], first([loss])[0], rtol=1e-4, atol=1e-9)
        assert together[number] > 0


@pytest.mark.parametrize("options", [FULL_SPEED, LOW_MEMORY])
def test_the_gradients_of_each_loss_add_up(pair, losses, options):
    guided = guidance(losses, pair, options=options)
    views = {view: pair.flip(0) * 1.2 for view in guided.views}
    found = guided.evaluate(views, make_timetable(levels=5)[2], each=True)
    assert {owner for owner, _ in found.each} == set(range(len(losses)))
    for view, gradient in found.gradients.items():
        own = [part for (_, at), part in found.each.items() if at == view]
        torch.testing.assert_close(sum(own), gradient, rtol=1e-4, atol=1e-9)
    masked = found.each[2, "noised"]
    assert masked[..., : masked.shape[-1] // 2].abs().sum() > 0
    assert masked[..., masked.shape[-1] // 2 :].abs().sum() == 0


def test_only_the_steps_that_were_asked_for_measure(models, scene):
    losses = bind([RangeLoss(weight=20), StructureLoss(self_similarity=1, contrastive=0.1)], vit=models.vit)
    steps = run(models, scene, losses, measure_every=2)
    assert [bool(step.shares) for step in steps] == [step.number % 2 == 0 for step in steps]
