"""Loader nodes: the pocket models that ship with the pack first, then what lies in models/diffuseit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from comfy_api.latest import io
from torch import nn

from .comfy import devices, folders
from .inputs import checked
from .types import CATEGORY, CLIP_ENSEMBLE, DDPM, VIT, Network

if TYPE_CHECKING:
    from ..diffuseit.models.clip import CLIPEnsemble
    from ..diffuseit.models.ddpm import PixelDDPM
    from ..diffuseit.models.vit import ViT

POCKET = "pocket"
NONE = "none"
_FILES = "the built-in pocket model, or a file in models/diffuseit"


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def _choices() -> list[str]:
    return [POCKET, *folders.model_paths()]


def _load_file(kind: str, load: Callable[..., AnyNetwork], name: str, **options: Any) -> AnyNetwork:
    """Load a file by the catalogue's configuration if it is one of its `kind`, else by what the file itself says."""
    from ..diffuseit.models.hub.catalog import entry_of_file
    from ..diffuseit.models.load import load_entry

    path = folders.model_path(name)
    entry = entry_of_file(path.name)
    if entry is not None and entry.kind == kind:
        network: Any = load_entry(entry, path, **options)
        return network  # of the class that `load` returns, for it is of the same kind
    return load(path, **options)


class LoadDDPM(io.ComfyNode):
    """A pixel-space diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLoadDDPM",
            display_name="DiffuseIT Load DDPM",
            category=f"{CATEGORY}/loaders",
            description="Loads the diffusion model that paints: 'pocket' ships with the pack and works at 64x64, "
            "guided-diffusion checkpoints (.pt or .safetensors) come from models/diffuseit.",
            search_aliases=["ADM", "guided diffusion", "diffusion model loader", "pixel diffusion"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=_choices(),
                    default=POCKET,
                    tooltip=f"The diffusion model: {_FILES}. It decides what the pictures can look like.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=["auto", "float32", "float16", "bfloat16"],
                    default="auto",
                    advanced=True,
                    tooltip="Precision of the weights. auto: half where the device is good at it. float32 is the "
                    "slowest and most exact; float16 and bfloat16 need half the memory.",
                ),
            ],
            outputs=[DDPM.Output(display_name="ddpm", tooltip="For the sampler.")],
        )

    @classmethod
    @checked
    def execute(cls, model: str, dtype: str) -> io.NodeOutput:
        with devices.gradients():
            network = _load_ddpm(model, devices.choose_dtype(dtype))
        return io.NodeOutput(Network(network, (devices.manage(network),)))


def _load_ddpm(model: str, dtype: torch.dtype) -> "PixelDDPM":
    from ..diffuseit.models.ddpm_checkpoint import load_ddpm
    from ..diffuseit.pocket.models import pocket_ddpm

    if model == POCKET:
        return pocket_ddpm(dtype=dtype)
    return _load_file("ddpm", load_ddpm, model, dtype=dtype)


class LoadViT(io.ComfyNode):
    """A vision transformer, whose keys tell structure and whose [CLS] token tells style."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLoadViT",
            display_name="DiffuseIT Load ViT",
            category=f"{CATEGORY}/loaders",
            description="Loads the vision transformer of the structure, image style and divergence losses: "
            "'pocket', or DINO weights (.pth or .safetensors) from models/diffuseit.",
            search_aliases=["DINO", "vision transformer", "structure model loader"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=_choices(),
                    default=POCKET,
                    tooltip=f"The vision transformer: {_FILES}. Small patches (8) hold fine structure and need "
                    "much memory, large ones (16) hold the rough layout.",
                ),
                io.Int.Input(
                    "layer",
                    default=-1,
                    min=-64,
                    max=63,
                    advanced=True,
                    tooltip="The layer whose keys are the structure; -1 is the last. Earlier layers hold textures "
                    "and exact places, later ones the parts of things.",
                ),
            ],
            outputs=[VIT.Output(display_name="vit", tooltip="For the loss nodes.")],
        )

    @classmethod
    @checked
    def execute(cls, model: str, layer: int) -> io.NodeOutput:
        with devices.gradients():
            network = _load_vit(model, layer)
        return io.NodeOutput(Network(network, (devices.manage(network),)))


def _load_vit(model: str, layer: int) -> "ViT":
    from ..diffuseit.models.vit import load_vit
    from ..diffuseit.pocket.models import WEIGHTS

    if model == POCKET:
        return load_vit(WEIGHTS / "vit.safetensors", layer=layer)
    return _load_file("vit", load_vit, model, layer=layer, dtype=devices.choose_dtype("auto"))


class LoadCLIPEnsemble(io.ComfyNode):
    """Any number of CLIP models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        models = [
            io.Combo.Input(
                f"clip_{number}",
                options=[NONE, *_choices()],
                default=NONE,
                advanced=number > 2,
                tooltip="A further CLIP. More of them agree on what the words mean: pictures get cleaner, each "
                "step slower.",
            )
            for number in range(2, 6)
        ]
        return io.Schema(
            node_id="DiffuseITLoadCLIPEnsemble",
            display_name="DiffuseIT Load CLIP Ensemble",
            category=f"{CATEGORY}/loaders",
            description="Loads the CLIP models of the text style loss, which takes their mean: 'pocket', or CLIP "
            "weights (OpenAI's or open_clip's) from models/diffuseit.",
            search_aliases=["open_clip", "clip guided", "text encoder", "clip loader"],
            inputs=[
                io.Combo.Input(
                    "clip_1",
                    options=_choices(),
                    default=POCKET,
                    tooltip=f"The first CLIP: {_FILES}.",
                ),
                *models,
                CLIP_ENSEMBLE.Input(
                    "previous",
                    optional=True,
                    tooltip="A further ensemble to put in front, for more than five models.",
                ),
            ],
            outputs=[CLIP_ENSEMBLE.Output(display_name="clip", tooltip="For the text style loss.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        clip_1: str,
        clip_2: str,
        clip_3: str,
        clip_4: str,
        clip_5: str,
        previous: "Network[CLIPEnsemble] | None" = None,
    ) -> io.NodeOutput:
        names = [name for name in (clip_1, clip_2, clip_3, clip_4, clip_5) if name != NONE]
        with devices.gradients():
            return io.NodeOutput(_ensemble(names, previous))


def _ensemble(names: list[str], previous: "Network[CLIPEnsemble] | None") -> "Network[CLIPEnsemble]":
    from ..diffuseit.models.clip import CLIPEnsemble, load_clip
    from ..diffuseit.pocket.models import pocket_clip

    dtype = devices.choose_dtype("auto")
    models = [
        pocket_clip().models[0] if name == POCKET else _load_file("clip", load_clip, name, dtype=dtype)
        for name in names
    ]
    patchers = tuple(devices.manage(model) for model in models)
    if previous is not None:
        models, patchers = [*previous.module.models, *models], previous.patchers + patchers
    return Network(CLIPEnsemble(models), patchers)


NODES = [LoadDDPM, LoadViT, LoadCLIPEnsemble]
