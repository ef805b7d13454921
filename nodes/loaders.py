"""Loader nodes: of a whole set of networks, and of single ones. Pocket models ship with the pack, the others are files
in models/diffuseit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from comfy_api.latest import io
from torch import nn

from ..diffuseit.errors import InputError
from ..diffuseit.models.hub.catalog import bundles, entry_of_file
from .comfy import devices, folders
from .inputs import checked, why_not
from .model_sets import POCKET, SETS, check_file, files_of
from .types import CATEGORY, CLIP_ENSEMBLE, DDPM, MODELS, VIT, ModelSet, Network

if TYPE_CHECKING:
    from ..diffuseit.models.clip import CLIPEnsemble
    from ..diffuseit.models.ddpm import PixelDDPM
    from ..diffuseit.models.vit import ViT

MOST_CLIPS = 16
LAST_LAYER = -1
_FILES = "the built-in pocket model, or a file in models/diffuseit"


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def _choices() -> list[str]:
    return [POCKET, *folders.model_paths()]


def _why_not(node: type[io.ComfyNode], model: str | None) -> bool | str:
    """Return what `validate_inputs` of a loader of one file returns."""
    try:
        if isinstance(model, str):
            check_file(model)
    except InputError as error:
        return str(error)
    return why_not(node, {"model": model}, lambda: None)


def _load_file(kind: str, load: Callable[..., AnyNetwork], name: str, **options: Any) -> AnyNetwork:
    """Load a file with the catalog's configuration if the catalog has it as this `kind`, else with the file's own."""
    from ..diffuseit.models.load import load_entry

    path = folders.model_path(name)
    entry = entry_of_file(path.name)
    if entry is not None and entry.kind == kind:
        network: Any = load_entry(entry, path, **options)
        return network  # of the class that `load` returns, since it is of the same kind
    return load(path, **options)


class LoadModels(io.ComfyNode):
    """Loads all networks of a translation."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        described = "; ".join(f"{name}: {bundle.purpose}" for name, bundle in bundles().items())
        return io.Schema(
            node_id="DiffuseITLoadModels",
            display_name="DiffuseIT Load Models",
            category=f"{CATEGORY}/loaders",
            description="Loads all networks of a translation as a set: the pocket models, which ship with the "
            "pack, or a bundle that the DiffuseIT sidebar has downloaded. For other files use the single "
            "loaders.",
            search_aliases=["checkpoint loader", "unified loader", "model set", "bundle", "pocket", "paper"],
            inputs=[
                io.Combo.Input(
                    "set",
                    options=list(SETS),
                    default=POCKET,
                    tooltip="Which networks. pocket: small ones that know drawn landscapes and animals of 64x64 "
                    f"pixels, with nothing to download. For photos: {described}.",
                )
            ],
            outputs=[
                DDPM.Output(display_name="ddpm", tooltip="The diffusion model, to the sampler."),
                VIT.Output(display_name="vit", tooltip="The vision transformer, to the loss nodes."),
                CLIP_ENSEMBLE.Output(display_name="clip", tooltip="The CLIP models, to the text style loss."),
                MODELS.Output(display_name="models", tooltip="All of them, to DiffuseIT Translate."),
            ],
        )

    @classmethod
    def validate_inputs(cls, set: str | None = None) -> bool | str:
        return why_not(cls, {"set": set}, lambda: files_of(str(set)))

    @classmethod
    @checked
    def execute(cls, set: str) -> io.NodeOutput:
        files = files_of(set)
        with devices.gradients():
            ddpm = _load_ddpm(files.ddpm, devices.choose_dtype("auto"))
            vit = _load_vit(files.vit, LAST_LAYER)
            models = ModelSet(
                set,
                Network(ddpm, (devices.manage(ddpm),)),
                Network(vit, (devices.manage(vit),)),
                _joined([_load_clip(name) for name in files.clip]),
            )
        return io.NodeOutput(models.ddpm, models.vit, models.clip, models)


