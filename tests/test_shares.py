"""What each loss has in the gradient, measured beside a run that stays as it is."""

import pytest
import torch

from diffuseit import api
from diffuseit.guidance.guidance import Objective
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import (
    ImageStyleLoss,
    MaskedLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
)
from diffuseit.performance.options import FULL_SPEED, LOW_MEMORY
from diffuseit.pocket.world.render import render, sample_geometry

QUICK = SamplerSettings(steps=6, skip=2, step_rule="normalized", step_size=0.5)


@pytest.fixture(scope="module")
def models():
    return api.load_models("pocket")


@pytest.fixture(scope="module")
def scenes():
    return render(sample_geometry("landscape", [1, 2]), [0, 2], [5, 6])


@pytest.fixture(scope="module")
def losses(models, scenes):
    """Three on the ViT, two on the CLIPs of which one is masked, one on the picture."""
    left = torch.zeros(1, 1, *scenes.shape[-2:])
    left[..., : scenes.shape[-1] // 2] = 1
    return [
        StructureLoss(vit=models.vit, self_similarity=1, contrastive=0.1),
        TextStyleLoss(clip=models.clip, to="winter landscape", weight=2, crops=3),
        MaskedLoss(TextStyleLoss(clip=models.clip, to="night", weight=1, crops=3), left),
        SemanticDivergenceLoss(vit=models.vit, weight=0.01, until=0),
        ImageStyleLoss(vit=models.vit, target=scenes[1:], cls=1, pixels=1),
        RangeLoss(weight=20),
    ]


def run(models, source, losses, **options):
    return list(sample(models.ddpm, source, losses, QUICK, 0, **options))


@pytest.mark.slow
@pytest.mark.parametrize("execution", [FULL_SPEED, LOW_MEMORY])
def test_measuring_changes_nothing(models, scenes, losses, execution):
    plain = run(models, scenes, losses, execution=execution)
    measured = run(models, scenes, losses, execution=execution, pulls_every=1)
    for a, b in zip(plain, measured, strict=True):
        assert torch.equal(a.gradient, b.gradient)
        assert torch.equal(a.pred_xstart, b.pred_xstart)
        assert not a.pulls
        assert set(b.pulls) == set(range(len(losses))) - ({3} if b.index == 0 else set())
        assert all(pull.shape == (len(scenes),) for pull in b.pulls.values())


@pytest.mark.parametrize("method", ["diffuseit", "mpgd", "agg"])
def test_a_loss_pulls_as_if_it_were_alone(models, scenes, method):
    """In the first step, where its company has not moved the picture yet."""
    settings = SamplerSettings(steps=6, skip=2, method=method)
    company = [
        StructureLoss(vit=models.vit, self_similarity=1, contrastive=0.1),
        ImageStyleLoss(vit=models.vit, target=scenes[1:], cls=1, pixels=1),
        TextStyleLoss(clip=models.clip, to="winter landscape", weight=2, crops=0),
        TextStyleLoss(clip=models.clip, to="night", weight=1, crops=0),
    ]

    def first(losses):
        return next(sample(models.ddpm, scenes[:1], losses, settings, 0, pulls_every=1)).pulls

    together = first(company)
    for number, loss in enumerate(company):
        torch.testing.assert_close(together[number], first([loss])[0], rtol=1e-4, atol=1e-9)
        assert together[number] > 0


@pytest.mark.parametrize("execution", [FULL_SPEED, LOW_MEMORY])
def test_the_gradients_apart_add_up(scenes, losses, execution):
    objective = Objective(losses, scenes, "noised", execution, first=4)
    views = {view: scenes.flip(0) * 1.2 for view in objective.views}
    evaluation = objective.evaluate(views, 2, Seeded(0, len(scenes)), apart=True)
    for view, gradient in evaluation.gradients.items():
        apart = [pull for (_, at), pull in evaluation.pulls.items() if at == view]
        torch.testing.assert_close(sum(apart), gradient, rtol=1e-4, atol=1e-9)
    masked = evaluation.pulls[2, "noised"]
    assert masked[..., : masked.shape[-1] // 2].abs().sum() > 0
    assert masked[..., masked.shape[-1] // 2 :].abs().sum() == 0


def test_only_the_steps_that_were_asked_for_measure(models, scenes):
    losses = [RangeLoss(weight=20), StructureLoss(vit=models.vit, self_similarity=1, contrastive=0.1)]
    steps = run(models, scenes[:1], losses, pulls_every=2)
    assert [bool(step.pulls) for step in steps] == [step.number % 2 == 0 for step in steps]
