"""Where a run's randomness comes from: one CPU generator per image, so that a seed means the same everywhere."""

from typing import Protocol

import torch
from torch import Tensor

from ..models.crops import Crops, draw_crops


class Rng(Protocol):
    """All that a run draws, for B images, on the CPU. Per step: labels, noise, then crops network by network."""

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard normal numbers of shape [B, C, H, W]."""
        ...

    def crops(self, count: int, image_size: tuple[int, int]) -> Crops:
        """`count` crops of each of the B images of `image_size` (height, width)."""
        ...

    def labels(self, num_classes: int) -> Tensor:
        """One class [B] of `num_classes` for each image."""
        ...


class Seeded:
    """Image i draws from a generator of its own, seeded `seed + i`: it never depends on its neighbors."""

    def __init__(self, seed: int, batch: int):
        self.generators = [torch.Generator().manual_seed((seed + i) % 2**64) for i in range(batch)]

    def noise(self, shape: torch.Size) -> Tensor:
        return torch.stack(
            [
                torch.randn(shape[1:], generator=generator, dtype=torch.float32, device="cpu")
                for generator in self.generators
            ]
        )

    def crops(self, count: int, image_size: tuple[int, int]) -> Crops:
        return draw_crops(self.generators, count, image_size)

    def labels(self, num_classes: int) -> Tensor:
        return torch.cat(
            [torch.randint(num_classes, (1,), generator=g, device="cpu") for g in self.generators]
        )
