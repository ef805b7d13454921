"""ComfyUI's pictures and masks to the core and back, without a ComfyUI."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nodes_alone import import_node_module

from diffuseit.guidance.mask import blend
from diffuseit.images.full_size import restore
from diffuseit.images.resize import Fit


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


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_every_level_survives_half_precision(images, kind):
    """As ComfyUI's --fp16-intermediates hands pictures over."""
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    out = images.to_comfy(images.to_core(as_load_image(levels).to(kind)))
    assert (as_save_image(out) == levels).all()


def test_protected_pixels_survive_half_precision_in_a_larger_picture(images):
    """Through the core's own way back to the source's size."""
    levels = np.random.default_rng(0).integers(0, 256, (1, 40, 60, 3), dtype=np.uint8)
    source = images.to_core(as_load_image(levels).half())
    mask = torch.zeros(1, 40, 60)
    mask[:, :, 30:] = 1
    fit = Fit.of((40, 60), SimpleNamespace(image_size=16, size_multiple=8))
    result = torch.zeros(1, 3, *fit.canvas)
    out = images.to_comfy(restore(fit, result, source, images.mask_to_core(mask.half(), source)))
    assert (as_save_image(out)[:, :, :30] == levels[:, :, :30]).all()
    assert (as_save_image(out)[:, :, 30:] == 127).all()


class Elsewhere(torch.Tensor):
    """A tensor on a device of its own, which does not mix with those on the CPU, as under --gpu-only."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.Tensor.to and "cpu" in args:
            return super().__torch_function__(function, types, args, kwargs).as_subclass(torch.Tensor)
        flat = [tensor for arg in args for tensor in (arg if isinstance(arg, list | tuple) else [arg])]
        if any(type(tensor) is torch.Tensor and tensor.ndim for tensor in flat):
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__torch_function__(function, types, args, kwargs or {})


def test_pictures_and_masks_come_from_any_device(images):
    """What the core gets lies on the CPU, wherever the inputs are."""
    there = torch.rand(2, 4, 6, 3).as_subclass(Elsewhere)
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.rand(2, 4, 6, 3)
    core = images.to_core(there)
    mask = images.mask_to_core((torch.rand(2, 4, 6) > 0.5).as_subclass(Elsewhere), core)
    assert type(core) is type(mask) is torch.Tensor
    assert core.device.type == mask.device.type == "cpu"
    assert blend(torch.zeros_like(core), core, mask).shape == core.shape


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
        (torch.zeros(1, 4, 4, 4), "x: the image has an alpha channel; remove it first"),
        (torch.zeros(1, 4, 4, 1), "x: the image has 1 channels instead of red, green, and blue"),
        (
            torch.zeros(4, 4, 3),
            "x: the images of a batch have different sizes; resize them to one size first",
        ),
        ([torch.zeros(1, 4, 4, 3), torch.zeros(1, 5, 4, 3)], "x: the images of a batch have different sizes"),
        (
            torch.nested.nested_tensor([torch.zeros(4, 4, 3), torch.zeros(5, 4, 3)], layout=torch.jagged),
            "x: the images of a batch have different sizes",
        ),
        (torch.zeros(0, 4, 4, 3), "x: the batch is empty"),
        (torch.zeros(1, 0, 4, 3), "x: the batch is empty"),
        (torch.full((1, 4, 4, 3), float("nan")), "x: the image has values that are not finite"),
        (torch.full((1, 4, 4, 3), float("-inf")), "x: the image has values that are not finite"),
        (
            torch.full((1, 4, 4, 3), float("nan"), dtype=torch.float16),
            "x: the image has values that are not",
        ),
        ("a literal", "x: 'a literal' is not an image; connect one"),
        (None, "x: None is not an image; connect one"),
        (7, "x: 7 is not an image; connect one"),
    ],
)
def test_what_is_no_picture_is_refused(images, picture, sentence):
    with pytest.raises(ValueError, match=r"^x: ") as caught:
        images.to_core(picture, "x")
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool])
@pytest.mark.parametrize(
    "shape", [(4, 6), (1, 4, 6), (2, 4, 6), (1, 1, 4, 6), (2, 1, 4, 6), (1, 4, 6, 1), (2, 4, 6, 1)]
)
def test_masks_of_all_shapes_lie_on_the_picture(images, shape, kind):
    mask = torch.zeros(shape, dtype=kind)
    batch = mask.reshape(-1, 4, 6)
    batch[:, 1, 2:5] = True
    core = images.mask_to_core(mask, torch.zeros(2, 3, 4, 6))
    assert core.shape == (len(batch), 1, 4, 6)
    assert core.dtype == torch.float32
    assert torch.equal(core[:, 0], batch.float())
    assert core.data_ptr() != mask.data_ptr()


@pytest.mark.parametrize("size", [(40, 60), (8, 12), (2, 4), (41, 60)])
def test_a_mask_of_another_size_is_scaled(images, size):
    mask = torch.zeros(size)
    mask[:, size[1] // 2 :] = 1
    core = images.mask_to_core(mask, torch.zeros(1, 3, 4, 6))
    assert core.shape == (1, 1, 4, 6)
    assert core[..., :2].max() == 0 and core[..., 4:].min() > 0.99
    assert core.mean().item() == pytest.approx(0.5, abs=0.1)


def test_the_empty_mask_of_load_image_counts_as_none(images):
    for picture in (torch.zeros(2, 3, 4, 6), torch.zeros(2, 3, 64, 64)):
        for mask in (torch.zeros(1, 64, 64), torch.zeros(2, 64, 64)):
            assert images.mask_to_core(mask, picture) is None
    dot = torch.zeros(1, 64, 64)
    dot[0, 3, 3] = 1
    assert images.mask_to_core(dot, torch.zeros(2, 3, 64, 64)).sum() == 1


def test_masks_are_clipped(images):
    assert images.mask_to_core(
        torch.linspace(-1, 2, 24).reshape(4, 6), torch.zeros(1, 3, 4, 6)
    ).aminmax() == (0, 1)


@contextmanager
def suppress_named(name):
    """Lets errors pass that begin with the name of the input."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(f"{name}: "):
            raise


