"""Edges of pictures, and how well those of two pictures agree. Pictures are [N, 3, H, W] in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE_THRESHOLD = 0.08
"""Gradient magnitude of the luminance, in [0, 1] per pixel, from which a pixel counts as an edge."""


def luminance(pictures: Tensor) -> Tensor:
    """Return the luminance [N, 1, H, W] in [0, 1], Rec. 601."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=pictures.dtype, device=pictures.device)
    return (pictures.add(1).div(2).clamp(0, 1) * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def edges(pictures: Tensor) -> Tensor:
    """Return [N, 1, H, W] bool: where the Sobel gradient of the luminance exceeds `EDGE_THRESHOLD`."""
    light = F.pad(luminance(pictures), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=light.dtype, device=light.device) / 8
    gradient = F.conv2d(light, torch.stack([kernel, kernel.T])[:, None])
    return gradient.norm(dim=1, keepdim=True) > EDGE_THRESHOLD


def edge_f1(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return [N] F1 of the edges against those of `truth`, found within 1 pixel (also diagonally)."""
    found, wanted = edges(pictures).float(), edges(truth).float()

    def share(of: Tensor, near: Tensor) -> Tensor:
        hits = (of * F.max_pool2d(near, 3, stride=1, padding=1)).sum((1, 2, 3))
        count = of.sum((1, 2, 3))
        return torch.where(count > 0, hits / count.clamp_min(1), (near.sum((1, 2, 3)) == 0).to(hits))

    precision, recall = share(found, wanted), share(wanted, found)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-12)
