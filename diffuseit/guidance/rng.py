"""The random numbers of a run: one CPU generator per image, so that a seed means the same on every device."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from ..models.crops import Crops, draw_crops

SEEDS = 2**64
"""How many seeds there are."""


class Rng(Protocol):
    """What a run draws for B images, on the CPU. In each step: labels, noise, then the crops of each network."""

    def noise(self, shape: torch.Size) -> Tensor:
        """Draw standard normal numbers of shape [B, C, H, W]."""
        ...

    def crops(self, count: int, image_size: tuple[int, int]) -> Crops:
        """Draw `count` crops of each of the B images of `image_size` (height, width)."""
        ...

    def labels(self, num_classes: int) -> Tensor:
        """Draw one class [B] of `num_classes` for each image."""
        ...


class Seeded:
    """Image i draws from its own generator with seed `seed + i`, so it never depends on the other images."""

    def __init__(self, seed: int, batch: int):
        self.generators = _generators(range(seed, seed + batch))

    @classmethod
    def of(cls, seeds: Iterable[int]) -> "Seeded":
        """Return the numbers of images with these seeds."""
        rng = cls(0, 0)
        rng.generators = _generators(seeds)
        return rng

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


def _generators(seeds: Iterable[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed % SEEDS) for seed in seeds]


class Shared:
    """All images draw the same numbers, those of `Seeded(seed, 1)`, so that luck makes no difference between them."""

    def __init__(self, seed: int, batch: int):
        self._one, self._batch = Seeded(seed, 1), batch

    def noise(self, shape: torch.Size) -> Tensor:
        return self._one.noise(torch.Size((1, *shape[1:]))).expand(shape)

    def crops(self, count: int, image_size: tuple[int, int]) -> Crops:
        crops = self._one.crops(count, image_size)
        return Crops(**{name: part.expand(self._batch, -1) for name, part in vars(crops).items()})

    def labels(self, num_classes: int) -> Tensor:
        return self._one.labels(num_classes).expand(self._batch)
