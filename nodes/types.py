"""What travels along the wires between DiffuseIT nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from comfy_api.latest import io
from torch import Tensor, nn

from ..diffuseit.guidance.loop import SamplerSettings
from ..diffuseit.losses.base import Loss
from ..diffuseit.losses.scheduled import Points

DDPM = io.Custom("DIFFUSEIT_DDPM")
VIT = io.Custom("DIFFUSEIT_VIT")
CLIP_ENSEMBLE = io.Custom("DIFFUSEIT_CLIP_ENSEMBLE")
LOSSES = io.Custom("DIFFUSEIT_LOSSES")
SETTINGS = io.Custom("DIFFUSEIT_SETTINGS")

CATEGORY = "DiffuseIT"

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Network(Generic[AnyNetwork]):
    """A network of the core and the `ModelPatcher`s by which ComfyUI moves its parts."""

    module: AnyNetwork
    patchers: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Guidance:
    """A loss of the graph: what the sampler still has to fit to the source's size is kept apart.

    `pictures` [N, 3, H, W] in [-1, 1] go by the name of the loss's field, `mask` is [N, H, W] in [0, 1]. `schedules`
    change the weight over the run. `node` is the id of the node it came from.
    """

    loss: Loss
    networks: tuple[Network, ...] = ()
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    schedules: tuple[Points, ...] = ()
    node: str = ""


Losses = tuple[Guidance, ...]


@dataclass(frozen=True, eq=False)
class Settings:
    """What a preset says to the sampler. `colours` [N, 3, H, W]: the result takes this picture's colours."""

    sampler: SamplerSettings
    colours: Tensor | None = None
