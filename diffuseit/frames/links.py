"""Correspondences at the size at which a model sees the images: from depth maps, from files of flow, and given ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import add

import numpy as np
import torch
from torch import Tensor

from ..correspondence import Correspondence, from_flow, from_geometry
from ..correspondence.links import joined
from ..errors import InputError
from ..images.resize import Fit
from .flows import FlowFolder
from .views import Views


def fitted(correspondence: Correspondence, fit: Fit) -> Correspondence:
    """Return the correspondences of images at the size of the source for images that enter a model by `fit`.

    What a fit adds around an image corresponds to nothing. Raise `InputError` for images of another size.
    """
    if correspondence.size != fit.source:
        (height, width), (rows, columns) = correspondence.size, fit.source
        raise InputError(
            f"the correspondences are for {width}x{height} pixels, and the images have {columns}x{rows}: "
            "make them from the same images"
        )
    top, left, height, width = fit.window
    window = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
    moved = correspondence.position[window] - correspondence.position.new_tensor([left, top]).view(2, 1, 1)
    cut = Correspondence(correspondence.image, correspondence.other, moved, correspondence.certainty[window])
    small = cut.resized(fit.content)
    (rows, columns), (down, right) = fit.content, _offset(fit)
    position = torch.zeros(len(cut), 2, *fit.canvas)
    certainty = torch.zeros(len(cut), 1, *fit.canvas)
    inner = (slice(None), slice(None), slice(down, down + rows), slice(right, right + columns))
    position[inner] = small.position + torch.tensor([right, down]).view(2, 1, 1)
    # A pixel of which the other image shows nothing after the cut.
    x, y = small.position[:, :1], small.position[:, 1:]
    within = (x > -0.51) & (x < columns - 0.49) & (y > -0.51) & (y < rows - 0.49)
    certainty[inner] = small.certainty * within
    return Correspondence(cut.image, cut.other, position, certainty)


def link_by_depth(views: Views, fit: Fit) -> Callable[[range, Tensor], Correspondence]:
    """Return the `link` of `translate_sequence` for `views` with depth maps that enter the model by `fit`."""
    top, left, height, width = fit.window
    (rows, columns), (down, right) = fit.content, _offset(fit)

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


def link_by_files(flows: FlowFolder, fit: Fit) -> Callable[[range, Tensor], Correspondence]:
    """Return the `link` of `translate_sequence` by the flow between frames that enter the model by `fit`."""

    def link(indices: range, frames: Tensor) -> Correspondence:
        none = torch.zeros(0, 2, *fit.canvas)
        parts = [from_flow(none, none)]
        # One pair at a time, since files have the size of the source.
        for place, index in enumerate(indices[:-1]):
            forward, backward = (flow[None] for flow in flows.read(index))
            part = fitted(from_flow(forward, backward), fit)
            parts.append(part.renumbered(partial(add, place)))
        return joined(parts)

    return link


def _offset(fit: Fit) -> tuple[int, int]:
    """How far the content lies from the top and from the left of the canvas."""
    (rows, columns), (high, wide) = fit.content, fit.canvas
    return (high - rows) // 2, (wide - columns) // 2
