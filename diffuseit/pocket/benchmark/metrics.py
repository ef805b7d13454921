"""What a translation is worth: style reached, structure kept, realism. Images are [N, 3, H, W] in [-1, 1]."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE_THRESHOLD = 0.08
"""Gradient magnitude of the luminance, in [0, 1] per pixel, from which a pixel counts as an edge."""

Interval = tuple[float, float]
_Z95 = 1.959963984540054


def luminance(images: Tensor) -> Tensor:
    """[N, 1, H, W] in [0, 1], Rec. 601."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)
    return (images.add(1).div(2).clamp(0, 1) * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """[N] structural similarity of the luminance (Wang et al. 2004): Gaussian window 11, sigma 1.5, range 1.

    The mean over the windows that lie wholly inside the image, as scikit-image computes it.
    """
    return structural_similarity(luminance(images).double(), luminance(truth).double())


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """[N] `ssim` of luminances [N, 1, H, W], differentiable, in their own precision."""
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


def edges(images: Tensor) -> Tensor:
    """[N, 1, H, W] bool: where the Sobel gradient of the luminance exceeds `EDGE_THRESHOLD`."""
    light = F.pad(luminance(images), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=light.dtype, device=light.device) / 8
    gradient = F.conv2d(light, torch.stack([kernel, kernel.T])[:, None])
    return gradient.norm(dim=1, keepdim=True) > EDGE_THRESHOLD


def edge_f1(images: Tensor, truth: Tensor) -> Tensor:
    """[N] F1 of the edges against those of `truth`, found within 1 pixel (also diagonally)."""
    found, wanted = edges(images).float(), edges(truth).float()

    def share(of: Tensor, near: Tensor) -> Tensor:
        hits = (of * F.max_pool2d(near, 3, stride=1, padding=1)).sum((1, 2, 3))
        count = of.sum((1, 2, 3))
        return torch.where(count > 0, hits / count.clamp_min(1), (near.sum((1, 2, 3)) == 0).to(hits))

    precision, recall = share(found, wanted), share(wanted, found)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-12)


def mae(images: Tensor, truth: Tensor) -> Tensor:
    """[N] mean absolute error in units of [0, 1]."""
    return (images.clamp(-1, 1) - truth.clamp(-1, 1)).abs().mean((1, 2, 3)) / 2


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features [N, D] and [M, D], in float64.

    tr (S1 S2)^(1/2) comes from the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), so that rank-deficient
    covariances (N < D) do no harm. The estimate is biased upwards for small N: compare equal N only.
    """
    x, y = features.detach().double().cpu(), reference.detach().double().cpu()
    cov_x, cov_y = _covariance(x), _covariance(y)
    values, vectors = torch.linalg.eigh(cov_y)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_x @ root).clamp_min(0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross
    return max(distance.item(), 0.0)


def wilson_interval(successes: int, count: int) -> Interval:
    """The 95 % Wilson score interval of a rate."""
    rate, z2 = successes / count, _Z95**2
    center = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(min(center - half, rate), 0.0), min(
        max(center + half, rate), 1.0
    )  # rate inside despite rounding


def mean_interval(values: Tensor) -> Interval | None:
    """The 95 % normal interval of a mean; None for a single value."""
    if len(values) < 2:
        return None
    values = values.double()
    mean, half = values.mean().item(), _Z95 * values.std().item() / math.sqrt(len(values))
    return mean - half, mean + half


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(0)
    return centered.T @ centered / max(len(features) - 1, 1)
