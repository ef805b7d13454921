"""`Correspondence`: for links between two images, the positions of pixels, and how certain these are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Correspondence:
    """L links. The pixels of image `image[k]` lie in image `other[k]` at `position[k]`.

    `position` [L, 2, H, W] is x and y in pixels of the other image, which has the same size; the center of the first
    pixel is (0, 0). `certainty` [L, 1, H, W] in [0, 1] is 0 where a pixel has no counterpart.
    Raise `InputError` for other shapes, for values that are not finite, or for a link from an image to itself.
    """

    image: tuple[int, ...]
    other: tuple[int, ...]
    position: Tensor
    certainty: Tensor

    def __post_init__(self) -> None:
        count, size = len(self.image), self.position.shape[-2:]
        if self.position.shape != (count, 2, *size) or self.certainty.shape != (count, 1, *size):
            raise InputError(
                f"{count} links need positions [{count}, 2, H, W] and certainties [{count}, 1, H, W], "
                f"not {tuple(self.position.shape)} and {tuple(self.certainty.shape)}"
            )
        if len(self.other) != count or any(a == b or min(a, b) < 0 for a, b in self.pairs):
            raise InputError("each link must join an image to another one, both numbered from 0")
        if not torch.isfinite(self.position).all():
            raise InputError("the correspondences have positions that are not finite")
        if count and (self.certainty.min() < 0 or not self.certainty.max() <= 1):
            raise InputError("the correspondences have certainties outside 0 to 1")

    def __len__(self) -> int:
        return len(self.image)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Return (image, other image) of each link."""
        return list(zip(self.image, self.other, strict=True))

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and width of the images."""
        return (self.position.shape[-2], self.position.shape[-1])

    def to(self, like: Tensor) -> "Correspondence":
        """Return the correspondences with the device and dtype of a tensor."""
        # Each step asks for this, and a new one would check all values again.
        if self.position.device == like.device and self.position.dtype == like.dtype:
            return self
        return Correspondence(self.image, self.other, self.position.to(like), self.certainty.to(like))

    def keep(self, wanted: Callable[[int, int], bool]) -> "Correspondence":
        """Return the links for which `wanted(image, other)`."""
        kept = [k for k, pair in enumerate(self.pairs) if wanted(*pair)]
        return Correspondence(
            tuple(self.image[k] for k in kept),
            tuple(self.other[k] for k in kept),
            self.position[kept],
            self.certainty[kept],
        )

    def renumbered(self, number: Callable[[int], int]) -> "Correspondence":
        """Return the links with `number(i)` instead of i for each image."""
        image, other = (tuple(map(number, numbers)) for numbers in (self.image, self.other))
        return Correspondence(image, other, self.position, self.certainty)

    def resized(self, size: tuple[int, int]) -> "Correspondence":
        """Return the correspondences of images that were resized to `size` (height, width)."""
        if size == self.size:
            return self
        (old_height, old_width), (height, width) = self.size, size
        scale = self.position.new_tensor([width / old_width, height / old_height]).view(2, 1, 1)
        # Interpolation repeats the border, which is right for the flow and wrong for positions.
        flow = self.position - grid(self.size, self.position)
        flow, certainty = (
            F.interpolate(values, size, mode="bilinear", align_corners=False)
            for values in (flow, self.certainty)
        )
        position = grid(size, flow) + scale * flow
        return Correspondence(self.image, self.other, position, certainty.clamp(0, 1))


def joined(parts: Sequence[Correspondence]) -> Correspondence:
    """Return the links of several correspondences of images of one size. Raise `InputError` for several sizes."""
    if len({part.size for part in parts}) > 1:
        raise InputError("correspondences of images of several sizes cannot be joined: resize them first")
    return Correspondence(
        tuple(i for part in parts for i in part.image),
        tuple(i for part in parts for i in part.other),
        torch.cat([part.position for part in parts]),
        torch.cat([part.certainty for part in parts]),
    )


def neighbors(count: int, size: tuple[int, int]) -> Correspondence:
    """Return the identity between each of `count` images of `size` (height, width) and the images beside it.

    It suits stacks whose images differ little, such as the slices of a volume.
    """
    pairs = [(i, j) for i in range(count) for j in (i - 1, i + 1) if 0 <= j < count]
    position = grid(size).expand(len(pairs), -1, -1, -1)
    image, other = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    return Correspondence(image, other, position, torch.ones(len(pairs), 1, *size))


def grid(size: tuple[int, int], like: Tensor | None = None) -> Tensor:
    """Return the positions (x, y) of the pixels of an image of `size` (height, width): [1, 2, H, W]."""
    like = torch.zeros(()) if like is None else like
    y, x = (torch.arange(side, device=like.device, dtype=like.dtype) for side in size)
    return torch.stack([x.expand(size), y[:, None].expand(size)]).unsqueeze(0)


def inside(position: Tensor) -> Tensor:
    """Return whether positions [L, 2, H, W] lie within the image: [L, 1, H, W] of 0 and 1."""
    height, width = position.shape[-2:]
    slack = 0.01
    x, y = position[:, :1], position[:, 1:]
    within = (x >= -slack) & (x <= width - 1 + slack) & (y >= -slack) & (y <= height - 1 + slack)
    return within.to(position)
