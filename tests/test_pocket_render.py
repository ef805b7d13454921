"""The pocket world: seeded, independent of the batch, geometry apart from style."""

import random
import re

import pytest
import torch

from diffuseit.errors import InputError
from diffuseit.pocket.world.captions import ADJECTIVES, COATS, ENDINGS, caption, unknown_words, vocabulary
from diffuseit.pocket.world.render import DOMAINS, SEGMENTS, STYLES, View, render, sample_geometry, segment

BATCH = 36  # more than one chunk of the renderer


@pytest.fixture(params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> str:
    return request.param


def contours(pictures: torch.Tensor) -> torch.Tensor:
    """[N, 64, 64] booleans: where neighbors differ visibly in some channel."""
    right = (pictures[..., :-1, 1:] - pictures[..., :-1, :-1]).abs().amax(1)
    down = (pictures[..., 1:, :-1] - pictures[..., :-1, :-1]).abs().amax(1)
    return torch.maximum(right, down) > 0.08


def test_shape_range_and_dtype(domain: str) -> None:
    pictures = render(sample_geometry(domain, range(BATCH)), [i % 6 for i in range(BATCH)], range(BATCH))
    assert pictures.shape == (BATCH, 3, 64, 64)
    assert pictures.dtype == torch.float32
    assert pictures.isfinite().all()
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    assert (pictures.amax((1, 2, 3)) - pictures.amin((1, 2, 3)) > 0.4).all()


def test_equal_seeds_give_equal_pictures_and_other_seeds_do_not(domain: str) -> None:
    def picture(seed: int, texture: int) -> torch.Tensor:
        return render(sample_geometry(domain, [seed]), [2], [texture])

    assert torch.equal(picture(5, 7), picture(5, 7))
    assert (picture(5, 7) - picture(6, 7)).abs().mean() > 0.02
    assert (picture(5, 7) - picture(5, 8)).abs().max() > 0.1


def test_items_do_not_depend_on_their_batch(domain: str) -> None:
    seeds, styles = list(range(100, 100 + BATCH)), [i % 6 for i in range(BATCH)]
    together = render(sample_geometry(domain, seeds), styles, seeds)
    for i in range(0, BATCH, 5):
        alone = render(sample_geometry(domain, seeds[i : i + 1]), styles[i : i + 1], seeds[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-6, rtol=0)


def test_styles_change_colors_and_keep_contours(domain: str) -> None:
    geometry = sample_geometry(domain, range(BATCH))
    pictures = [render(geometry, [style] * BATCH, range(BATCH)) for style in range(6)]
    borders = segment(geometry)
    borders = (borders[:, :-1, 1:] != borders[:, :-1, :-1]) | (borders[:, 1:, :-1] != borders[:, :-1, :-1])
    for index, picture in enumerate(pictures):
        assert contours(picture)[borders].float().mean() > 0.7, STYLES[domain][index]
        for other in pictures[:index]:
            assert (picture - other).abs().mean((1, 2, 3)).min() > 0.03


def test_the_wall_behind_an_animal_is_the_same_in_every_coat() -> None:
    geometry = sample_geometry("animal", range(BATCH))
    background = torch.nn.functional.max_pool2d((segment(geometry) != 0).float(), 5, 1, 2) == 0
    lion, zebra = (render(geometry, [style] * BATCH, range(BATCH)) for style in (0, 5))
    same = (lion - zebra).abs().amax(1) == 0
    assert same[background].all()
    assert not same.all()


def test_texture_seeds_change_a_small_part(domain: str) -> None:
    geometry = sample_geometry(domain, range(BATCH))
    styles = [i % 6 for i in range(BATCH)]
    first, second = render(geometry, styles, range(BATCH)), render(geometry, styles, range(900, 900 + BATCH))
    changed = ((first - second).abs().amax(1) > 0.02).float().mean((1, 2))
    assert 0 < changed.mean() < 0.12
    assert changed.max() < 0.35


def test_segments_name_what_is_there(domain: str) -> None:
    geometry = sample_geometry(domain, range(64))
    labels = segment(geometry)
    assert labels.shape == (64, 64, 64)
    assert labels.dtype == torch.int64
    assert set(labels.unique().tolist()) == set(range(len(SEGMENTS[domain])))
    torch.testing.assert_close(labels[3:4], segment(geometry[3]))


def test_captions_and_segments_agree_on_the_content() -> None:
    geometry = sample_geometry("landscape", range(64))
    lakes = (segment(geometry) == SEGMENTS["landscape"].index("lake")).flatten(1).any(1).tolist()
    texts = caption(geometry, [1] * 64, None)
    assert lakes == ["a lake" in text for text in texts]
    assert 0 < sum(lakes) < 64
    animals = sample_geometry("animal", range(64))
    tails = (segment(animals) == SEGMENTS["animal"].index("tail")).flatten(1).any(1).tolist()
    texts = caption(animals, [1] * 64, None)
    assert tails == ["head" not in text for text in texts]
    assert 0 < sum(tails) < 64


def test_geometry_can_be_indexed(domain: str) -> None:
    geometry = sample_geometry(domain, range(6))
    assert len(geometry) == 6
    assert len(geometry[2]) == 1
    assert len(geometry[1:4]) == 3
    torch.testing.assert_close(
        geometry[torch.tensor([4, 0])].params, sample_geometry(domain, [4, 0]).params, atol=1e-6, rtol=0
    )


def test_no_pictures_is_fine(domain: str) -> None:
    geometry = sample_geometry(domain, [])
    assert render(geometry, [], []).shape == (0, 3, 64, 64)
    assert segment(geometry).shape == (0, 64, 64)


def test_bad_input_is_named(domain: str) -> None:
    geometry = sample_geometry(domain, [1, 2])
    with pytest.raises(InputError, match=r"unknown pocket domain 'sea': use one of landscape, animal"):
        sample_geometry("sea", [1])
    for bad in ([0, 6], [-1, 0]):
        with pytest.raises(InputError, match=r"styles are numbered 0 to 5"):
            render(geometry, bad, [0, 0])
    with pytest.raises(InputError, match="as many styles"):
        render(geometry, [0], [0, 0])
    with pytest.raises(InputError, match="as many texture seeds"):
        render(geometry, [0, 0], [0])


def test_the_vocabulary_has_the_words_of_the_captions_and_no_others() -> None:
    rng, captions = random.Random(0), []
    for domain in STYLES:
        geometry = sample_geometry(domain, range(600))
        styles = [i % 6 for i in range(600)]
        captions += caption(geometry, styles, None) + caption(geometry, styles, rng)
    assert unknown_words(" ".join(captions)) == []
    said = set(re.findall("[a-z]+", " ".join(captions).lower()))
    assert vocabulary() <= said
    assert unknown_words("A neon City by night, neon's glow, 雪の風景") == [
        "neon",
        "city",
        "glow",
        "雪の風景",
    ]


def test_captions_name_the_style(domain: str) -> None:
    geometry, rng = sample_geometry(domain, range(60)), random.Random(0)
    styles = [i % 6 for i in range(60)]
    for style, canonical, varied in zip(
        styles, caption(geometry, styles, None), caption(geometry, styles, rng), strict=True
    ):
        name = STYLES[domain][style]
        words = (name, *ADJECTIVES[name], *ENDINGS[name]) if domain == "landscape" else (name, *COATS[name])
        assert name in canonical
        assert any(word.lower() in varied.lower() for word in words), varied
    assert len(set(caption(geometry, [0] * 60, rng))) > 15
    assert caption(geometry, styles, None) == caption(geometry, styles, None)


def test_a_view_draws_a_part_of_the_same_world_finer(domain: str) -> None:
    scene = sample_geometry(domain, [5, 6]), [0, 1], [7, 8]
    whole, double = render(*scene), render(*scene, View(128, 2))
    assert (double.unflatten(2, (64, 2)).unflatten(4, (64, 2)).mean((3, 5)) - whole).abs().mean() < 0.02
    part = render(*scene, View(40, 2, (12, 30)))
    torch.testing.assert_close(part, double[..., 60:100, 24:64], atol=1e-5, rtol=0)
    labels = segment(scene[0], View(128, 2))
    assert (labels[:, ::2, ::2] == segment(scene[0])).float().mean() > 0.95


def test_a_camera_that_moves_by_pixels_shifts_the_image(domain: str) -> None:
    scene = sample_geometry(domain, [5, 6]), [0, 1], [7, 8]
    moved = render(*scene, View(offset=(3, -2)))
    torch.testing.assert_close(moved[..., 2:, :-3], render(*scene)[..., :-2, 3:], atol=1e-5, rtol=0)
    assert moved.isfinite().all()
