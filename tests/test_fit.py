"""Pictures of any size come to a model's size and back without being squashed, cut or shifted."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from diffuseit.errors import InputError
from diffuseit.images.full_size import restore
from diffuseit.images.resize import Fit, cover, resize

POCKET = SimpleNamespace(image_size=64, size_multiple=8)
ADM256 = SimpleNamespace(image_size=256, size_multiple=32)
ADM512 = SimpleNamespace(image_size=512, size_multiple=64)
SIZES = [(3000, 4000), (2000, 3000), (1080, 1920), (100, 100), (80, 90), (8, 8), (333, 517), (1000, 4000)]


def disc(height: int, width: int) -> torch.Tensor:
    """A white disc in the middle of black, [1, 3, H, W]."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < min(height, width) / 3
    return torch.from_numpy(np.where(inside, 1.0, -1.0)).float().expand(1, 3, -1, -1)


def smooth(height: int, width: int) -> torch.Tensor:
    """Gentle waves, [1, 3, H, W], that survive resizing."""
    y, x = torch.linspace(0, 3, height)[:, None], torch.linspace(0, 4, width)
    return torch.stack([(x + y).sin(), (2 * x - y).cos(), (x * y).sin()])[None] * 0.9


# --- The canvas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", [POCKET, ADM256, ADM512])
@pytest.mark.parametrize("size", SIZES)
def test_keep_gives_a_canvas_that_the_model_knows(backbone, size: tuple[int, int]):
    fit = Fit.of(size, backbone)
    assert all(side % backbone.size_multiple == 0 for side in fit.canvas)
    assert 0.8 < fit.canvas[0] * fit.canvas[1] / backbone.image_size**2 < 1.25
    assert math.prod(fit.content) / math.prod(fit.canvas) > 0.85
    assert fit.familiar
    scale = fit.content[0] / size[0]
    assert abs(fit.content[1] - size[1] * scale) <= 0.5 * max(size) / min(size) + 0.5
    turned = Fit.of(size[::-1], backbone)
    assert (turned.canvas, turned.content) == (fit.canvas[::-1], fit.content[::-1])


def test_a_square_fills_the_trained_size():
    fit = Fit.of((1000, 1000), ADM256)
    assert fit.canvas == fit.content == (256, 256)


def test_a_narrow_picture_goes_in_but_is_not_familiar():
    fit = Fit.of((100, 900), ADM256)
    assert min(fit.canvas) >= 32
    assert not fit.familiar
    assert fit.apply(torch.zeros(1, 3, 100, 900)).shape[-2:] == fit.canvas


@pytest.mark.parametrize(
    ("size", "mode", "match"),
    [
        ((1, 500), "keep", "is 500x1 pixels: at least 8x8 are needed"),
        ((7, 7), "crop", "at least 8x8"),
        ((100, 6500), "keep", "one side over 64 times the other: crop it"),
        ((100, 100), "squash", "use one of keep, crop, stretch"),
    ],
)
def test_sizes_that_do_not_fit(size: tuple[int, int], mode, match: str):
    with pytest.raises(InputError, match=match):
        Fit.of(size, ADM256, mode)


def test_a_tensor_of_another_size_is_refused():
    fit = Fit.of((90, 120), POCKET)
    for step, name in ((fit.apply, "the source"), (fit.undo, "the result")):
        with pytest.raises(InputError, match=f"{name} is .*: this fit is for"):
            step(torch.zeros(1, 3, 50, 50))


# --- There and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES[:-1])
def test_what_was_filled_in_is_cut_off_again(size: tuple[int, int]):
    image, fit = smooth(*size), Fit.of(size, POCKET)
    assert torch.equal(fit.undo(fit.apply(image)), resize(image, fit.content))


@pytest.mark.parametrize("mode", ["keep", "stretch"])
@pytest.mark.parametrize("size", [(300, 517), (90, 64), (40, 33)])
def test_restore_puts_every_pixel_where_it_was(size: tuple[int, int], mode):
    image = smooth(*size)
    fit = Fit.of(size, ADM256, mode)
    back = restore(fit, fit.apply(image), image, detail=0)
    assert back.shape == image.shape
    assert (back - image).abs().max() < 0.02


@pytest.mark.parametrize(("size", "top", "left"), [((60, 100), 0, 20), ((101, 60), 20, 0)])
def test_crop_takes_the_middle(size: tuple[int, int], top: int, left: int):
    image, fit = smooth(*size), Fit.of(size, POCKET, "crop")
    middle = image[..., top : top + 60, left : left + 60]
    assert torch.equal(fit.apply(image), resize(middle, (64, 64)))
    assert (restore(fit, fit.apply(image), image, detail=0) - middle).abs().max() < 0.02


