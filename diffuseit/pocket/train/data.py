"""An endless stream of rendered training images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..world.render import STYLES, Geometry, render, sample_geometry


def draw_seeds(count: int, seeds: range, generator: torch.Generator) -> list[int]:
    """`count` seeds from `seeds`, with repetition."""
    return torch.randint(seeds.start, seeds.stop, (count,), generator=generator).tolist()


@dataclass(frozen=True)
class Scenes:
    """N images of one domain: images [N, 3, 64, 64] in [-1, 1], styles [N] int64."""

    geometry: Geometry
    styles: Tensor
    images: Tensor


def draw_scenes(
    domain: str, count: int, seeds: range, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Scenes:
    """`count` images of `domain`, every style equally likely."""
    geometry = sample_geometry(domain, draw_seeds(count, seeds, generator)).to(device)
    styles = torch.randint(len(STYLES[domain]), (count,), generator=generator)
    return Scenes(geometry, styles, render(geometry, styles, draw_seeds(count, seeds, generator)))


def draw_images(count: int, seeds: range, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """[count, 3, 64, 64] images, half landscapes and half animals."""
    halves = (("landscape", count // 2), ("animal", count - count // 2))
    return torch.cat([draw_scenes(domain, n, seeds, generator, device).images for domain, n in halves])


@dataclass(frozen=True)
class Pairs:
    """N geometries of one domain in two different styles: styles [N, 2] int64, images [N, 2, 3, 64, 64]."""

    geometry: Geometry
    styles: Tensor
    images: Tensor


def draw_pairs(
    domain: str, count: int, seeds: range, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Pairs:
    """`count` geometries of `domain`, each with its own texture in either style."""
    first = draw_scenes(domain, count, seeds, generator, device)
    number = len(STYLES[domain])
    others = (first.styles + torch.randint(1, number, (count,), generator=generator)) % number
    second = render(first.geometry, others, draw_seeds(count, seeds, generator))
    return Pairs(
        first.geometry, torch.stack([first.styles, others], 1), torch.stack([first.images, second], 1)
    )


class ImagePool:
    """`count` images rendered once, as bytes on `device`, to draw from with repetition: for networks that are fast."""

    def __init__(self, count: int, seeds: range, device: torch.device, part: int = 1024) -> None:
        generator = torch.Generator().manual_seed(0)
        parts = [draw_images(min(part, count), seeds, generator, device) for _ in range(0, count, part)]
        self._bytes = torch.cat([images.add(1).mul(127.5).round().byte() for images in parts])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, 3, 64, 64] in [-1, 1], half of them mirrored."""
        index = torch.randint(len(self._bytes), (count,), generator=generator).to(self._bytes.device)
        images = self._bytes[index].float().div(127.5).sub(1)
        return torch.cat([images[: count // 2], images[count // 2 :].flip(3)])
