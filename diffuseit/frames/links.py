"""Correspondences of views from their depth maps, at the size at which a model sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..correspondence import Correspondence, from_geometry
from ..images.resize import Fit
from .views import Views


def link_by_depth(views: Views, fit: Fit) -> Callable[[range, Tensor], Correspondence]:
    """Return the `link` of `translate_sequence` for `views` with depth maps that enter the model by `fit`."""
    top, left, height, width = fit.window
    (rows, columns), (high, wide) = fit.content, fit.canvas
    down, right = (high - rows) // 2, (wide - columns) // 2

    def seen(number: int) -> Tensor:
        depth = views.depth_of(number)
        # The nearest depth, since a mean over an edge is the depth of nothing. Beyond the image it is unknown.
        y = (top + (np.arange(rows) + 0.5) * height / rows) / fit.source[0] * depth.shape[0]
        x = (left + (np.arange(columns) + 0.5) * width / columns) / fit.source[1] * depth.shape[1]
        canvas = torch.zeros(fit.canvas)
        small = np.ascontiguousarray(depth[y.astype(int)[:, None], x.astype(int)])
        canvas[down : down + rows, right : right + columns] = torch.from_numpy(small)
        return canvas

    def intrinsics(number: int) -> Tensor:
        matrix = views.views[number].intrinsics
        assert matrix is not None
        scale = np.array([[columns / width], [rows / height]])
        moved = matrix.copy()
        moved[:2] *= scale
        moved[:2, 2:] += scale * (0.5 - np.array([[left], [top]])) - 0.5 + np.array([[right], [down]])
        return torch.from_numpy(moved)

    def link(indices: range, frames: Tensor) -> Correspondence:
        extrinsics = np.stack([views.views[number].extrinsics for number in indices])
        return from_geometry(
            torch.stack([seen(number) for number in indices]),
            torch.stack([intrinsics(number) for number in indices]),
            torch.from_numpy(extrinsics),
        )

    return link
