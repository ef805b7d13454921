"""Images seen through their correspondences, and their agreement along them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..schema import shown
from .links import Correspondence, grid, inside


def sampled(values: Tensor, position: Tensor, mode: str = "bilinear") -> Tensor:
    """Return `values` [L, C, H, W] at `position` [L, 2, H, W] in pixels: [L, C, H, W]. Beyond the border it repeats."""
    height, width = values.shape[-2:]
    half = position.new_tensor([max(width - 1, 1), max(height - 1, 1)]).view(2, 1, 1) / 2
    where = (position / half - 1).movedim(1, -1)
    return F.grid_sample(values, where, mode=mode, padding_mode="border", align_corners=True)


def warp(images: Tensor, correspondence: Correspondence) -> Tensor:
    """Return for each link the other image as its image sees it: [N, C, H, W] -> [L, C, H, W].

    Raise `InputError` if the correspondences belong to other images.
    """
    check_images(images, correspondence)
    correspondence = correspondence.to(images)
    return sampled(images[list(correspondence.other)], correspondence.position)


def differences(images: Tensor, correspondence: Correspondence) -> Tensor:
    """Return how much corresponding pixels of images [N, C, H, W] differ along each link: [L].

    It is the mean of absolute differences, weighted by certainty; NaN where nothing corresponds. Raise `InputError` if
    the correspondences belong to other images.
    """
    apart = (warp(images, correspondence) - images[list(correspondence.image)]).abs().mean(1, keepdim=True)
    certainty = correspondence.to(images).certainty
    return (apart * certainty).sum((1, 2, 3)) / certainty.sum((1, 2, 3))


def consensus(
    images: Tensor, correspondence: Correspondence, strength: float = 1.0, reach: int = 1
) -> Tensor:
    """Return images [N, C, H, W] in which corresponding pixels agree.

    Each pixel goes by `strength` (0 to 1) of the way to the mean of the pixels that correspond to it, itself included,
    weighted by their certainty. A pixel without a counterpart stays as it is. With a `reach` of more than 1, links to
    the images before and after are followed on to images so many places away.
    Raise `InputError` for other images, another strength, or another reach.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"the strength of the consensus is {shown(strength)}: use 0 to 1")
    if reach < 0:
        raise InputError(f"the reach of the consensus is {shown(reach)}: use 0 or more")
    check_images(images, correspondence)
    if strength == 0 or reach == 0 or len(correspondence) == 0:
        return images
    correspondence = correspondence.to(images)
    total, weight = images.clone(), torch.ones_like(images[:, :1])
    if reach == 1:
        index = torch.tensor(correspondence.image, device=images.device)
        seen = sampled(images[list(correspondence.other)], correspondence.position, "bicubic")
        total.index_add_(0, index, correspondence.certainty * seen)
        weight.index_add_(0, index, correspondence.certainty)
    else:
        for direction in (-1, 1):
            _follow(images, correspondence, direction, reach, total, weight)
    mean = total / weight
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    # Cubic interpolation overshoots at edges.
    return torch.lerp(images, mean.clamp(low.amin(0), high.amax(0)), strength)


def _follow(
    images: Tensor, correspondence: Correspondence, direction: int, reach: int, total: Tensor, weight: Tensor
) -> None:
    """Add the images up to `reach` places away in one direction, seen from each image, and their certainties."""
    link_of = {a: k for k, (a, b) in enumerate(correspondence.pairs) if b == a + direction}
    followed = list(range(len(images)))
    position = grid(correspondence.size, images).expand(len(images), -1, -1, -1)
    certainty = torch.ones_like(weight)
    for distance in range(reach):
        # The image i has been followed to i + direction * distance. Where no link goes on, its path ends.
        going = [place for place, i in enumerate(followed) if i + direction * distance in link_of]
        if not going:
            return
        followed = [followed[place] for place in going]
        links = [link_of[i + direction * distance] for i in followed]
        others = [i + direction * (distance + 1) for i in followed]
        here, certainty = position[going], certainty[going]
        certainty = certainty * inside(here) * sampled(correspondence.certainty[links], here)
        position = sampled(correspondence.position[links], here)
        index = torch.tensor(followed, device=images.device)
        total.index_add_(0, index, certainty * sampled(images[others], position, "bicubic"))
        weight.index_add_(0, index, certainty)


def check_images(images: Tensor, correspondence: Correspondence) -> None:
    """Raise `InputError` unless the links join images of [N, C, H, W]."""
    if images.ndim != 4 or tuple(images.shape[-2:]) != correspondence.size:
        raise InputError(
            f"the images are {tuple(images.shape)}, and the correspondences are of images of "
            f"{correspondence.size[1]}x{correspondence.size[0]} pixels: give them the same size"
        )
    last = max((*correspondence.image, *correspondence.other), default=0)
    if last >= len(images) and len(correspondence):
        raise InputError(f"the correspondences name image {last}, but there are {len(images)} images")
