"""Perception: LPIPS (Zhang et al. 2018), through the authors' package with weights of the models folder."""

import os
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..models.checkpoint import misfit, read_checkpoint, require_numbers, signature
from ..models.precision import plain_defaults
from ..models.resize import resize_shorter
from ..schema import printable
from .optional import optional

Trunk = Literal["alex", "squeeze", "vgg"]
"""The classifier that LPIPS looks through. FlexIT takes alex, PIE-Bench squeeze."""

SMALLEST = 64
"""Pixels of the shorter side below which pictures are enlarged: alex sees nothing in smaller ones."""

_FEATURES = "features."


class LPIPS(nn.Module):
    """A frozen LPIPS, version 0.1."""

    def __init__(self, model: nn.Module, trunk: Trunk) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.trunk = trunk

    @torch.no_grad()
    def forward(self, results: Tensor, sources: Tensor) -> Tensor:
        """Return the distance [N] of pictures [N, 3, H, W] in [-1, 1]; 0 for equal ones."""
        if min(results.shape[-2:]) < SMALLEST:
            results, sources = (resize_shorter(each, SMALLEST) for each in (results, sources))
        return self.model(results, sources).flatten()


def load_lpips(trunk: Trunk, path: str | os.PathLike[str]) -> LPIPS:
    """Return LPIPS with torchvision's classifier at `path` as its trunk; the package has the linear layers.

    Raise `ModelError` if the package `lpips` is missing, or if the file is not that network.
    """
    package: Any = optional("lpips", "LPIPS")
    source = printable(str(path))
    state, _ = read_checkpoint(path)
    layers = {key[len(_FEATURES) :]: value for key, value in state.items() if key.startswith(_FEATURES)}
    with warnings.catch_warnings(), plain_defaults():
        warnings.simplefilter("ignore")  # of torchvision, about the way in which lpips calls it
        # `pnet_rand`: it would fetch the trunk.
        model = package.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    expected = model.net.state_dict()
    # "slice2.3.weight" is torchvision's "features.3.weight".
    names = {key.partition(".")[2]: key for key in expected}
    renamed = {names.get(key, key): value for key, value in layers.items()}
    if faults := misfit(signature(renamed), signature(expected)):
        raise ModelError(f"{source} is not torchvision's {trunk}, the trunk of LPIPS: {faults}")
    require_numbers(renamed, expected, source)
    model.net.load_state_dict(renamed)
    return LPIPS(model, trunk)
