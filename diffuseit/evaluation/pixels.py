"""How alike two pictures are, pixel by pixel. Pictures are [N, 3, H, W] in [-1, 1].

A mask [1 or N, 1, H, W] in [0, 1] is white where a picture was allowed to change; `background_psnr` and
`background_ssim` measure what lies outside it. They are NaN where nothing does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .edges import luminance

WINDOW = 11
"""Pixels of SSIM's window, and the least side of a picture that has an SSIM."""

BEST_PSNR = 100.0
"""The PSNR of equal pictures, in dB. No two different pictures of 8 bits come near it by their whole background."""


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return [N] structural similarity of the luminance (Wang et al. 2004): Gaussian window 11, sigma 1.5, range 1.

    The mean over the windows that lie wholly inside the picture, as scikit-image computes it.
    """
    return structural_similarity(luminance(pictures).double(), luminance(truth).double())


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return [N] `ssim` of luminances [N, 1, H, W], differentiable, in their own precision."""
    return _similarities(x, y).mean((1, 2, 3))


def _similarities(x: Tensor, y: Tensor) -> Tensor:
    """[N, 1, H - 10, W - 10]: the similarity in each window."""
    line = torch.exp(-(torch.arange(-5, 6, device=x.device, dtype=x.dtype) ** 2) / (2 * 1.5**2))
    line = line / line.sum()
    # The window is the product of a column and a row, and two small convolutions take a fifth of one large one's time.
    column, row = line.view(1, 1, WINDOW, 1), line.view(1, 1, 1, WINDOW)

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, column), row)

    mean_x, mean_y = mean(x), mean(y)
    var_x = mean(x * x) - mean_x**2
    var_y = mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return value / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def mae(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return [N] mean absolute error in units of [0, 1]."""
    return (pictures.clamp(-1, 1) - truth.clamp(-1, 1)).abs().mean((1, 2, 3)) / 2


def background_psnr(pictures: Tensor, sources: Tensor, mask: Tensor) -> Tensor:
    """Return [N] peak signal-to-noise ratio in dB of the pixels that the mask leaves black, at most `BEST_PSNR`.

    The error is averaged over these pixels alone. (PIE-Bench blackens the others and averages over all.)
    """
    keep = _kept(mask, pictures)
    error = (pictures.clamp(-1, 1) - sources.clamp(-1, 1)).double().div(2).square().mean(1, keepdim=True)
    error = (error * keep).sum((1, 2, 3)) / keep.sum((1, 2, 3))
    return -10 * error.clamp_min(10 ** (-BEST_PSNR / 10)).log10()


def background_ssim(pictures: Tensor, sources: Tensor, mask: Tensor) -> Tensor:
    """Return [N] the mean similarity of the windows that lie wholly outside the mask."""
    value = _similarities(luminance(pictures).double(), luminance(sources).double())
    touched = F.max_pool2d(1 - _kept(mask, pictures), WINDOW, stride=1)
    keep = 1 - touched
    return (value * keep).sum((1, 2, 3)) / keep.sum((1, 2, 3))


def _kept(mask: Tensor, pictures: Tensor) -> Tensor:
    """[N, 1, H, W] float64: 1 where the mask is black, else 0."""
    return (mask <= 0).double().expand(len(pictures), 1, *pictures.shape[-2:]).to(pictures.device)