@given(shape=st.lists(st.integers(0, 7), max_size=6), value=st.floats(width=32))
def test_a_mask_of_any_shape_fits_or_is_refused_by_name(images, shape, value):
    picture = torch.zeros(2, 3, 4, 6)
    with suppress_named("the_input"):
        core = images.mask_to_core(torch.full(shape, value), picture, "the_input")
        assert core is not None
        assert core.shape in ((1, 1, 4, 6), (2, 1, 4, 6))
        assert 0 < core.max() <= 1


@given(shape=st.lists(st.integers(0, 5), max_size=5), value=st.floats(width=32))
def test_a_picture_of_any_shape_fits_or_is_refused_by_name(images, shape, value):
    with suppress_named("the_input"):
        core = images.to_core(torch.full(shape, value), "the_input")
        assert core.shape == (shape[0], 3, shape[1], shape[2])
        assert -1 <= core.min() <= core.max() <= 1


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (
            torch.ones(1, 60, 40),
            "mask: the mask is 40x60 pixels and the image 6x4: give one of the same shape",
        ),
        (
            torch.ones(1, 64, 64),
            "mask: the mask is 64x64 pixels and the image 6x4: give one of the same shape",
        ),
        (torch.ones(1, 0, 6), "mask: the mask is 6x0 pixels and the image 6x4: give one of the same shape"),
        (torch.ones(3, 4, 6), "mask: 3 masks for 2 images: give one, or one for each"),
        (torch.zeros(1, 4, 6), "mask: the mask is empty, so nothing would change: paint what may change"),
        (torch.full((4, 6), float("nan")), "mask: the mask has values that are not finite"),
        (torch.full((4, 6), float("inf")), "mask: the mask has values that are not finite"),
        (
            torch.ones(1, 4, 6, 3),
            "mask: the mask is (1, 4, 6, 3): it must be [H, W], [B, H, W], [B, 1, H, W] or",
        ),
        (torch.ones(4), "mask: the mask is (4,): it must be"),
        ([torch.ones(4, 6)], "mask: the mask is a list: give one tensor, [H, W] or [B, H, W]"),
        ("a literal", "mask: the mask is a str: give one tensor"),
    ],
)
def test_masks_that_do_not_fit_are_refused(images, mask, sentence):
    with pytest.raises(ValueError, match=r"^mask: ") as caught:
        images.mask_to_core(mask, torch.zeros(2, 3, 4, 6))
    assert str(caught.value).startswith(sentence)


# --- Match Colors -----------------------------------------------------------------------------------------------


@pytest.fixture
def match(monkeypatch):
    """The node, as a function of (image, reference, strength)."""
    node = import_node_module(monkeypatch, "color").MatchColors

    def match(image, reference, strength):
        (matched,) = node.execute(image=image, reference=reference, strength=strength).args
        return matched

    return match


