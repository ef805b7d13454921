"""Features of FID's Inception network, through torch-fidelity with weights of the models folder.

Two ways lead to them. FID (Heusel et al. 2017) takes pictures of 8 bits and resizes them as TensorFlow 1 did. FlexIT,
whose SFID and CSFID are compared with its published ones, takes numbers and resizes them as torch does (pytorch-fid).
"""

import io
import os
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..models.checkpoint import read_checkpoint
from ..models.precision import plain_defaults
from ..models.resize import resize
from ..schema import printable
from .optional import optional

SIDE = 299
"""Pixels of each side that the network sees."""


class Inception(nn.Module):
    """The frozen network of TensorFlow's FID, which returns 2048 numbers for a picture."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor.eval().requires_grad_(False)
        # In the order in which they run.
        self.layers = nn.Sequential(*(layer for name, layer in extractor.named_children() if name != "fc"))

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Return features [N, 2048] of pictures [N, 3, H, W] in [-1, 1], for FID."""
        levels = pictures.clamp(-1, 1).add(1).mul(127.5).round().byte()
        return self.extractor(levels)[0]

    @torch.no_grad()
    def flexit_features(self, pictures: Tensor) -> Tensor:
        """Return features [N, 2048] of pictures [N, 3, H, W] in [-1, 1], for FlexIT's SFID and CSFID."""
        return self.layers(resize(pictures, (SIDE, SIDE))).flatten(1)


def load_inception(path: str | os.PathLike[str]) -> Inception:
    """Return the network with the weights at `path` (torch-fidelity's or pytorch-fid's file).

    Raise `ModelError` if the package `torch-fidelity` is missing, or if the file is not that network.
    """
    package: Any = optional("torch_fidelity.feature_extractor_inceptionv3", "FID")
    state, _ = read_checkpoint(path)
    # The package would run what a stranger's pickle holds. It gets one that is written here.
    weights = io.BytesIO()
    torch.save(state, weights)
    weights.seek(0)
    try:
        with plain_defaults():
            extractor = package.FeatureExtractorInceptionV3("inception", ["2048"], weights)
    except RuntimeError as error:
        raise ModelError(
            f"{printable(str(path))} is not the Inception network of FID: {printable(str(error)[:200])}"
        ) from None
    return Inception(extractor)
