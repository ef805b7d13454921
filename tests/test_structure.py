"""Structure at a chosen scale."""

import pytest
import torch
from losses_alone import guidance

from diffuseit.errors import InputError
from diffuseit.guidance.timetable import Visit
from diffuseit.losses import StructureLoss, bind
from diffuseit.losses.structure import Scale, scale_shares
from diffuseit.models.vit import ViTFeatures
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
    generator = torch.Generator().manual_seed(0)
    keys, early = torch.randn(2, 2, 1 + 3 * 5, 4, generator=generator)
    features = ViTFeatures(keys=keys, early_keys=early, cls=keys[:, 0])
    pooled = Scale(2).keys(features, (3, 5))
    assert pooled.shape == (2, 1 + 2 * 3, 4)
    patches = keys[:, 1:].reshape(2, 3, 5, 4)
    assert torch.equal(pooled[:, 0], keys[:, 0])
    torch.testing.assert_close(pooled[:, 1], patches[:, :2, :2].mean(dim=(1, 2)))
    torch.testing.assert_close(pooled[:, -1], patches[:, 2, 4])  # the rest at the edge
    assert Scale(1).keys(features, (3, 5)) is keys
    assert Scale(1, early=True).keys(features, (3, 5)) is early


def structure(models, source, other, detail):
    """Values at `other`, and the gradient there."""
    losses = bind([StructureLoss(self_similarity=1, contrastive=1, detail=detail)], vit=models.vit)
    found = guidance(losses, source, view="pred_xstart").evaluate({"pred_xstart": other}, Visit(0))
    return found.terms, found.gradients["pred_xstart"]


def test_a_coarse_scale_minds_texture_less_than_layout(models, scene):
    textured = render(sample_geometry("landscape", [1]), [0], [6])
    elsewhere = render(sample_geometry("landscape", [2]), [0], [5])

    def ratio(detail):
        small, large = (
            structure(models, scene, other, detail)[0]["self_similarity"] for other in (textured, elsewhere)
        )
        return (small / large).item()

    assert ratio(0.0) < ratio(1.0)
    for detail in (0.0, 0.6, 1.3):
        terms, gradient = structure(models, scene[..., :48], elsewhere[..., :48], detail)  # 64x48
        assert gradient.abs().max() > 0 and all(value > 0 for value in terms.values())
    with pytest.raises(InputError, match="detail"):
        StructureLoss(detail=2.5)