class LoadDDPM(io.ComfyNode):
    """Loads a pixel-space diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLoadDDPM",
            display_name="DiffuseIT Load DDPM",
            category=f"{CATEGORY}/loaders",
            description="Loads the diffusion model that makes the image: 'pocket', which ships with the pack "
            "and works at 64x64, or a guided-diffusion checkpoint (.pt or .safetensors) in "
            "models/diffuseit.",
            search_aliases=["ADM", "guided diffusion", "diffusion model loader", "pixel diffusion"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=_choices(),
                    default=POCKET,
                    tooltip=f"The diffusion model: {_FILES}. It decides what the image can show.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=["auto", "float32", "float16", "bfloat16"],
                    default="auto",
                    advanced=True,
                    tooltip="Precision of the weights. auto: half precision if the device is good at it. float32: "
                    "the slowest and most exact. float16, bfloat16: half the memory.",
                ),
            ],
            outputs=[DDPM.Output(display_name="ddpm", tooltip="To the sampler.")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        return _why_not(cls, model)

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
    """Loads a vision transformer, whose keys describe structure and whose [CLS] token describes style."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLoadViT",
            display_name="DiffuseIT Load ViT",
            category=f"{CATEGORY}/loaders",
            description="Loads the vision transformer for the structure, image style, and divergence losses: "
            "'pocket', or DINO weights (.pth or .safetensors) in models/diffuseit.",
            search_aliases=["DINO", "vision transformer", "structure model loader"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=_choices(),
                    default=POCKET,
                    tooltip=f"The vision transformer: {_FILES}. Small patches (8) keep fine structure and need much "
                    "memory; large patches (16) keep the rough layout.",
                ),
                io.Int.Input(
                    "layer",
                    default=LAST_LAYER,
                    min=-64,
                    max=63,
                    advanced=True,
                    tooltip="The layer whose keys describe the structure; -1 is the last. Up: later layers, which "
                    "describe the parts of things. Down: earlier ones, which describe textures and exact "
                    "places.",
                ),
            ],
            outputs=[VIT.Output(display_name="vit", tooltip="To the loss nodes.")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        return _why_not(cls, model)

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


class LoadCLIP(io.ComfyNode):
    """Loads a CLIP model, and joins it with others to an ensemble."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        further = io.Autogrow.TemplatePrefix(
            CLIP_ENSEMBLE.Input(
                "clip",
                optional=True,
                tooltip="Another DiffuseIT Load CLIP, which joins the ensemble.",
            ),
            prefix="clip",
            min=0,
            max=MOST_CLIPS,
        )
        return io.Schema(
            node_id="DiffuseITLoadCLIP",
            display_name="DiffuseIT Load CLIP",
            category=f"{CATEGORY}/loaders",
            description="Loads a CLIP model for the text style loss: 'pocket', or CLIP weights (OpenAI or "
            "open_clip) in models/diffuseit. Connect further Load CLIP nodes to make an ensemble, whose "
            "mean counts.",
            search_aliases=["open_clip", "clip guided", "text encoder", "clip loader", "clip ensemble"],
            inputs=[
                io.Combo.Input(
                    "model", options=_choices(), default=POCKET, tooltip=f"The CLIP model: {_FILES}."
                ),
                io.Autogrow.Input(
                    "further",
                    template=further,
                    tooltip="Other DiffuseIT Load CLIP nodes, which join the ensemble. Up: more models must agree on "
                    "what the words mean, so images get cleaner and each step slower.",
                ),
            ],
            outputs=[CLIP_ENSEMBLE.Output(display_name="clip", tooltip="To the text style loss.")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None, further: object = None) -> bool | str:
        return _why_not(cls, model)

    @classmethod
    @checked
    def execute(cls, model: str, further: io.Autogrow.Type | None = None) -> io.NodeOutput:
        with devices.gradients():
            ensembles = [_load_clip(model), *((further or {}).values())]
            return io.NodeOutput(_joined([one for one in ensembles if one is not None]))


def _load_clip(name: str) -> "Network[CLIPEnsemble]":
    from ..diffuseit.models.clip import CLIPEnsemble, load_clip
    from ..diffuseit.pocket.models import pocket_clip

    if name == POCKET:
        return Network(ensemble := pocket_clip(), (devices.manage(ensemble.models[0]),))
    model = _load_file("clip", load_clip, name, dtype=devices.choose_dtype("auto"))
    return Network(CLIPEnsemble([model]), (devices.manage(model),))


def _joined(ensembles: "list[Network[CLIPEnsemble]]") -> "Network[CLIPEnsemble]":
    from ..diffuseit.models.clip import CLIPEnsemble

    models = [model for one in ensembles for model in one.module.models]
    return Network(CLIPEnsemble(models), tuple(patcher for one in ensembles for patcher in one.patchers))


NODES = [LoadModels, LoadDDPM, LoadViT, LoadCLIP]
