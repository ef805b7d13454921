"""Results at the size of their source: the source's detail where local color maps explain the result."""

import pytest
import torch

import diffuseit.images.full_size as full_size
from diffuseit.errors import InputError
from diffuseit.images.full_size import restore
from diffuseit.images.resize import Fit, resize
from diffuseit.pocket.benchmark.metrics import edge_f1, ssim
from diffuseit.pocket.world.render import View, render, sample_geometry


def fit_between(small: tuple[int, int], large: tuple[int, int]) -> Fit:
    return Fit(large, (0, 0, *large), small, small)


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Two scenes in summer and in autumn, [2, 3, 192, 192]."""
    geometry = sample_geometry("landscape", [11, 12])
    summer, autumn = (render(geometry, [style] * 2, [3, 4], View(192, 3)) for style in (0, 2))
    return summer, autumn


def test_a_change_of_colors_is_made_at_full_size(scene):
    source, _ = scene
    matrix = torch.tensor([[0.2, 0.5, 0.0], [0.0, -0.4, 0.1], [0.3, 0.0, 0.6]])
    recolored = torch.einsum("ij,bjhw->bihw", matrix, source) + torch.tensor([0.1, -0.2, 0.0]).view(3, 1, 1)
    fit = fit_between((64, 64), (192, 192))
    result = fit.apply(recolored)
    sharp = restore(fit, result, source)
    assert (sharp - recolored).abs().mean() < 0.005
    assert (restore(fit, result, source, detail=0) - recolored).abs().mean() > 0.01


def test_the_truth_is_nearer_with_detail(scene):
    source, truth = scene
    fit = fit_between((64, 64), (192, 192))
    result = fit.apply(truth)
    with_detail, resized = (restore(fit, result, source, detail=each) for each in (1.0, 0.0))
    assert (edge_f1(with_detail, truth) > edge_f1(resized, truth) + 0.1).all()
    assert (ssim(with_detail, truth) > ssim(resized, truth)).all()


def test_what_no_map_explains_stays_as_it_is(scene):
    source, _ = scene
    noise = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fit = fit_between((64, 64), (192, 192))
    assert (restore(fit, noise, source) - resize(noise, (192, 192))).abs().mean() < 0.02


def test_half_the_detail_lies_between(scene):
    source, truth = scene
    fit = fit_between((64, 64), (192, 192))
    none, half, all_ = (restore(fit, fit.apply(truth), source, detail=each) for each in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (none + all_) / 2, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="use 0 to 1"):
        restore(fit, fit.apply(truth), source, detail=1.5)


def test_strips_make_no_seams_and_items_no_difference(scene, monkeypatch):
    source, truth = scene
    fit = fit_between((64, 64), (192, 192))
    whole = restore(fit, fit.apply(truth), source)
    monkeypatch.setattr(full_size, "_STRIP", 192 * 2 * 7)
    torch.testing.assert_close(restore(fit, fit.apply(truth), source), whole, atol=1e-5, rtol=0)
    one = restore(fit, fit.apply(truth)[:1], source[:1])
    torch.testing.assert_close(one, whole[:1], atol=1e-5, rtol=0)


def test_flat_images_and_smaller_sources_have_no_detail():
    flat = torch.full((1, 3, 100, 130), 0.25)
    fit = fit_between((64, 83), (100, 130))
    assert restore(fit, fit.apply(-flat), flat).add(flat).abs().max() < 1e-3
    small = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    fit = fit_between((64, 80), (40, 50))
    result = fit.apply(small)
    assert torch.equal(restore(fit, result, small), resize(result, (40, 50)))