@pytest.mark.parametrize(("mode", "round_"), [("keep", True), ("crop", True), ("stretch", False)])
def test_a_disc_stays_a_disc_but_where_stretched(mode, round_: bool):
    fit = Fit.of((300, 420), POCKET, mode)
    shown = fit.undo(fit.apply(disc(300, 420)))[0, 0] > 0
    height, width = shown.any(1).sum(), shown.any(0).sum()
    assert (abs(int(height) - int(width)) <= 1) == round_
    assert (shown == shown.flip(0, 1)).float().mean() > 0.98


def test_filling_is_a_reflection():
    fit = Fit.of((300, 400), POCKET)
    (height, width), (rows, columns) = fit.content, fit.canvas
    assert (rows, columns) == (56, 72) and (height, width) == (54, 72)
    canvas = fit.apply(smooth(300, 400))
    assert torch.equal(canvas[..., 0, :], canvas[..., 2, :])
    assert torch.equal(canvas[..., -1, :], canvas[..., -3, :])


def test_filling_more_than_there_is_repeats_the_edge():
    size = (8, 500)
    fit = Fit.of(size, SimpleNamespace(image_size=64, size_multiple=8))
    squeezed = Fit(size, (0, 0, 8, 500), (2, 500), (8, 504))
    canvas = squeezed.apply(smooth(*size))
    assert canvas.shape[-2:] == (8, 504)
    assert torch.equal(canvas[..., 0, :], canvas[..., 3, :])
    assert fit.apply(smooth(*size)).isfinite().all()


# --- Masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["keep", "crop", "stretch"])
def test_a_mask_goes_the_way_of_its_picture(mode):
    image = disc(300, 420)
    fit = Fit.of((300, 420), POCKET, mode)
    mask = fit.apply((image[:, :1] + 1) / 2)
    assert mask.shape[1] == 1
    assert mask.min() == 0 and mask.max() == 1
    assert ((mask > 0.5) == (fit.apply(image)[:, :1] > 0)).float().mean() > 0.99


def test_a_mask_does_not_ring():
    """Where a hard mask is 0 more than a new pixel away from its edge, it stays 0."""
    mask = torch.zeros(1, 1, 300, 300)
    mask[..., :150] = 1
    small = Fit.of((300, 300), POCKET).apply(mask)
    assert small[..., 34:].max() == 0
    assert small[..., :30].min() > 1 - 1e-6


@pytest.mark.parametrize("mode", ["keep", "crop", "stretch"])
def test_a_protected_source_survives_exactly_at_its_own_size(mode):
    noise = torch.rand(2, 3, 150, 210, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 150, 210)
    mask[..., 60:90, 80:130] = 1
    fit = Fit.of((150, 210), POCKET, mode)
    restored = restore(fit, torch.zeros(2, 3, *fit.canvas), noise, mask)
    changed = fit.cut(mask).bool().expand_as(restored)
    assert torch.equal(restored[~changed], fit.cut(noise)[~changed])
    assert (restored[changed] == 0).all()


# --- Resizing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (56, 80), (300, 64)])
def test_pictures_shrink_as_pillow_shrinks_them(size: tuple[int, int]):
    levels = np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
    wanted = np.array(Image.fromarray(levels).resize(size[::-1], Image.Resampling.LANCZOS)).astype(float)
    image = torch.from_numpy(levels).permute(2, 0, 1)[None] / 127.5 - 1
    found = (resize(image, size) + 1)[0].permute(1, 2, 0).numpy() * 127.5
    assert np.abs(found - wanted).max() < 1


def test_masks_shrink_as_pillow_shrinks_them():
    levels = np.random.default_rng(0).integers(0, 256, (300, 420), dtype=np.uint8)
    wanted = np.array(Image.fromarray(levels).resize((80, 56), Image.Resampling.BILINEAR)).astype(float)
    found = resize(torch.from_numpy(levels)[None, None] / 255, (56, 80))[0, 0].numpy() * 255
    assert np.abs(found - wanted).max() < 1


def test_resizing_stays_in_range():
    assert resize(disc(30, 30), (97, 97)).abs().max() == 1


def test_cover_keeps_the_aspect_and_the_middle():
    assert cover(torch.zeros(2, 3, 40, 300), (64, 80)).shape == (2, 3, 64, 80)
    covered = cover(disc(300, 420), (64, 64))[0, 0] > 0
    assert abs(int(covered.any(1).sum()) - int(covered.any(0).sum())) <= 1
    assert (covered == covered.flip(0, 1)).float().mean() > 0.98


@pytest.mark.parametrize("canvas", [(64, 64), (64, 128), (80, 40)])
def test_a_covering_fit_fills_the_canvas_with_the_middle_of_the_picture(canvas: tuple[int, int]):
    picture = disc(300, 500)
    fit = Fit.covering((300, 500), canvas)
    covered = fit.apply(picture)
    assert tuple(covered.shape[-2:]) == canvas
    assert torch.equal(covered, cover(picture, canvas))
    assert torch.allclose(covered, covered.flip(-1), atol=0.1)  # the middle stays in the middle
    assert fit.apply(torch.ones(1, 1, 300, 500)).min() > 0.999
