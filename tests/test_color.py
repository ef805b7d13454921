"""The color transfer is color-matcher's, which the official code uses, and holds where that breaks."""

import warnings

import numpy as np
import pytest
import torch
from color_matcher import ColorMatcher
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffuseit.images.color import match_colors, match_colors_batch, transfer


def picture(seed: int, height: int, width: int) -> Tensor:
    """Correlated colors, [3, H, W] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    mixing, offset = torch.rand(3, 3, generator=generator), torch.rand(3, 1, generator=generator)
    colors = mixing @ torch.rand(3, height * width, generator=generator) + offset
    return (colors / colors.max()).mul(2).sub(1).reshape(3, height, width)


def stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


def official(image: Tensor, target: Tensor) -> Tensor:
    """As the official code calls color-matcher."""
    source, reference = (stretched(x.double().movedim(0, -1).numpy()) for x in (image, target))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its eigenvalues are complex to some versions of numpy
        matched = np.real(ColorMatcher().transfer(src=source, ref=reference, method="mkl"))
    return torch.from_numpy(stretched(matched)).movedim(-1, 0).mul(2).sub(1).float()


@given(st.integers(0, 1000), st.integers(10, 40), st.integers(10, 40))
def test_the_transfer_is_the_official_one(seed: int, height: int, width: int):
    image, target = picture(seed, height, width), picture(seed + 1, 20, 30)
    assert (match_colors(image, target) - official(image, target)).abs().max() < 1 / 255


@given(st.lists(st.floats(-2, 2), min_size=18, max_size=18))
def test_the_map_takes_one_covariance_to_the_other(numbers: list[float]):
    first, second = torch.tensor(numbers, dtype=torch.float64).reshape(2, 3, 3)
    source, target = (matrix @ matrix.T + 0.01 * torch.eye(3) for matrix in (first, second))
    moved = transfer(source, target)
    torch.testing.assert_close(moved @ source @ moved.T, target, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(moved, moved.T)
    assert torch.linalg.eigvalsh(moved).min() > 0  # of all maps that do, the one that moves least


def test_a_picture_keeps_its_own_colors():
    image = picture(0, 30, 40)
    image = image.sub(image.min()).div(image.max() - image.min()).mul(2).sub(1)
    torch.testing.assert_close(match_colors(image, image), image, atol=1e-5, rtol=0)


def gray(image: Tensor) -> Tensor:
    return image.mean(0, keepdim=True).expand(3, -1, -1)


@pytest.mark.parametrize(
    ("image", "target"),
    [
        (gray(picture(0, 16, 16)), picture(1, 16, 16)),
        (picture(0, 16, 16), gray(picture(1, 16, 16))),
        (gray(picture(0, 16, 16)), gray(picture(1, 16, 16))),
        (picture(0, 16, 16) * torch.tensor([1.0, 0, 0]).view(3, 1, 1), picture(1, 16, 16)),
        (picture(0, 1, 2), picture(1, 16, 16)),
        (picture(0, 16, 16), picture(1, 1, 2)),
    ],
)
def test_colors_along_a_line_or_in_a_plane(image: Tensor, target: Tensor):
    """Their covariances have no inverse."""
    result = match_colors(image, target)
    assert result.isfinite().all()
    assert result.aminmax() == (-1, 1)


def test_a_gray_target_makes_gray():
    result = match_colors(picture(0, 16, 16), gray(picture(1, 16, 16)))
    assert (result - gray(result)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "flat", [torch.zeros(3, 8, 8), torch.tensor([0.1, -0.7, 0.3]).view(3, 1, 1).expand(3, 8, 8)]
)
def test_flat_pictures_change_nothing(flat: Tensor):
    image = picture(0, 8, 8)
    assert torch.equal(match_colors(image, flat), image)
    assert torch.equal(match_colors(flat, image), flat)
    assert torch.equal(match_colors(image, image[:, :1, :1]), image)


def test_batches_have_one_target_or_one_for_each():
    images = torch.stack([picture(seed, 8, 8) for seed in range(2)])
    targets = torch.stack([picture(seed, 8, 8) for seed in (5, 6)])
    each = match_colors_batch(images, targets)
    assert torch.equal(each[1], match_colors(images[1], targets[1]))
    assert torch.equal(match_colors_batch(images, targets[:1])[1], match_colors(images[1], targets[0]))
    assert each.dtype == images.dtype


def test_there_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match_colors(picture(0, 8, 8), picture(1, 8, 8))
