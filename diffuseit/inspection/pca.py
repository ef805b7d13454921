"""Principal components of patch features as colors (Amir et al. 2021, arXiv 2112.05814)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COLORS = 3
CLIPPED = 0.01
"""The share of the patches at either end of a component whose color is cut off, so that stray ones do not set it."""


def principal_colors(features: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
    """Return pictures [3, rows, columns] in [-1, 1] of the features [rows, columns, D] of each picture.

    Red, green, and blue are the first three principal components of the features of all patches of all pictures, each
    scaled to its range. So similar patches have similar colors, also across pictures. The second value is the share of
    the variance that each component has. Features that are all equal become gray, with shares of 0.
    """
    flat = torch.cat([one.flatten(0, 1) for one in features]).double()
    flat = flat - flat.mean(dim=0)
    variances, vectors = torch.linalg.eigh(flat.mT @ flat)
    variances, vectors = variances.flip(0)[:COLORS].clamp_min(0), vectors.flip(1)[:, :COLORS]
    # The sign of a component is arbitrary; this one does not depend on the solver.
    strongest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    components = F.pad(flat @ (vectors * strongest.sign()), (0, COLORS - vectors.shape[1]))
    low, high = torch.from_numpy(np.quantile(components.numpy(), (CLIPPED, 1 - CLIPPED), axis=0))
    center, half = (low + high) / 2, (high - low) / 2
    constant = half <= 1e-9 * (1 + center.abs())
    colors = torch.where(constant, 0.0, (components - center) / half.clamp_min(1e-30)).clamp(-1, 1).float()
    sizes = [one.shape[0] * one.shape[1] for one in features]
    pictures = [
        part.unflatten(0, one.shape[:2]).permute(2, 0, 1)
        for part, one in zip(colors.split(sizes), features, strict=True)
    ]
    total = flat.square().sum().clamp_min(1e-30)
    return pictures, (variances / total).tolist()
