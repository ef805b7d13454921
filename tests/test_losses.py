"""Each loss against closed forms, what all of them promise, and a loss that no list knows."""

import re
from dataclasses import replace
from typing import get_args

import pytest
import torch
from losses_alone import Toward, guidance
from torch import nn

from diffuseit.correspondence import neighbors
from diffuseit.errors import InputError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import Visit
from diffuseit.losses import (
    AnchorLoss,
    AnyLoss,
    ColorStatisticsLoss,
    IdentityLoss,
    ImageStyleLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    TextStyleLoss,
    bind,
)
from diffuseit.losses.base import Context
from diffuseit.losses.color_statistics import color_moments
from diffuseit.methods import DiffuseIT
from diffuseit.performance import cache
from diffuseit.presets import PRESETS, Preset
from diffuseit.schema import from_json, to_json

QUICK = SamplerSettings(steps=7, skip=2, resample=2, method=DiffuseIT(step_rule="normalized", step_size=0.5))


def pictures(count=2, height=8, width=12, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def evaluated(loss, source, image):
    """Weighted values by term, and the gradient at the view, of a bound loss."""
    found = guidance([loss], source, view="pred_xstart").evaluate({"pred_xstart": image}, Visit(0))
    return found.terms, found.gradients.get("pred_xstart")


def bound(loss, **inputs):
    (found,) = bind([loss], **inputs)
    return found


def test_anchors_are_the_mean_distance_and_its_derivative():
    source, image = pictures(seed=1), pictures(seed=2)
    difference, count = image - source, image[0].numel()
    terms, gradient = evaluated(bound(SourceAnchorLoss(weight=3.0, norm="l1")), source, image)
    torch.testing.assert_close(terms["source_anchor"], 3 * difference.abs().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(gradient, 3 * difference.sign() / count)
    terms, gradient = evaluated(bound(SourceAnchorLoss(weight=3.0, norm="l2")), source, image)
    torch.testing.assert_close(terms["source_anchor"], 3 * difference.square().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(gradient, 6 * difference / count)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_an_anchor_at_rest_does_not_pull(norm):
    source = pictures()
    assert not evaluated(bound(SourceAnchorLoss(norm=norm)), source, source.clone())[1].any()


def test_color_moments_are_those_of_numpy():
    image = pictures(1, 4, 6)
    mean, covariance = color_moments(image, grid=2)
    corner = image[0, :, 2:, 3:].reshape(3, -1)
    torch.testing.assert_close(mean[0, 3], corner.mean(dim=1))
    torch.testing.assert_close(covariance[0, 3], torch.cov(corner, correction=0))


def test_color_statistics_measure_shift_and_contrast():
    source = pictures()
    shifted, _ = evaluated(bound(ColorStatisticsLoss(mean=2.0, covariance=1.0)), source, source + 0.25)
    torch.testing.assert_close(shifted["color_mean"], torch.full((2,), 2 * 3 * 0.25**2))
    torch.testing.assert_close(shifted["color_covariance"], torch.zeros(2))
    mean, covariance = color_moments(source)
    stretched, _ = evaluated(
        bound(ColorStatisticsLoss(mean=1.0, covariance=2.0)),
        source,
        mean[:, 0, :, None, None] + 2 * (source - mean[:, 0, :, None, None]),
    )
    torch.testing.assert_close(stretched["color_mean"], torch.zeros(2))
    expected = 2 * 9 * covariance.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(stretched["color_covariance"], expected)


def test_color_statistics_pull_all_pixels_of_a_cell_alike():
    source = pictures()
    _, gradient = evaluated(bound(ColorStatisticsLoss(mean=1.0, covariance=0.0)), source, source + 0.25)
    torch.testing.assert_close(gradient, torch.full_like(source, 2 * 0.25 / (8 * 12)))


def test_the_covariance_gradient_is_right():
    source, image = pictures(1, 4, 6).double(), pictures(1, 4, 6, seed=3).double().requires_grad_()
    terms = ColorStatisticsLoss(grid=2).terms(source, {}, lambda network, picture: None)
    (term,) = [term for term in terms if term.name == "color_covariance"]
    assert torch.autograd.gradcheck(lambda picture: term.value(Context(0, picture, None, {})), (image,))


def test_a_flat_picture_has_a_finite_color_gradient():
    flat = torch.zeros(1, 3, 8, 8)
    _, gradient = evaluated(bound(ColorStatisticsLoss()), pictures(1, 8, 8), flat)
    assert torch.isfinite(gradient).all()


def test_only_a_grid_asks_where_colors_are():
    source = pictures(1)
    moved = source.flip(-1)
    whole, _ = evaluated(bound(ColorStatisticsLoss(mean=1.0, covariance=1.0)), source, moved)
    for value in whole.values():
        torch.testing.assert_close(value, torch.zeros(1))
    cells, _ = evaluated(bound(ColorStatisticsLoss(mean=1.0, covariance=1.0, grid=2)), source, moved)
    assert min(value.item() for value in cells.values()) > 1e-4


def test_colors_come_from_a_picture_of_any_size_one_for_each():
    source, style = pictures(2), pictures(2, 20, 5, seed=4)
    loss = bound(ColorStatisticsLoss(mean=1.0, covariance=0.0), style=style)
    both, _ = evaluated(loss, source, source)
    for i in range(2):
        alone, _ = evaluated(loss.for_item(i), source[i : i + 1], source[i : i + 1])
        expected = (source[i].mean(dim=(1, 2)) - style[i].mean(dim=(1, 2))).square().sum()
        torch.testing.assert_close(alone["color_mean"][0], expected)
        torch.testing.assert_close(both["color_mean"][i], expected)


def test_color_statistics_of_an_image_preset_are_the_style_pictures(models):
    preset = replace(PRESETS["pocket-image"], losses=(ColorStatisticsLoss(),))
    style = pictures(1)
    (colors,) = preset.build(models, style=style)
    assert colors.inputs["style"] is style


class Embedding(nn.Module):
    """The mean color: a vector that a picture can turn round."""

    def forward(self, picture):
        return picture.mean(dim=(2, 3))


def test_identity_is_one_minus_the_cosine():
    source = pictures() + 0.3
    loss = bound(IdentityLoss(weight=5.0), face=Embedding())
    for image, expected in ((2 * source, 0.0), (-source, 10.0)):
        terms, gradient = evaluated(loss, source, image)
        torch.testing.assert_close(terms["identity"], torch.full((2,), expected))
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
    other = pictures(seed=5)
    _, gradient = evaluated(loss, source, other)
    toward = (gradient.mean(dim=(2, 3)) * source.mean(dim=(2, 3))).sum(dim=1)
    along = (gradient.mean(dim=(2, 3)) * other.mean(dim=(2, 3))).sum(dim=1)
    assert (toward < 0).all()
    assert along.abs().max() < 1e-6


@pytest.mark.parametrize(
    "loss",
    [
        SourceAnchorLoss(),
        SourceAnchorLoss(norm="l2"),
        ColorStatisticsLoss(grid=2),
        IdentityLoss(),
        RangeLoss(),
    ],
    ids=str,
)
def test_each_keeps_pictures_apart_and_obeys_its_mask(loss):
    source, image = pictures(seed=6), 1.5 * pictures(seed=7)
    loss = bound(loss, face=Embedding())
    mask = torch.zeros(1, 1, 8, 12)
    mask[..., :5] = 1
    terms, gradient = evaluated(loss, source, image)
    masked_terms, masked = evaluated(replace(loss, mask=mask), source, image)
    torch.testing.assert_close(masked, gradient * mask)
    assert masked[..., :5].any()
    for i in range(2):
        one = slice(i, i + 1)
        alone, its_gradient = evaluated(loss.for_item(i), source[one], image[one])
        torch.testing.assert_close(its_gradient, gradient[one])
        for name, value in alone.items():
            torch.testing.assert_close(value, terms[name][one])
            torch.testing.assert_close(masked_terms[name], terms[name])


def test_masks_and_pictures_of_a_batch_go_with_their_items():
    masks, style = torch.rand(2, 1, 8, 12), pictures()
    loss = replace(bound(ColorStatisticsLoss(), style=style), mask=masks)
    second = loss.for_item(1)
    assert torch.equal(second.mask, masks[1:]) and torch.equal(second.inputs["style"], style[1:])
    shared = replace(loss, mask=masks[:1], inputs={"style": style[:1]}).for_item(1)
    assert torch.equal(shared.mask, masks[:1]) and torch.equal(shared.inputs["style"], style[:1])


def test_bind_gives_each_loss_what_it_takes_and_no_more():
    vit, style = object(), pictures(1)
    structure, colors, range_ = bind(
        [StructureLoss(), ColorStatisticsLoss(), RangeLoss()], vit=vit, clip=object(), style=style
    )
    assert structure.inputs == {"vit": vit}
    assert colors.inputs.keys() == {"style"} and range_.inputs == {}
    assert bound(ColorStatisticsLoss()).inputs == {}


@pytest.mark.parametrize(
    ("loss", "needs"),
    [
        (StructureLoss(), "a ViT"),
        (SemanticDivergenceLoss(), "a ViT"),
        (TextStyleLoss(to="winter"), "a CLIP"),
        (ImageStyleLoss(), "a style image"),
        (IdentityLoss(), "a network that embeds faces"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_loss_says_what_it_lacks(loss, needs):
    inputs = {"vit": object()} if isinstance(loss, ImageStyleLoss) else {}
    with pytest.raises(InputError, match=rf"{type(loss).__name__} needs {needs}"):
        bind([loss], **inputs)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e7])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (AnchorLoss, "weight"),
        (ColorStatisticsLoss, "covariance"),
        (IdentityLoss, "weight"),
        (ImageStyleLoss, "pixels"),
        (RangeLoss, "weight"),
        (SemanticDivergenceLoss, "weight"),
        (SourceAnchorLoss, "weight"),
        (StructureLoss, "contrastive"),
        (TextStyleLoss, "weight"),
    ],
)
def test_weights_that_cannot_work_are_refused(kind, name, value):
    with pytest.raises(InputError, match=rf"{kind.__name__}\.{name} is .*: use"):
        kind(**{name: value})


def evaluate_pictures(loss, **inputs):
    return evaluated(bound(loss, **inputs), pictures(), pictures())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SourceAnchorLoss(norm="l3"), "one of l1, l2"),
        (lambda: ColorStatisticsLoss(grid=0), "grid is 0"),
        (lambda: evaluate_pictures(ColorStatisticsLoss(grid=9)), "coarser"),
        (lambda: evaluate_pictures(ColorStatisticsLoss(), style=pictures(3)), "one for each"),
        (lambda: evaluate_pictures(ColorStatisticsLoss(), style=pictures(1)[0]), "one for each"),
        (lambda: evaluate_pictures(IdentityLoss(), face=nn.Identity()), r"\[B, D\]"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [SourceAnchorLoss(), ColorStatisticsLoss(grid=8)], ids=str)
def test_an_anchor_keeps_the_picture_near_the_source(models, loss):
    source = pictures(1, 64, 64).lerp(pictures(1, 1, 1, seed=1), 0.9)
    free = list(sample(models.ddpm, source, [], QUICK, 0, allow_unguided=True))[-1].pred_xstart
    held = list(sample(models.ddpm, source, bind([loss]), QUICK, 0))[-1].pred_xstart
    assert (held - source).abs().mean() < 0.8 * (free - source).abs().mean()


def test_a_loss_that_no_list_knows_guides_a_run(models, scene):
    """To add a loss takes its file alone: it guides, is weighed, masked and scheduled, and says how it is shown."""
    settings = replace(QUICK, resample=1)

    def run(*losses):
        return list(sample(models.ddpm, scene, losses, settings, 0, measure_every=1))

    bright, dark = (run(bound(Toward(level=level))) for level in (1.0, -1.0))
    assert bright[-1].pred_xstart.mean() > dark[-1].pred_xstart.mean() + 0.1
    for step in bright:
        assert step.terms.keys() == {"toward"} == Toward.labels.keys()
        assert step.shares[0] > 0
    masked = replace(bound(Toward(level=1.0)), mask=torch.zeros(1, 1, 64, 64))
    assert not any(step.gradient.any() for step in run(masked))
    late = Toward(level=1.0, schedules=(((0.5, 0.0), (0.5, 1.0)),))
    assert [bool(step.terms) for step in run(bound(late))] == [False, False, True, True, True]


def test_a_recipe_names_only_the_losses_that_there_are():
    """A stranger's file chooses among the losses; it cannot bring one, nor fields of its own."""
    recipe = to_json(PRESETS["pocket-text"])
    assert from_json(Preset, recipe, "preset") == PRESETS["pocket-text"]
    for change in ({"type": "Toward"}, {"type": "os.system"}, {"type": ["RangeLoss"]}, {"type": None}):
        broken = recipe | {"losses": [*recipe["losses"][:-1], recipe["losses"][-1] | change]}
        with pytest.raises(InputError, match=r"preset\.losses\[3\] cannot be"):
            from_json(Preset, broken, "preset")
    typeless = {name: value for name, value in recipe["losses"][-1].items() if name != "type"}
    with pytest.raises(InputError, match=r"preset\.losses\[3\] cannot be None"):
        from_json(Preset, recipe | {"losses": [*recipe["losses"][:-1], typeless]}, "preset")
    extra = recipe["losses"][-1] | {"level": 1.0}
    with pytest.raises(InputError, match="does not know: level"):
        from_json(Preset, recipe | {"losses": [extra]}, "preset")
    with pytest.raises(InputError, match=r"Preset\.losses"):
        replace(PRESETS["pocket-text"], losses=(Toward(level=1.0),))


@pytest.mark.parametrize("kind", get_args(AnyLoss))
def test_labels_name_every_term_of_a_loss(models, scene, kind):
    inputs = {"vit": models.vit, "clip": models.clip, "style": scene, "face": Embedding()}
    inputs["correspondence"] = neighbors(len(scene), (scene.shape[-2], scene.shape[-1]))
    loss = bound(kind().with_prompts("winter", None), **inputs)
    terms = loss.loss.terms(scene, loss.inputs, cache.features)
    assert {term.name for term in terms} == kind.labels.keys()
    for label in kind.labels.values():
        assert label.text and re.fullmatch("#[0-9a-f]{6}", label.color)
