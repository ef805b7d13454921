"""The types of the links between DiffuseIT nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from comfy_api.latest import io
from torch import Tensor, nn

from ..diffuseit.correspondence import Correspondence
from ..diffuseit.film import FilmSettings
from ..diffuseit.losses.base import BoundLoss

DDPM = io.Custom("DIFFUSEIT_DDPM")
VIT = io.Custom("DIFFUSEIT_VIT")
CLIP_ENSEMBLE = io.Custom("DIFFUSEIT_CLIP_ENSEMBLE")
LOSSES = io.Custom("DIFFUSEIT_LOSSES")
OPTIONS = io.Custom("DIFFUSEIT_OPTIONS")
MODELS = io.Custom("DIFFUSEIT_MODELS")
OPTICAL_FLOW = io.Custom("OPTICAL_FLOW")
DA3_GEOMETRY = io.Custom("DA3_GEOMETRY")
"""ComfyUI's own, for which older versions have no nodes."""

CATEGORY = "DiffuseIT"

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Network(Generic[AnyNetwork]):
    """A network of the core, and the `ModelPatcher`s with which ComfyUI moves its parts."""

    module: AnyNetwork
    patchers: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class ModelSet:
    """All networks of a translation. `name` is one of `nodes/model_sets.py`."""

    name: str
    ddpm: Network[Any]
    vit: Network[Any]
    clip: Network[Any]


@dataclass(frozen=True, eq=False)
class NodeLoss:
    """A loss of the graph.

    The images and the mask in `bound` have their original sizes. The sampler fits them to the source. `networks` are
    the handles of the networks in `bound`. `node` is the id of the node that the loss comes from.
    """

    bound: BoundLoss
    networks: tuple[Network[Any], ...] = ()
    node: str = ""


Losses = tuple[NodeLoss, ...]


@dataclass(frozen=True, eq=False)
class Film:
    """What holds the images of a batch together: where their pixels lie in each other, at their own size, and how."""

    correspondence: Correspondence
    settings: FilmSettings


@dataclass(frozen=True, eq=False)
class Options:
    """Settings from option nodes and presets for the sampler: `values` by the names in `nodes/options.py`.

    The result takes the colors of `colors` [N, 3, H, W], if given. The images of a batch hold together by `film`.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    colors: Tensor | None = None
    film: Film | None = None
