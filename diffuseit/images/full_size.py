"""Bring a result to its source's size, with the source's detail.

Guided upsampling: at the model's size, local affine maps from the colors of the source to those of the result are
fitted (the guided filter, He et al. 2013). Their coefficients are enlarged and applied to the full-size source (the
fast guided filter, He & Sun 2015, arXiv 1505.00996; bilateral guided upsampling, Chen et al. 2016, has the same idea).
The result gets the edges of the source, and nothing is computed twice, so there are no seams.

A map cannot paint what the source lacks, such as spots on a coat. Where it explains little of the result, the enlarged
result stays as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..guidance.mask import blend
from ..schema import shown
from .resize import ASPECT_TOLERANCE, Fit, enlarging_weights, resize

RADIUS, EPS = 4, 1e-4
"""A window of 9x9 pixels of the model's size; the variance of colors in [-1, 1] below which a map is flat."""

TRUSTED_FROM, TRUSTED_WHOLLY = 0.2, 0.5
"""A map counts from this share of the result's variance that it explains, and wholly from that one."""

_STRIP = 1 << 20
"""Pixels that are mapped at a time. It bounds the memory, whatever the size of the source."""


def fit_of(source: Tensor, result: Tensor) -> Fit:
    """Return the fit of a result [B, 3, h, w] that shows the whole source [B, 3, H, W].

    Raise `InputError` if their aspects differ by more than `ASPECT_TOLERANCE` and by more than a pixel.
    """
    (height, width), (h, w) = source.shape[-2:], result.shape[-2:]
    if abs(w * height - h * width) > max(ASPECT_TOLERANCE * h * width, height, width):
        raise InputError(
            f"the result is {w}x{h} pixels and the source {width}x{height}: give two of the same shape"
        )
    return Fit((height, width), (0, 0, height, width), (h, w), (h, w))


def restore(
    fit: Fit, result: Tensor, source: Tensor, mask: Tensor | None = None, detail: float = 1.0
) -> Tensor:
    """Return a result [B, 3, H, W] at the model's size as the source's window at the source's resolution.

    `source` [B, 3, H, W] in [-1, 1] and `mask` [B, 1, H, W] in [0, 1] have the size of the source. `detail` from 0
    (the result is resized, as it is) to 1 says how much the source's detail counts. Where the mask is 0, pixels are the
    source's own. Raise `InputError` for another `detail` or for other sizes.
    """
    if not 0 <= detail <= 1:
        raise InputError(f"the detail is {shown(detail)}: use 0 to 1")
    small, original = fit.undo(result), fit.cut(source).to(result)
    large = resize(small, fit.window[2:])
    grows = all(new > old for new, old in zip(fit.window[2:], fit.content, strict=True))
    if detail > 0 and grows:
        large = _add_detail(large, small, fit.undo(fit.apply(source)).to(result), original, detail)
    return large if mask is None else blend(large, original, fit.cut(mask).to(large))


def _add_detail(large: Tensor, result: Tensor, source: Tensor, original: Tensor, detail: float) -> Tensor:
    """Blend into `large` what the maps from `source` to `result` [B, 3, h, w] make of `original`, [B, 3, H, W]."""
    rows, columns = (
        enlarging_weights(old, new).to(result.device, torch.float32)
        for old, new in zip(source.shape[-2:], original.shape[-2:], strict=True)
    )
    maps = torch.cat(fit_maps(source.float(), result.float()), dim=1) @ columns.T
    height = max(1, _STRIP // (len(maps) * original.shape[-1]))
    for top in range(0, original.shape[-2], height):
        strip = slice(top, top + height)
        matrix, offset, trust = (rows[strip] @ maps).split((9, 3, 1), dim=1)
        colors = original[..., strip, :].float().unsqueeze(1)
        mapped = (matrix.unflatten(1, (3, 3)) * colors).sum(2) + offset
        large[..., strip, :] = torch.lerp(large[..., strip, :].float(), mapped.clamp(-1, 1), detail * trust)
    return large


def fit_maps(source: Tensor, result: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit result = matrix source + offset around each pixel of images [B, 3, h, w].

    Return the matrix [B, 9, h, w], whose rows are the channels of the result, the offset [B, 3, h, w], and how far they
    are to be trusted, [B, 1, h, w] in [0, 1].
    """
    mean_source, mean_result = _box(source), _box(result)

    def covariance(first: Tensor, second: Tensor) -> Tensor:
        """Return [B, h, w, 3, 3]: of each channel of `first` with each of `second`."""
        products = (first.unsqueeze(2) * second.unsqueeze(1)).flatten(1, 2)
        means = (_box(first).unsqueeze(2) * _box(second).unsqueeze(1)).flatten(1, 2)
        return (_box(products) - means).unflatten(1, (3, 3)).permute(0, 3, 4, 1, 2)

    crossed = covariance(result, source)
    regular = covariance(source, source) + EPS * torch.eye(3, dtype=torch.float32, device=source.device)
    matrix = torch.linalg.solve(regular, crossed, left=False)
    explained = (matrix * crossed).sum((3, 4)).unsqueeze(1)
    variance = (_box(result.square()) - mean_result.square()).sum(1, keepdim=True)
    share = (explained + EPS) / (variance + EPS)
    trust = ((share - TRUSTED_FROM) / (TRUSTED_WHOLLY - TRUSTED_FROM)).clamp(0, 1)
    rows = matrix.permute(0, 3, 4, 1, 2)
    offset = mean_result - (rows * mean_source.unsqueeze(1)).sum(2)
    return _box(rows.flatten(1, 2)), _box(offset), _box(trust)


def _box(image: Tensor) -> Tensor:
    """Return the mean over the window around each pixel, without what lies beyond the border."""
    return F.avg_pool2d(image, 2 * RADIUS + 1, stride=1, padding=RADIUS, count_include_pad=False)
