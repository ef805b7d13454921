"""The pocket judge: a classifier of slightly imperfect images, on seeds that no other network sees."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...schema import to_json
from ..judge import Judge, class_index
from ..world.render import DOMAINS
from ..world.seeds import JUDGE
from .augment import corrupt
from .data import draw_scenes
from .loop import Recipe

RECIPE = Recipe(batch=64, minutes=3)


def build() -> Judge:
    return Judge()


def ships(judge: Judge) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and config of a checkpoint that `load_judge` reads."""
    return judge.state_dict(), to_json(judge.config)


class Loss:
    """Cross-entropy of the 12 (domain, style) classes under light noise and blur."""

    def __init__(self, batch: int, device: torch.device):
        self.batch, self.device = batch, device

    def __call__(self, network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
        scenes = [
            draw_scenes(domain, self.batch // len(DOMAINS), JUDGE, generator, self.device)
            for domain in DOMAINS
        ]
        images = corrupt(torch.cat([part.images for part in scenes]), generator, noise=0.2, blurred=0.9)
        targets = torch.cat([class_index(part.geometry.domain, part.styles) for part in scenes])
        images = images.to(next(network.parameters()).dtype).contiguous(memory_format=torch.channels_last)
        logits = network(images).float()
        return {"style": F.cross_entropy(logits, targets.to(self.device), label_smoothing=0.02)}
