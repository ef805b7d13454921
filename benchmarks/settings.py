"""What both sides run."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

FROM, TO = "photo of a lion", "photo of a leopard"


@dataclass(frozen=True)
class Task:
    """`steps` evaluations with the official defaults. `clips`: how many CLIP networks. `half`: fp16 weights."""

    mode: Literal["text", "image"] = "text"
    steps: int = 3
    device: str = "cpu"
    crops: int = 8
    clips: int | None = None
    half: bool = False
    seed: int = 0

    def pictures(self) -> tuple[Tensor, Tensor]:
        """Return source and target [1, 3, 256, 256] with 8-bit values, as files have them."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randint(0, 256, (2, 3, 8, 8), generator=generator)
        shades = coarse.repeat_interleave(32, 2).repeat_interleave(32, 3)
        source, target = (shades / 127.5 - 1).split(1)
        return source, target
