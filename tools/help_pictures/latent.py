"""Pictures of the latent pocket model: what its texts draw, and what losses do to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from diffuseit import SamplerSettings
from diffuseit.guidance.loop import sample
from diffuseit.methods import DiffuseITDDIM
from diffuseit.pocket.benchmark.latent import Row, translate
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.latent import PocketLatent, flow_sigmas, pocket_latent
from tools.help_pictures.settings import Tiles, seed

_STEPS = 20
_LARGEST_SIGMA = 0.999


@lru_cache(maxsize=1)
def latent() -> PocketLatent:
    """Return the networks, loaded once."""
    return pocket_latent()


@dataclass(frozen=True)
class Rows:
    """Translates a scene as rows of the latent benchmark do."""

    scene: Spec
    rows: Mapping[str, Row]

    def __call__(self) -> Tiles:
        tasks = build_tasks([self.scene])
        ways = {name: translate(row, tasks, latent(), seed(tasks)) for name, row in self.rows.items()}
        return {"source": tasks.source, **ways}


def painted(texts: Sequence[str], noise: int, cfg: float = 2.0) -> Tiles:
    """Return what the model paints for each of the texts from the same noise."""
    settings = SamplerSettings(steps=_STEPS, skip=0, resample=1, method=DiffuseITDDIM())
    tiles: Tiles = {}
    for text in texts:
        backbone = latent().backbone(flow_sigmas(_LARGEST_SIGMA, _STEPS), [text], cfg=cfg)
        empty = torch.zeros(1, 3, 64, 64)
        *_, last = sample(backbone, empty, [], settings, noise, allow_unguided=True)
        tiles[text] = last.pred_xstart
    return tiles
