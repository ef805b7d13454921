"""Distances between two sets of pictures, from their features [N, D].

FlexIT (Couairon et al. 2022) measures realism by SFID, which compares the means of FID's Inception features alone, so
that a thousand pictures are enough, and CSFID, its mean over classes. Its code (`eval.py`) has no term of the
variances. Kim et al. 2020, who named SFID, keep the diagonal of the covariances, and the paper's words, "that does not
consider the diagonal term", can be read both ways. So both are here, under two names.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InputError


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Return the Frechet distance of the Gaussians fitted to features [N, D] and [M, D], in float64.

    tr (S1 S2)^(1/2) comes from the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), so that rank-deficient
    covariances (N < D) do no harm. The estimate is biased upwards for small N: compare equal N only.
    """
    x, y = _checked(features), _checked(reference)
    cov_x, cov_y = _covariance(x), _covariance(y)
    values, vectors = torch.linalg.eigh(cov_y)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_x @ root).clamp_min(0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross
    return max(distance.item(), 0.0)


def sfid(features: Tensor, reference: Tensor) -> float:
    """Return the squared distance of the mean features, as FlexIT's code does."""
    x, y = _checked(features, 1), _checked(reference, 1)
    return (x.mean(0) - y.mean(0)).square().sum().item()


def sfid_with_diagonal(features: Tensor, reference: Tensor) -> float:
    """Return `sfid` and the Frechet distance of the variances: sum of (s1 - s2)^2 of the deviations (Kim et al.)."""
    x, y = _checked(features), _checked(reference)
    return sfid(x, y) + (x.std(0) - y.std(0)).square().sum().item()


def csfid(
    features: Tensor,
    classes: Sequence[int],
    reference: Tensor,
    reference_classes: Sequence[int],
    distance: Callable[[Tensor, Tensor], float] = sfid,
) -> float:
    """Return the mean of `distance` over the classes of `features`, each against the reference of the same class.

    Raise `InputError` for a class that the reference has not.
    """
    own, theirs = torch.as_tensor(classes), torch.as_tensor(reference_classes)
    distances = []
    for each in own.unique():
        if not (theirs == each).any():
            raise InputError(f"the reference has no picture of class {int(each)}")
        distances.append(distance(features[own == each], reference[theirs == each]))
    return sum(distances) / len(distances)


def _checked(features: Tensor, least: int = 2) -> Tensor:
    """float64 on the CPU. Raise `InputError` for fewer pictures than the figure needs."""
    if features.ndim != 2 or len(features) < least:
        raise InputError(
            f"a distance of sets needs {least} pictures or more on each side, not {len(features)}"
        )
    return features.detach().double().cpu()


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(0)
    return centered.T @ centered / max(len(features) - 1, 1)
