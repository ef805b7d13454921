"""Registration: shifts that are known, between pictures of unlike style."""

import math

import pytest
import torch
import torch.nn.functional as F

from diffuseit.errors import InputError
from diffuseit.evaluation.registration import SURE, register
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

BORDER = 8
STYLES = 6


def scenes(domain, count, first=0):
    """`count` sources, and the same scenes in other styles."""
    seeds = [TUNING.start + first + number for number in range(count)]
    geometry = sample_geometry(domain, seeds)
    styles = torch.arange(count) % STYLES
    others = (styles + 1 + torch.arange(count) // STYLES % (STYLES - 1)) % STYLES
    return render(geometry, styles, seeds), render(geometry, others, [seed + 7 for seed in seeds])


def moved(pictures, shifts):
    """Pictures moved by (down, right) [N, 2] pixels, interpolated by cubic splines."""
    height, width = pictures.shape[-2:]
    theta = torch.eye(2, 3).repeat(len(pictures), 1, 1)
    theta[:, 0, 2] = -2 * shifts[:, 1] / width
    theta[:, 1, 2] = -2 * shifts[:, 0] / height
    grid = F.affine_grid(theta, pictures.shape, align_corners=False)
    return F.grid_sample(pictures, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def inner(pictures):
    """Without the border, so that a shift brings new things in, as a camera does."""
    return pictures[..., BORDER:-BORDER, BORDER:-BORDER]


def drawn(count, longest=float(BORDER)):
    """Shifts of all lengths up to `longest`, in all directions."""
    generator = torch.Generator().manual_seed(0)
    length = longest * torch.rand(count, generator=generator)
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    return torch.stack([length * angle.sin(), length * angle.cos()], dim=1)


def test_subpixel_shifts_of_scenes_in_another_style_are_found():
    source, other = scenes("landscape", 60)
    shifts = drawn(60)
    found = register(inner(moved(other, shifts)), inner(source))
    error = (found.shift - shifts).norm(dim=1)
    assert error.max() < 0.25
    assert error.median() < 0.1
    assert found.found.double().mean() > 0.97


def test_shifts_of_animals_in_another_coat_are_found_where_it_is_sure():
    """Stripes and spots are edges that the source has not."""
    source, other = scenes("animal", 60)
    shifts = drawn(60)
    found = register(inner(moved(other, shifts)), inner(source))
    error = (found.shift - shifts).norm(dim=1)
    assert found.found.double().mean() > 0.7
    assert error[found.found].max() < 1
    assert (error[found.found] < 0.25).double().mean() > 0.9


def test_a_scene_in_another_style_is_not_shifted():
    source, other = scenes("landscape", 60, first=100)
    found = register(other, source)
    assert found.distance.max() < 0.2
    assert found.in_place.all()


@pytest.mark.parametrize("zoom", [1.02, 0.97])
def test_a_zoom_is_found_and_is_not_in_place(zoom):
    source, other = scenes("landscape", 6)
    large = [F.interpolate(each, (384, 384), mode="bicubic").clamp(-1, 1) for each in (source, other)]
    theta = torch.eye(2, 3)[None].repeat(6, 1, 1) / zoom
    grid = F.affine_grid(theta, large[1].shape, align_corners=False)
    found = register(F.grid_sample(large[1], grid, mode="bicubic", align_corners=False), large[0])
    known = ~found.zoom.isnan()
    assert known.sum() >= 4
    assert (found.zoom[known] - zoom).abs().max() < 0.004
    assert not found.in_place[known].any()
    assert register(large[1], large[0]).in_place.all()


def test_a_zoom_about_another_place_is_told_from_a_shift():
    """A zoom about a corner moves the middle as well."""
    source, other = scenes("landscape", 1, first=3)
    large = [F.interpolate(each, (384, 384), mode="bicubic").clamp(-1, 1) for each in (source, other)]
    zoom = 1.02
    theta = torch.tensor(
        [[[1 / zoom, 0, 1 / zoom - 1], [0, 1 / zoom, 1 / zoom - 1]]]
    )  # the first corner stays
    grid = F.affine_grid(theta, large[1].shape, align_corners=False)
    found = register(F.grid_sample(large[1], grid, mode="bicubic", align_corners=False), large[0])
    assert found.zoom.item() == pytest.approx(zoom, abs=0.004)
    assert found.shift[0].tolist() == pytest.approx([0.02 * 192] * 2, abs=1)


def test_other_scenes_have_no_shift():
    source, other = scenes("landscape", 60)
    confidence = register(other.roll(7, 0), source).confidence
    assert confidence.max() < SURE
    noise = torch.randn(20, 3, 64, 64, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert register(noise, source[:20]).confidence.max() < SURE


def test_a_large_picture_is_measured_in_its_own_pixels():
    source, other = scenes("landscape", 4)
    large = [F.interpolate(each, (640, 960), mode="bicubic").clamp(-1, 1) for each in (source, other)]
    shifts = torch.tensor([[30.0, -70.0], [-55.5, 12.25], [0.0, 0.0], [90.0, 150.0]])
    sources, results = large[0][..., 80:-80, 120:-120], moved(large[1], shifts)[..., 80:-80, 120:-120]
    found = register(results, sources)
    # Cubic interpolation has smoothed the edges over 10 pixels.
    assert (found.shift - shifts).norm(dim=1).max() < 4
    assert found.found.all()


def test_noise_on_a_result_does_not_hide_its_shift():
    source, other = scenes("landscape", 30)
    shifts = drawn(30)
    result = moved(other, shifts)
    result = result + 0.1 * torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    found = register(inner(result), inner(source))
    sure = found.found
    assert sure.double().mean() > 0.8
    assert (found.shift - shifts).norm(dim=1)[sure].max() < 0.5


@pytest.mark.parametrize("result", ["flat", "flat source"])
def test_a_picture_of_one_color_has_no_shift(result):
    source, _ = scenes("landscape", 1)
    flat = torch.full_like(source, 0.3)
    found = register(flat, source) if result == "flat" else register(source, flat)
    assert found.shift.tolist() == [[0, 0]]
    assert found.confidence.tolist() == [0]


def test_lines_that_run_along_one_direction_are_not_sure():
    """A shift along a horizon cannot be seen."""
    picture = -torch.ones(1, 3, 64, 64)
    picture[:, :, 30:] = 1
    assert not register(picture, picture).found.any()


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match="one shape"):
        register(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 32, 64))
    with pytest.raises(InputError, match="too small"):
        register(torch.zeros(1, 3, 8, 64), torch.zeros(1, 3, 8, 64))
