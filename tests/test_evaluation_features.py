"""Structure and look, against computations by hand and on scenes whose truth is known."""

import pytest
import torch

from diffuseit.evaluation.look import style_match, text_match
from diffuseit.evaluation.structure import pie_structure_distance, structure_distance
from diffuseit.pocket.models import pocket_clip, pocket_vit
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

COUNT = 12
WINTER, NIGHT = (STYLES["landscape"].index(name) for name in ("winter", "night"))


def scenes(style, first=0, texture=0):
    seeds = [TUNING.start + 700 + first + number for number in range(COUNT)]
    return render(sample_geometry("landscape", seeds), [style] * COUNT, [seed + texture for seed in seeds])


@pytest.fixture(scope="module")
def vit():
    return pocket_vit()


@pytest.fixture(scope="module")
def winter():
    return scenes(WINTER)


def distance_by_hand(keys, source_keys):
    """Splice's `calculate_global_ssim_loss`, with loops."""
    first, second = (
        torch.stack([torch.cosine_similarity(key[None], one, dim=1) for key in one])
        for one in (keys, source_keys)
    )
    return torch.nn.functional.mse_loss(first, second).item()


def test_structure_distance_is_splices(vit, winter):
    night = scenes(NIGHT)
    ours = structure_distance(vit, night, winter)
    for number in range(3):
        keys, source_keys = (vit(each[number : number + 1]).keys[0] for each in (night, winter))
        assert ours[number].item() == pytest.approx(distance_by_hand(keys, source_keys), rel=1e-4)


def test_pie_benchs_scale_feeds_levels_undivided(vit, winter):
    night = scenes(NIGHT)
    ours = pie_structure_distance(vit, night, winter)

    def keys(picture):
        # What PnPInversion's normalization gives for levels of 0 to 255.
        seen = ((picture * 0.5 + 0.5) * 255 - vit.mean) / vit.std
        return vit(2 * (seen * vit.std + vit.mean) - 1).keys[0]

    expected = distance_by_hand(keys(night[:1]), keys(winter[:1]))
    assert ours[0].item() == pytest.approx(expected, rel=1e-3)
    assert ours[0].item() != pytest.approx(structure_distance(vit, night, winter)[0].item(), rel=0.1)


def test_structure_distance_tells_style_from_geometry(vit, winter):
    assert structure_distance(vit, winter, winter).max() == pytest.approx(0, abs=1e-9)
    restyled = structure_distance(vit, scenes(NIGHT), winter)
    elsewhere = structure_distance(vit, scenes(WINTER, first=COUNT), winter)
    assert (restyled < elsewhere).all()


def test_text_match_knows_a_style_that_was_reached(winter):
    clip = pocket_clip().models[0]
    to, from_ = "a landscape in winter", "a landscape at night"
    match = text_match(clip, winter, to, from_)
    assert match.reached.all()
    assert not text_match(clip, scenes(NIGHT), to, from_).reached.any()
    assert text_match(clip, winter, to).reached is None
    templates = text_match(clip, winter, to, templates=True)
    expected = clip.encode_image(winter)[:, 0] @ clip.encode_prompt(to)
    torch.testing.assert_close(templates.target, expected)


def test_style_match_tells_style_from_geometry(vit, winter):
    same = style_match(vit, scenes(WINTER, first=COUNT, texture=5), winter)
    other = style_match(vit, scenes(NIGHT), winter)
    assert (same > other).all()
    one = style_match(vit, winter, winter[:1])
    assert one.shape == (COUNT,)
    assert one[0].item() == pytest.approx(1, abs=1e-5)
