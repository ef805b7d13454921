"""DiffuseIT: training-free image translation by guided diffusion (Kwon & Ye, ICLR 2023).

    from diffuseit import translate
    result = translate(image, from_="summer landscape", to="winter landscape")
    result.pictures   # [1, 3, H, W] in [-1, 1]

The names below are the public interface. Each is imported when it is first used, so that this module is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Result, load_models, translate, translate_with, vary
    from .errors import DiffuseITError, DivergedError, InputError, ModelError
    from .guidance.loop import Step, sample
    from .guidance.settings import SamplerSettings
    from .images.resize import Fit
    from .losses import (
        AnchorLoss,
        BoundLoss,
        ColorStatisticsLoss,
        CorrespondenceLoss,
        IdentityLoss,
        ImageStyleLoss,
        Loss,
        RangeLoss,
        SemanticDivergenceLoss,
        SourceAnchorLoss,
        StructureLoss,
        TextStyleLoss,
        bind,
    )
    from .methods import AGG, DSG, MPGD, DiffuseIT, DiffuseITDDIM, OfficialAGG
    from .models.bundle import Models
    from .models.clip import CLIPEnsemble, load_clip
    from .models.ddpm_checkpoint import load_ddpm
    from .models.load import load_model
    from .models.vit import load_vit
    from .presets import PRESETS, Preset

_MODULES = {
    "api": ("Result", "load_models", "translate", "translate_with", "vary"),
    "errors": ("DiffuseITError", "DivergedError", "InputError", "ModelError"),
    "guidance.loop": ("Step", "sample"),
    "guidance.settings": ("SamplerSettings",),
    "images.resize": ("Fit",),
    "losses": (
        "AnchorLoss",
        "BoundLoss",
        "ColorStatisticsLoss",
        "CorrespondenceLoss",
        "IdentityLoss",
        "ImageStyleLoss",
        "Loss",
        "RangeLoss",
        "SemanticDivergenceLoss",
        "SourceAnchorLoss",
        "StructureLoss",
        "TextStyleLoss",
        "bind",
    ),
    "methods": ("AGG", "DSG", "MPGD", "DiffuseIT", "DiffuseITDDIM", "OfficialAGG"),
    "models.bundle": ("Models",),
    "models.clip": ("CLIPEnsemble", "load_clip"),
    "models.ddpm_checkpoint": ("load_ddpm",),
    "models.load": ("load_model",),
    "models.vit": ("load_vit",),
    "presets": ("PRESETS", "Preset"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
