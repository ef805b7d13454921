"""How alike two pictures are, pixel by pixel. Pictures are [N, 3, H, W] in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .edges import luminance


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return [N] structural similarity of the luminance (Wang et al. 2004): Gaussian window 11, sigma 1.5, range 1.

    The mean over the windows that lie wholly inside the picture, as scikit-image computes it.
    """
    return structural_similarity(luminance(pictures).double(), luminance(truth).double())


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return [N] `ssim` of luminances [N, 1, H, W], differentiable, in their own precision."""
    line = torch.exp(-(torch.arange(-5, 6, device=x.device, dtype=x.dtype) ** 2) / (2 * 1.5**2))
    line = line / line.sum()
    window = torch.outer(line, line).view(1, 1, 11, 11)
    mean_x, mean_y = F.conv2d(x, window), F.conv2d(y, window)
    var_x = F.conv2d(x * x, window) - mean_x**2
    var_y = F.conv2d(y * y, window) - mean_y**2
    covariance = F.conv2d(x * y, window) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    value = value / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return value.mean((1, 2, 3))


def mae(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return [N] mean absolute error in units of [0, 1]."""
    return (pictures.clamp(-1, 1) - truth.clamp(-1, 1)).abs().mean((1, 2, 3)) / 2
