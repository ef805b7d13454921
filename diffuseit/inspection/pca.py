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
    count = sum(one[..., 0].numel() for one in features)
    mean = torch.stack([one.sum(dim=(0, 1), dtype=torch.float64) for one in features]).sum(dim=0) / count
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for one in features:
        centered = one.flatten(0, 1) - mean
        scatter += centered.mT @ centered
    variances, vectors = torch.linalg.eigh(scatter)
    variances, vectors = variances.flip(0)[:COLORS].clamp_min(0), vectors.flip(1)[:, :COLORS]
    # The sign of a component is arbitrary; this one does not depend on the solver.
    strongest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    vectors = F.pad(vectors * strongest.sign(), (0, COLORS - vectors.shape[1]))
    components = [(one - mean) @ vectors for one in features]
    everything = torch.cat([one.flatten(0, 1) for one in components]).numpy()
    low, high = torch.from_numpy(np.quantile(everything, (CLIPPED, 1 - CLIPPED), axis=0))
    center, half = (low + high) / 2, (high - low) / 2
    # Components that are rounding are gray, which is 0.
    varies = half > 1e-6 * mean.norm()
    pictures = [
        torch.where(varies, (one - center) / half.clamp_min(1e-30), 0.0).clamp(-1, 1).float().permute(2, 0, 1)
        for one in components
    ]
    return pictures, (variances / scatter.trace().clamp_min(1e-30)).tolist()
