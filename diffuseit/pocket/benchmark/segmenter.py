"""A small network that labels each pixel: what a data set is worth is what it learns from it."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 48, 64)
"""Channels at a half, a quarter and an eighth of the size."""

STEPS, BATCH, RATE = 400, 16, 5e-3


class Segmenter(nn.Module):
    """A feature pyramid (Lin et al. 2017) on blocks of 2x2 pixels: [N, 3, S, S] -> [N, C, S, S] logits.

    S is a multiple of 8. On one core, 400 steps take half a minute.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.down = nn.ModuleList([_block(12, first, first), _block(first, second, second)])
        self.deepest = _block(second, third, third)
        self.across = nn.ModuleList([nn.Conv2d(third, second, 1), nn.Conv2d(second, first, 1)])
        self.up = nn.ModuleList([_block(second, second), _block(first, first)])
        self.head = nn.Conv2d(first, 4 * classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images in [-1, 1]."""
        x, kept = F.pixel_unshuffle(images, 2), []
        for block in self.down:
            kept.append(block(x))
            x = F.avg_pool2d(kept[-1], 2)
        x = self.deepest(x)
        for across, block in zip(self.across, self.up, strict=True):
            x = block(F.interpolate(across(x), scale_factor=2.0) + kept.pop())
        return F.pixel_shuffle(self.head(x), 2)


def _block(channels: int, *widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, width in pairwise((channels, *widths)):
        layers += [nn.Conv2d(inner, width, 3, padding=1), nn.GroupNorm(8, width), nn.GELU()]
    return nn.Sequential(*layers)


def train_segmenter(
    images: Tensor, labels: Tensor, classes: int, seed: int, *, jitter: bool = False, steps: int | None = None
) -> Segmenter:
    """Return a segmenter of images [N, 3, S, S] in [-1, 1] with labels [N, S, S] int64.

    Half of what it sees is mirrored. With `jitter`, all colors of each image go through a random affine map.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Segmenter(classes)
    steps = STEPS if steps is None else steps
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(images), (BATCH,), generator=generator)
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        seen, wanted = images[index], labels[index]
        seen = torch.where(mirrored[:, None, None, None], seen.flip(-1), seen)
        wanted = torch.where(mirrored[:, None, None], wanted.flip(-1), wanted)
        if jitter:
            seen = _jittered(seen, generator)
        loss = F.cross_entropy(network(seen.contiguous(memory_format=torch.channels_last)), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def _jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    matrix = torch.eye(3) + 0.4 * torch.randn(len(images), 3, 3, generator=generator)
    shift = 0.4 * torch.randn(len(images), 3, 1, 1, generator=generator)
    return (torch.einsum("nij,njhw->nihw", matrix, images) + shift).clamp(-1, 1)


def confusion(network: Segmenter, images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return [C, C] int64: how many pixels of a label (row) the segmenter takes for which (column)."""
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in images.split(64)])
    return torch.bincount((labels * classes + found).flatten(), minlength=classes**2).view(classes, classes)


def mean_iou(counts: Tensor) -> float:
    """Return the mean of intersection over union, of the labels that there are in a confusion [C, C]."""
    hits = counts.diagonal().double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    there = counts.sum(1) > 0
    return (hits / union)[there].mean().item() if there.any() else math.nan
