"""DiffuseIT: training-free image translation by guided diffusion (Kwon & Ye, ICLR 2023).

    from diffuseit import translate
    result = translate(picture, from_="summer landscape", to="winter landscape")   # [1, 3, H, W] in [-1, 1]

The names below are the public interface; each is imported when it is first used, so that this module is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Models, load_models, translate, vary
    from .backbones.load import load_ddpm
    from .errors import DiffuseITError, DivergedError, InputError, ModelError
    from .features.clip import CLIPEnsemble, load_clip
    from .features.vit import load_vit
    from .fit import Fit
    from .loading import load_model
    from .losses import ImageStyleLoss, RangeLoss, SemanticDivergenceLoss, StructureLoss, TextStyleLoss
    from .presets import PRESETS, Preset
    from .sampler import SamplerSettings, Step, sample

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
    "backbones.load": ("load_ddpm",),
    "fit": ("Fit",),
    "errors": ("DiffuseITError", "DivergedError", "InputError", "ModelError"),
    "features.clip": ("CLIPEnsemble", "load_clip"),
    "features.vit": ("load_vit",),
    "loading": ("load_model",),
    "losses": ("ImageStyleLoss", "RangeLoss", "SemanticDivergenceLoss", "StructureLoss", "TextStyleLoss"),
    "presets": ("PRESETS", "Preset"),
    "sampler": ("SamplerSettings", "Step", "sample"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
