"""Two-way analysis of variance of features over content x style, one picture a cell (Fisher 1925).

The total sum of squared deviations of the features splits into that of the means of the contents, that of the means of
the styles, and the rest, which is their interaction and, with one picture a cell, all noise. A factor that means
nothing still gets its degrees of freedom of the noise. The corrected shares have that taken off: they are 0 on average
if labels mean nothing (epsilon squared, Kelley 1935).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .gram import Gram


@dataclass(frozen=True)
class Shares:
    """Shares of the total variance, [B] each; they add up to 1. All are 0 if the features do not vary."""

    content: Tensor
    style: Tensor
    rest: Tensor


def variance_shares(gram: Gram, *, corrected: bool = True) -> Shares:
    """Return the shares of the variance of features, as tensors of one."""
    return _shares(gram, *_sums(gram, torch.ones(1, gram.contents, dtype=torch.float64)), corrected=corrected)


def bootstrap_shares(gram: Gram, weights: Tensor) -> Shares:
    """Return the corrected shares of bootstrap samples of contents, as `resamples` gives them.

    A content that comes twice does not vary with itself. So content and rest of a sample are too small by
    1 - 1 / contents, and style is too large by what the rest lacks; both are put right (Brennan 2007).
    """
    content, style, rest = _sums(gram, weights)
    lost = 1 / (gram.contents - 1)
    return _shares(gram, content * (1 + lost), style - lost * rest, rest * (1 + lost), corrected=True)


def _sums(gram: Gram, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sums of squares of content, style, and rest, [B], for samples that have each content `weights` times."""
    contents, styles = gram.contents, gram.styles
    # The products of the means of contents, and of pictures of equal style added up: [contents, contents].
    means = gram.products.mean(dim=(1, 3))
    matched = gram.products.diagonal(dim1=1, dim2=3).sum(dim=-1)
    mean = _quadratic(weights, means) / contents**2
    total = weights @ matched.diagonal() - contents * styles * mean
    content = styles * (weights @ means.diagonal() - contents * mean)
    style = contents * (_quadratic(weights, matched) / contents**2 - styles * mean)
    return content, style, (total - content - style).clamp_min(0)


def _shares(gram: Gram, content: Tensor, style: Tensor, rest: Tensor, *, corrected: bool) -> Shares:
    total = content + style + rest
    # A bootstrap sample may have one content alone.
    varies = total > 1e-12 * gram.products.diagonal(dim1=0, dim2=2).diagonal(dim1=0, dim2=1).sum()
    if corrected:
        degrees = gram.contents - 1, gram.styles - 1
        noise = rest / (degrees[0] * degrees[1])
        content, style = content - degrees[0] * noise, style - degrees[1] * noise
    content, style = (torch.where(varies, part / total, 0.0) for part in (content, style))
    return Shares(content, style, torch.where(varies, 1 - content - style, 0.0))


def chance_shares(contents: int, styles: int) -> tuple[float, float]:
    """Return the shares of content and style that labels get on average which mean nothing, without correction."""
    return (contents - 1) / (contents * styles - 1), (styles - 1) / (contents * styles - 1)


def resamples(contents: int, count: int, generator: torch.Generator) -> Tensor:
    """Return the weights [count, contents] of bootstrap samples of contents. Styles are fixed: they are no sample."""
    drawn = torch.randint(contents, (count, contents), generator=generator)
    return torch.zeros(count, contents, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones_like(drawn, dtype=torch.float64)
    )


def _quadratic(weights: Tensor, matrix: Tensor) -> Tensor:
    return ((weights @ matrix) * weights).sum(dim=1)
