"""DiffuseIT: training-free image translation by guided diffusion (Kwon & Ye, ICLR 2023).

    from diffuseit import translate
    result = translate(picture, from_="summer landscape", to="winter landscape")   # [1, 3, H, W] in [-1, 1]

The names below are the public interface; each is imported when it is first used, so that this module is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Models, load_models, translate, vary
    from .errors import DiffuseITError, DivergedError, InputError, ModelError
    from .guidance.loop import SamplerSettings, Step, sample
    from .images.resize import Fit
    from .losses import ImageStyleLoss, RangeLoss, SemanticDivergenceLoss, StructureLoss, TextStyleLoss
    from .models.clip import CLIPEnsemble, load_clip
    from .models.ddpm_checkpoint import load_ddpm
    from .models.load import load_model
    from .models.vit import load_vit
    from .presets import PRESETS, Preset

__all__ = [
    "PRESETS",
    "CLIPEnsemble",
    "DiffuseITError",
    "DivergedError",
    "Fit",
    "ImageStyleLoss",
    "InputError",
    "ModelError",
    "Models",
    "Preset",
    "RangeLoss",
    "SamplerSettings",
    "SemanticDivergenceLoss",
    "Step",
    "StructureLoss",
    "TextStyleLoss",
    "load_clip",
    "load_ddpm",
    "load_model",
    "load_models",
    "load_vit",
    "sample",
    "translate",
    "vary",
]

_HOMES = {
    "api": ("Models", "load_models", "translate", "vary"),
    "models.ddpm_checkpoint": ("load_ddpm",),
    "images.resize": ("Fit",),
    "errors": ("DiffuseITError", "DivergedError", "InputError", "ModelError"),
    "models.clip": ("CLIPEnsemble", "load_clip"),
    "models.vit": ("load_vit",),
    "models.load": ("load_model",),
    "losses": ("ImageStyleLoss", "RangeLoss", "SemanticDivergenceLoss", "StructureLoss", "TextStyleLoss"),
    "presets": ("PRESETS", "Preset"),
    "guidance.loop": ("SamplerSettings", "Step", "sample"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
