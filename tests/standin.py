"""What tests of the command put in place of the core: a set of models that is sizes alone, and a translation."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import diffuseit

MODELS = SimpleNamespace(
    ddpm=SimpleNamespace(image_size=64, size_multiple=8, device=torch.device("cpu")),
    vit=None,
    clip=(),
    text_preset="pocket-text",
    image_preset="pocket-image",
)


def replace_core(patch: pytest.MonkeyPatch, translate: Callable[..., Any]) -> None:
    """Let the command load `MODELS`, and translate by `translate`."""
    patch.setattr(diffuseit, "load_models", lambda name: MODELS, raising=False)
    patch.setattr(diffuseit, "translate", translate, raising=False)
