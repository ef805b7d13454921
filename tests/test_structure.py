"""Structure at a chosen scale, and an ensemble whose networks take turns."""

import pytest
import torch
from tiny_networks import CLIP, picture, tiny_clip_state, tiny_ddpm

from diffuseit import load_models
from diffuseit.errors import InputError
from diffuseit.guidance.guidance import Objective
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import StructureLoss, TextStyleLoss
from diffuseit.losses.structure import Scale, pooled_keys, scale_shares
from diffuseit.models.clip import CLIPEnsemble, load_clip
from diffuseit.pocket.world.render import render, sample_geometry


@pytest.mark.parametrize(
    ("detail", "shares"),
    [
        (2.0, {Scale(1, early=True): 1}),
        (1.5, {Scale(1): 0.5, Scale(1, early=True): 0.5}),
        (1.0, {Scale(1): 1}),
        (0.75, {Scale(1): 0.5, Scale(2): 0.5}),
        (0.5, {Scale(2): 1}),
        (0.25, {Scale(2): 0.5, Scale(4): 0.5}),
        (0.0, {Scale(4): 1}),
    ],
)
def test_detail_goes_through_the_scales(detail, shares):
    assert dict(scale_shares(detail)) == shares


def test_cells_are_means_of_their_patches():
    keys = torch.randn(2, 1 + 3 * 5, 4, generator=torch.Generator().manual_seed(0))
    pooled = pooled_keys(keys, (3, 5), 2)
    assert pooled.shape == (2, 1 + 2 * 3, 4)
    patches = keys[:, 1:].reshape(2, 3, 5, 4)
    assert torch.equal(pooled[:, 0], keys[:, 0])
    torch.testing.assert_close(pooled[:, 1], patches[:, :2, :2].mean(dim=(1, 2)))
    torch.testing.assert_close(pooled[:, -1], patches[:, 2, 4])  # the rest at the edge
    assert pooled_keys(keys, (3, 5), 1) is keys


def structure(models, source, other, detail):
    """Values at `other`, and the gradient there."""
    loss = StructureLoss(vit=models.vit, self_similarity=1, contrastive=1, detail=detail)
    evaluation = Objective([loss], source, "pred_xstart").evaluate(
        {"pred_xstart": other}, 0, Seeded(0, len(source))
    )
    return evaluation.terms, evaluation.gradients["pred_xstart"]


def test_a_coarse_scale_minds_texture_less_than_layout():
    models = load_models("pocket")
    source = render(sample_geometry("landscape", [1]), [0], [5])
    textured = render(sample_geometry("landscape", [1]), [0], [6])
    elsewhere = render(sample_geometry("landscape", [2]), [0], [5])

    def ratio(detail):
        small, large = (
            structure(models, source, other, detail)[0]["self_similarity"] for other in (textured, elsewhere)
        )
        return (small / large).item()

    assert ratio(0.0) < ratio(1.0)
    for detail in (0.0, 0.6, 1.3):
        terms, gradient = structure(models, source[..., :48], elsewhere[..., :48], detail)  # 64x48
        assert gradient.abs().max() > 0 and all(value > 0 for value in terms.values())
    with pytest.raises(InputError, match="detail"):
        StructureLoss(detail=2.5)


@pytest.mark.parametrize(("rotate", "expected"), [(False, [4, 4, 4]), (True, [2, 1, 1])])
def test_an_ensemble_that_rotates_runs_one_network_a_level(rotate, expected):
    clips = [load_clip(tiny_clip_state(), config=CLIP) for _ in range(3)]
    calls = [0, 0, 0]

    def count(number):
        def hook(network, inputs, output):
            calls[number] += output.requires_grad  # without what is known of the source

        return hook

    for number, clip in enumerate(clips):
        clip.model.visual.register_forward_hook(count(number))
    loss = TextStyleLoss(clip=CLIPEnsemble(clips), to="winter", weight=1.0, crops=1, rotate=rotate)
    settings = SamplerSettings(steps=5, skip=1, resample=1, step_rule="normalized")
    steps = list(sample(tiny_ddpm(), picture(1, 3, 32, 32), [loss], settings, 0))
    assert all("text_style" in step.terms for step in steps)
    assert calls == expected  # levels 3, 2, 1, 0


def test_turns_have_the_weight_of_the_whole_ensemble():
    """Of equal networks one in its turn gives what all of them give together."""
    clips = CLIPEnsemble([load_clip(tiny_clip_state(), config=CLIP) for _ in range(2)])
    source = picture(1, 3, 32, 32)

    def gradient(rotate):
        loss = TextStyleLoss(clip=clips, to="winter", weight=2.0, crops=0, rotate=rotate)
        objective = Objective([loss], source, "noised")
        return objective.evaluate({"noised": source.flip(-1)}, 1, Seeded(0, 1)).gradients["noised"]

    torch.testing.assert_close(gradient(True), gradient(False))
