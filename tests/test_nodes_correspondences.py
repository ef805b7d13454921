"""DiffuseIT Correspondences and the sampler's run with it, without a ComfyUI."""

import importlib

import pytest
import torch
from nodes_alone import NAME, import_node_module

from diffuseit.correspondence import neighbors
from diffuseit.errors import InputError
from diffuseit.frames.links import fitted
from diffuseit.images.resize import Fit


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    return import_node_module(monkeypatch, "correspondences")


def test_given_flow_may_have_as_many_images_as_the_batch(module):
    images = torch.zeros(4, 3, 6, 8)
    flow = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 6, 8, 3)
    assert module.given_flow(flow, "flow_forward", images)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert module.given_flow(flow, "flow_backward", images)[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert module.given_flow(flow[:3], "flow_backward", images).shape == (3, 2, 6, 8)
    for wrong in (flow[:2], flow[:, :5], flow[..., :1], None):
        with pytest.raises(module.InputError):
            module.given_flow(wrong, "flow_forward", images)


def geometry(count: int = 2, size: tuple[int, int] = (20, 30), focal: float = 60.0):
    """Cameras that go .1 to the right before a wall at a depth of 2, as the network saw it at twice the size."""
    extrinsics = torch.eye(4)[:3].repeat(count, 1, 1)
    extrinsics[:, 0, 3] = -0.1 * torch.arange(count)
    inner = torch.tensor([[2 * focal, 0, size[1]], [0, 2 * focal, size[0]], [0, 0, 1]])
    return {
        "depth": torch.full((count, *size), 2.0),
        "extrinsics": extrinsics[None],
        "intrinsics": inner.repeat(1, count, 1, 1),
    }


def test_geometry_is_scaled_to_the_images(module):
    found = module.geometry_of(geometry(), torch.zeros(2, 3, 20, 30))
    first = found.pairs.index((0, 1))
    # .1 of 2, times a focal length of 60 pixels.
    x = found.position[first, 0, 10, 5:25]
    assert torch.allclose(x, torch.arange(5.0, 25.0) - 3, atol=0.05)


def test_centers_of_views_may_differ(module):
    own = geometry()
    own["intrinsics"][0, :, 0, 2] += torch.tensor([1.0, -1.0])
    found = module.geometry_of(own, torch.zeros(2, 3, 20, 30))
    # The network saw the images at twice the size: 2 pixels there are one here.
    x = found.position[found.pairs.index((0, 1)), 0, 10, 5:25]
    assert torch.allclose(x, torch.arange(5.0, 25.0) - 3 - 1, atol=0.05)


def test_geometry_without_cameras_or_of_other_images_is_refused(module):
    with pytest.raises(module.InputError, match="multiview"):
        module.geometry_of({"depth": torch.ones(2, 20, 30)}, torch.zeros(2, 3, 20, 30))
    with pytest.raises(module.InputError, match="2 depth maps of 30x20"):
        module.geometry_of(geometry(), torch.zeros(3, 3, 20, 30))
    broken = geometry()
    broken["extrinsics"][0, 1] = float("nan")
    with pytest.raises(module.InputError, match="not finite"):
        module.geometry_of(broken, torch.zeros(2, 3, 20, 30))


@pytest.mark.parametrize("mode", ["keep", "crop", "stretch"])
def test_correspondences_go_through_the_fit_of_the_images(mode: str):
    class Canvas:
        image_size, size_multiple = 64, 8

    fit = Fit.of((60, 100), Canvas(), mode)
    moved = neighbors(2, (60, 100))
    shift = torch.tensor([10.0, -6.0]).view(2, 1, 1)
    moved = type(moved)(moved.image, moved.other, moved.position + shift, moved.certainty)
    found = fitted(moved, fit)
    assert found.size == fit.canvas
    rows, columns = fit.content
    top, left = (fit.canvas[0] - rows) // 2, (fit.canvas[1] - columns) // 2
    scale = torch.tensor([columns / fit.window[3], rows / fit.window[2]])
    y, x = fit.canvas[0] // 2, fit.canvas[1] // 2
    wanted = torch.tensor([float(x), float(y)]) + torch.tensor([10.0, -6.0]) * scale
    assert torch.allclose(found.position[0, :, y, x], wanted, atol=1e-3)
    assert found.certainty[0, 0, y, x] == 1
    # What lies beyond the cut, and what the fit has added, corresponds to nothing.
    assert found.certainty[0, 0, top + 1, x] == 0
    assert found.certainty[0, 0, y, left + columns - 2] == 0
    with pytest.raises(InputError, match="100x60"):
        fitted(moved, Fit.of((60, 90), Canvas(), "keep"))


def test_the_consensus_takes_images_of_another_size_than_the_sources(monkeypatch: pytest.MonkeyPatch):
    module = import_node_module(monkeypatch, "consensus")
    types = importlib.import_module(f"{NAME}.nodes.types")
    together = types.Film(neighbors(3, (8, 12)), types.FilmSettings())
    images = torch.rand(3, 16, 24, 3, generator=torch.Generator().manual_seed(0))
    (agreed,) = module.Consensus.execute(image=images, options=types.Options(film=together)).args
    assert torch.allclose(agreed, images.mean(0, keepdim=True).expand_as(images), atol=1e-3)
    with pytest.raises(module.InputError, match="of 3 images, and here are 2"):
        module.Consensus.execute(image=images[:2], options=types.Options(film=together))
    with pytest.raises(module.InputError, match="connect DiffuseIT Correspondences"):
        module.Consensus.execute(image=images, options=types.Options())