def test_strength_moves_the_colors_part_of_the_way(match):
    levels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(1, 5, 7, 3, generator=generator) * torch.tensor([1, 0.2, 0.1])
    image = as_load_image(levels)
    whole, half, none = (match(image, reference, strength) for strength in (1.0, 0.5, 0))
    assert (as_save_image(none) == levels).all()
    torch.testing.assert_close(half, (whole + image) / 2, atol=1e-5, rtol=0)
    assert (whole.mean((0, 1, 2)) - image.mean((0, 1, 2))).abs().max() > 0.1


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -0.1, 1.1, "1", None])
def test_a_strength_that_is_none_is_refused(match, strength):
    with pytest.raises(ValueError, match=r"^strength (is|cannot be) .*: (use|it must be) "):
        match(torch.rand(1, 4, 4, 3), torch.rand(1, 4, 4, 3), strength)


def test_pictures_that_cannot_be_matched_are_refused(match):
    good, bad = torch.rand(1, 4, 4, 3), torch.full((1, 4, 4, 3), float("nan"))
    with pytest.raises(ValueError, match=r"^reference has values that are not finite"):
        match(good, bad, 1.0)
    with pytest.raises(ValueError, match=r"^image has values that are not finite"):
        match(bad, good, 1.0)
    with pytest.raises(ValueError, match=r"^reference: 2 images for 3: give one, or one for each"):
        match(good.expand(3, -1, -1, -1), good.expand(2, -1, -1, -1), 1.0)


# --- Full Size --------------------------------------------------------------------------------------------------


@pytest.fixture
def full_size(monkeypatch):
    """The node, as a function of its inputs."""
    node = import_node_module(monkeypatch, "full_size").FullSize

    def full_size(image, source, detail=1.0, mask=None):
        return node.execute(image=image, source=source, detail=detail, mask=mask).args[0]

    return full_size


def test_a_result_gets_the_size_and_the_detail_of_its_source(full_size):
    source = torch.rand(1, 12, 18, 3, generator=torch.Generator().manual_seed(0))
    source = source.repeat_interleave(8, 1).repeat_interleave(8, 2)
    result = 1 - source[:, 4::8, 4::8].repeat(2, 1, 1, 1).repeat_interleave(4, 1).repeat_interleave(4, 2)
    large = full_size(result, source)
    assert large.shape == (2, 96, 144, 3)
    assert (large - (1 - source)).abs().mean() < (
        full_size(result, source, 0.0) - (1 - source)
    ).abs().mean() / 2
    mask = torch.zeros(1, 96, 144)
    mask[:, :, 72:] = 1
    protected = full_size(result, source, mask=mask)
    torch.testing.assert_close(
        protected[:, :, :72], source[:, :, :72].expand(2, -1, -1, -1), atol=1e-6, rtol=0
    )
    assert torch.equal(protected[:, :, 72:], large[:, :, 72:])


def test_a_result_of_another_shape_is_refused(full_size):
    with pytest.raises(ValueError, match=r"the result is 40x30 pixels and the source 90x90"):
        full_size(torch.rand(1, 30, 40, 3), torch.rand(1, 90, 90, 3))
    with pytest.raises(ValueError, match=r"^source: 2 images for 3"):
        full_size(torch.rand(3, 30, 30, 3), torch.rand(2, 90, 90, 3))


# --- Part of Batch ----------------------------------------------------------------------------------------------


@pytest.fixture
def part_of_batch(monkeypatch):
    """The node, as a function of its inputs."""
    node = import_node_module(monkeypatch, "part_of_batch").PartOfBatch
    return lambda image, index, of, seed=0: node.execute(image=image, index=index, of=of, seed=seed).args


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_parts_are_the_batch_in_its_order_with_its_seeds(part_of_batch, of):
    batch = torch.rand(7, 4, 4, 3)
    parts, seeds = zip(*(part_of_batch(batch, index, of, 40) for index in range(of)), strict=True)
    assert torch.equal(torch.cat(parts), batch)
    assert [
        seed + place for part, seed in zip(parts, seeds, strict=True) for place in range(len(part))
    ] == list(range(40, 47))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_last_seed_is_followed_by_the_first(part_of_batch):
    assert part_of_batch(torch.rand(4, 4, 4, 3), 1, 2, 2**64 - 1)[1] == 1


def test_a_part_that_there_is_not_is_refused(part_of_batch):
    with pytest.raises(
        ValueError, match=r"^index: there is no part 2 of 2: parts count from 0, so use at most 1"
    ):
        part_of_batch(torch.rand(4, 4, 4, 3), 2, 2)
    with pytest.raises(ValueError, match=r"^of: 2 images do not make 3 parts: use at most 2"):
        part_of_batch(torch.rand(2, 4, 4, 3), 0, 3)
