"""ComfyUI's pictures and masks to the core and back, without a ComfyUI."""

import numpy as np
import pytest
import torch
from nodes_alone import import_node_module


@pytest.fixture
def images(monkeypatch):
    return import_node_module(monkeypatch, "images")


def as_load_image(levels):
    """As ComfyUI's Load Image: [B, H, W, 3] in [0, 1]."""
    return torch.from_numpy(levels.astype(np.float32) / 255.0)


def as_save_image(picture):
    """As ComfyUI's Save Image, which cuts off."""
    return np.clip(255.0 * picture.numpy(), 0, 255).astype(np.uint8)


def test_every_level_of_8_bit_survives_the_way_in_and_out(images):
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    picture = as_load_image(levels)
    out = images.to_comfy(images.to_core(picture))
    assert torch.equal(out, picture)
    assert (as_save_image(out) == levels).all()


def test_what_lies_between_two_levels_stays_there(images):
    between = torch.linspace(-1, 1, 3 * 999).reshape(1, 3, 27, 37)
    expected = (between / 2 + 0.5).movedim(1, -1)
    assert (images.to_comfy(between) - expected).abs().max() < 2e-6


def test_results_beyond_black_and_white_are_clipped(images):
    out = images.to_comfy(torch.tensor([-1.7, 0.0, 3.0]).reshape(1, 3, 1, 1))
    assert out.tolist() == [[[[0.0, 0.5, 1.0]]]]


def test_a_picture_enters_as_a_copy_that_autograd_takes(images):
    with torch.inference_mode():
        picture = torch.rand(2, 5, 4, 3)
    with torch.inference_mode(False):
        core = images.to_core(picture)
        core.requires_grad_().square().sum().backward()
    assert core.shape == (2, 3, 5, 4)
    torch.testing.assert_close(core.grad, 2 * core.detach())


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (torch.zeros(1, 4, 4, 4), "x: the picture has an alpha channel; remove it first"),
        (torch.zeros(1, 4, 4, 1), "x: the picture has 1 channels instead of red, green and blue"),
        (
            torch.zeros(4, 4, 3),
            "x: the pictures of a batch have several sizes; resize them to one size first",
        ),
        ([torch.zeros(1, 4, 4, 3), torch.zeros(1, 5, 4, 3)], "x: the pictures of a batch have several sizes"),
        (
            torch.nested.nested_tensor([torch.zeros(4, 4, 3), torch.zeros(5, 4, 3)], layout=torch.jagged),
            "x: the pictures of a batch have several sizes",
        ),
        (torch.zeros(0, 4, 4, 3), "x: the batch is empty"),
    ],
)
def test_what_is_no_picture_is_refused(images, picture, sentence):
    with pytest.raises(ValueError, match=r"^x: ") as caught:
        images.to_core(picture, "x")
    assert str(caught.value).startswith(sentence)


def test_masks_of_all_forms_lie_on_the_picture(images):
    picture = torch.zeros(2, 3, 4, 6)
    for mask in (torch.ones(4, 6), torch.ones(1, 4, 6), torch.ones(2, 4, 6) * 2):
        core = images.mask_to_core(mask, picture)
        assert core.shape == (mask.shape[0] if mask.ndim == 3 else 1, 1, 4, 6)
        assert core.max() == 1
        assert core.data_ptr() != mask.data_ptr()


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.ones(1, 6, 4), "mask: the mask is 4x6 and the picture 6x4: resize the mask"),
        (
            torch.ones(1, 64, 64),
            "mask: the mask is 64x64 and the picture 6x4: resize the mask; Load Image gives",
        ),
        (torch.ones(3, 4, 6), "mask: 3 masks for 2 pictures: give one, or one for each"),
        (torch.zeros(1, 4, 6), "mask: the mask is empty, so nothing would change: paint what may change"),
    ],
)
def test_masks_that_do_not_fit_are_refused(images, mask, sentence):
    with pytest.raises(ValueError, match=r"^mask: ") as caught:
        images.mask_to_core(mask, torch.zeros(2, 3, 4, 6))
    assert str(caught.value).startswith(sentence)
