"""Crops: torchvision's distribution and pixels, one generator per picture, differentiable."""

import pytest
import torch
from parity_data import (
    GRADIENT,
    VALUE,
    clips,
    loss_sets,
    matched,
    parity_set,
    recorded_crops,
    relative_error,
    tensors,
)
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from diffuseit.models.crops import Crops, apply_crops, draw_crops

pytestmark = pytest.mark.numeric

SIZES = [(64, 64), (61, 96), (130, 57)]


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def torchvision_crops(image: torch.Tensor, crops: Crops, size: int, antialias: bool = False) -> torch.Tensor:
    """One crop after the other through torchvision's functional transforms: [B * n, C, size, size]."""
    results = []
    for b in range(len(image)):
        for k in range(len(crops)):
            x = TF.rotate(
                image[b], crops.angle[b, k].item(), InterpolationMode.NEAREST, fill=[0.0] * image.shape[1]
            )
            box = [int(field[b, k]) for field in (crops.top, crops.left, crops.height, crops.width)]
            x = TF.resized_crop(x, *box, [size, size], InterpolationMode.BILINEAR, antialias=antialias)
            results.append(TF.hflip(x) if crops.flip[b, k] else x)
    return torch.stack(results)


@pytest.mark.parametrize("image_size", [*SIZES, (40, 200)])
def test_draws_are_torchvision_draws(image_size: tuple[int, int]) -> None:
    """Same numbers in the same order as torchvision's transforms take them from the global generator."""
    crops = draw_crops(generators(7), 20, image_size)
    picture = torch.zeros(3, *image_size)
    torch.manual_seed(7)
    for k in range(20):
        assert crops.angle[0, k].item() == T.RandomRotation.get_params([-10, 10])
        box = T.RandomResizedCrop.get_params(picture, [0.8, 1.0], [0.9, 1.1])
        assert [int(field[0, k]) for field in (crops.top, crops.left, crops.height, crops.width)] == list(box)
        assert bool(crops.flip[0, k]) == (torch.rand(1).item() < 0.5)


def test_draws_cover_the_ranges() -> None:
    crops = draw_crops(generators(1), 400, (256, 256))
    area = (crops.height * crops.width).double() / 256**2
    ratio = crops.width.double() / crops.height
    assert -10 <= crops.angle.min() < -9.5 and 9.5 < crops.angle.max() <= 10
    assert 0.79 < area.min() < 0.83 and 0.97 < area.max() <= 1
    assert 0.89 < ratio.min() < 0.93 and 1.07 < ratio.max() < 1.11
    assert 0.4 < crops.flip.double().mean() < 0.6
    assert (crops.top + crops.height <= 256).all() and (crops.left + crops.width <= 256).all()


def test_an_item_does_not_depend_on_its_neighbors() -> None:
    batch = draw_crops(generators(3, 4), 5, (64, 64))
    alone = draw_crops(generators(4), 5, (64, 64))
    for name in ("angle", "top", "left", "height", "width", "flip"):
        assert torch.equal(getattr(batch, name)[1:], getattr(alone, name)), name
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        apply_crops(image, batch, 48)[5:], apply_crops(image[1:], alone, 48), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [17, 64, 224])
@pytest.mark.parametrize("image_size", SIZES)
def test_pixels_and_gradients_are_torchvisions(
    image_size: tuple[int, int], size: int, antialias: bool
) -> None:
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(2, 3, *image_size, generator=generator).requires_grad_()
    crops = draw_crops(generators(1, 2), 6, image_size)
    ours, theirs = (
        apply_crops(image, crops, size, antialias=antialias),
        torchvision_crops(image, crops, size, antialias),
    )
    assert (ours - theirs).abs().max() < 2e-5
    cotangent = torch.randn(ours.shape, generator=generator)
    (gradient,) = torch.autograd.grad((ours * cotangent).sum(), image)
    (expected,) = torch.autograd.grad((theirs * cotangent).sum(), image)
    assert relative_error(gradient, expected) < 1e-4


def test_no_rotation_full_box_is_the_picture() -> None:
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    whole = torch.tensor([[0, 0]])
    box = (whole, whole, torch.tensor([[32, 32]]), torch.tensor([[32, 32]]))
    crops = Crops(torch.zeros(1, 2, dtype=torch.float64), *box, flip=torch.tensor([[False, True]]))
    plain, flipped = apply_crops(image, crops, 32)
    torch.testing.assert_close(plain, image[0, :, :, :32], atol=1e-6, rtol=0)
    torch.testing.assert_close(flipped, image[0, :, :, :32].flip(-1), atol=1e-6, rtol=0)


def test_fallback_box_is_central() -> None:
    """A strip never holds a box of 80 % of its area with a near-square ratio."""
    crops = draw_crops(generators(0), 3, (20, 200))
    assert crops.height.eq(20).all() and crops.width.eq(22).all()
    assert crops.top.eq(0).all() and crops.left.eq(89).all()


RECORDED = [
    (name, key.removeprefix("aug:"))
    for name in loss_sets()
    for key in parity_set().config["losses"][name]
    if key.startswith("aug:")
]


@pytest.mark.parametrize(("name", "clip"), RECORDED)
def test_recorded_crops(name: str, clip: str) -> None:
    """The official crops of the recorded picture, recorded as they enter the network."""
    data = tensors(f"losses_{name}")
    network = next(network for network in clips().models if network.name == clip)
    crops = recorded_crops(parity_set().config["losses"][name][f"aug:{clip}"])
    cut = apply_crops(0.5 * data["x"] + 0.5, crops, network.image_size)
    recorded = {key.removeprefix(f"aug/{clip}/"): value for key, value in data.items()}
    assert relative_error(*matched(recorded, "crops", (cut - network.mean) / network.std)) < VALUE
    embedding = network.encode_image(data["x"], crops)
    assert embedding.shape[:2] == (1, len(crops))
    assert relative_error(embedding.mean(1)[0], recorded["pred"]) < VALUE


def test_half_a_pixel_breaks_the_bounds() -> None:
    """The bounds above can fail."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    crops = draw_crops(generators(1), 2, (64, 64))
    shifted = Crops(crops.angle, crops.top, crops.left + 0.5, crops.height, crops.width, crops.flip)
    assert relative_error(apply_crops(image, shifted, 64), apply_crops(image, crops, 64)) > GRADIENT
