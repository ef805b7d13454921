"""A set of models for tests of the command that replace the core: sizes alone, no networks."""

from types import SimpleNamespace

import torch

MODELS = SimpleNamespace(
    ddpm=SimpleNamespace(image_size=64, size_multiple=8, device=torch.device("cpu")),
    vit=None,
    clip=(),
    text_preset="pocket-text",
    image_preset="pocket-image",
)
