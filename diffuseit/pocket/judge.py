"""The judge: a small convolutional classifier of (domain, style) that no loss ever uses; it only measures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError, ModelError
from ..models.checkpoint import build_from, read_checkpoint, read_config
from ..schema import check, number, printable
from .world.render import DOMAINS, STYLES

CLASSES = tuple((domain, style) for domain in DOMAINS for style in STYLES[domain])


def class_index(domain: str, styles: Sequence[int] | Tensor) -> Tensor:
    """[N] styles of a domain -> [N] indices into CLASSES."""
    return torch.as_tensor(styles, dtype=torch.int64) + CLASSES.index((domain, STYLES[domain][0]))


@dataclass(frozen=True)
class JudgeConfig:
    """Widths of the convolutions of each resolution (64, 32, 16, 8 pixels); JSON in the file's metadata."""

    widths: tuple[tuple[int, ...], ...] = number(
        ((24, 24), (40, 40), (64, 64), (96, 128)), low=1, high=1024, longest=8
    )
    groups: int = number(8, low=1, high=1024)

    def __post_init__(self) -> None:
        check(self)
        if not self.widths or any(width % self.groups for widths in self.widths for width in widths):
            raise InputError(f"widths {self.widths} do not divide into {self.groups} groups")


class Judge(nn.Module):
    """VGG-like: 3x3 convolutions with group norm, average pooling between resolutions, one linear layer."""

    def __init__(self, config: JudgeConfig = JudgeConfig()) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for level, widths in enumerate(config.widths):
            if level:
                layers.append(nn.AvgPool2d(2))
            for width in widths:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.GroupNorm(config.groups, width),
                    nn.GELU(),
                ]
                channels = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels, len(CLASSES))

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, 64, 64] in [-1, 1] -> [N, D] averages over the image, for a Frechet distance."""
        return self.layers(images).mean((2, 3))

    def classify(self, images: Tensor) -> Tensor:
        """[N, 3, 64, 64] in [-1, 1] -> [N, 12] logits over CLASSES."""
        return self.head(self.features(images))

    def forward(self, images: Tensor) -> Tensor:
        """`classify`."""
        return self.classify(images)


def load_judge(path: str | os.PathLike[str]) -> Judge:
    """Return a frozen judge from a safetensors file whose metadata holds its `JudgeConfig`."""
    source = printable(str(path))
    state, metadata = read_checkpoint(path)
    config = read_config(JudgeConfig, metadata, source)
    if config is None:
        raise ModelError(f"{source} is no judge: its metadata holds no config")
    judge = build_from(lambda: Judge(config), state, source, "the judge")
    return judge.eval().requires_grad_(False)
