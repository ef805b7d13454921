"""Correspondences of film: optical flow, its check, and scene cuts.

A flow [N, 2, H, W] says by how many pixels (x, y) each pixel of an image moves to the next one.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, ModelError
from .links import Correspondence, grid, inside
from .warp import sampled, warp

RELATIVE, ABSOLUTE = 0.01, 0.5
"""The forward-backward check of Sundaram, Brox & Keutzer (2010): |f + b|^2 < .01 (|f|^2 + |b|^2) + .5, in pixels."""

SIMILAR = 0.1
"""The mean difference of colors, of a range of 2, at which an estimated correspondence counts half."""

LEAST_SIDE = 12
"""Pixels of the longer side, below which OpenCV finds no flow."""

CUT_BELOW = 0.35
"""A new scene begins where the mean certainty of the pixels of two images is below this."""


def from_flow(forward: Tensor, backward: Tensor) -> Correspondence:
    """Return the correspondences of N images: of each with the one after it, and with the one before it.

    `forward` [N - 1, 2, H, W] is the flow from image i to i + 1, `backward` the flow from i + 1 to i. Where they
    disagree, a pixel is hidden in one of the images, and its certainty is 0.
    Raise `InputError` for flows of different or wrong shapes, or with values that are not finite.
    """
    if forward.shape != backward.shape or forward.ndim != 4 or forward.shape[1] != 2:
        raise InputError(
            f"the flows are {tuple(forward.shape)} and {tuple(backward.shape)}: give [N - 1, 2, H, W] twice, "
            "forward and backward"
        )
    if not (torch.isfinite(forward).all() and torch.isfinite(backward).all()):
        raise InputError("the flow has values that are not finite")
    here = grid((forward.shape[-2], forward.shape[-1]), forward)
    count = len(forward)
    before, after = tuple(range(count)), tuple(range(1, count + 1))
    return Correspondence(
        before + after,
        after + before,
        torch.cat([here + forward, here + backward]),
        torch.cat([_agreement(forward, backward), _agreement(backward, forward)]),
    )


def _agreement(flow: Tensor, back: Tensor) -> Tensor:
    """Return [N, 1, H, W] in [0, 1]: 1 where the flow back leads home, falling to 0 at twice the allowed error."""
    position = grid((flow.shape[-2], flow.shape[-1]), flow) + flow
    back = sampled(back, position)
    error = (flow + back).square().sum(1, keepdim=True)
    allowed = RELATIVE * (flow.square() + back.square()).sum(1, keepdim=True) + ABSOLUTE
    return (2 - error / allowed).clamp(0, 1) * inside(position)


def estimate_flow(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flow of images [N, 3, H, W] in [-1, 1], forward and backward, each [N - 1, 2, H, W] on the CPU.

    It is estimated by dense inverse search (Kroeger et al. 2016), as OpenCV has it, with its preset "medium".
    Raise `ModelError` without OpenCV (`diffuseit[film]`), and `InputError` for images below `LEAST_SIDE`.
    """
    if max(frames.shape[-2:]) < LEAST_SIDE:
        raise InputError(
            f"the images have {frames.shape[-1]}x{frames.shape[-2]} pixels: "
            f"optical flow needs a side of {LEAST_SIDE} or more"
        )
    cv2 = _opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    gray = [
        cv2.cvtColor(frame.movedim(0, -1).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
        for frame in frames.detach().cpu().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    ]

    def between(start: Any, end: Any) -> Tensor:
        return torch.from_numpy(search.calc(start, end, None)).movedim(-1, 0)

    pairs = list(pairwise(gray))
    empty = torch.zeros(0, 2, *frames.shape[-2:])
    if not pairs:
        return empty, empty
    return torch.stack([between(a, b) for a, b in pairs]), torch.stack([between(b, a) for a, b in pairs])


def link_estimated(
    frames: Tensor, estimate: Callable[[Tensor], tuple[Tensor, Tensor]] = estimate_flow
) -> Correspondence:
    """Return the correspondences of neighbors among images [N, 3, H, W] by estimated flow.

    `estimate` returns what `estimate_flow` does. Where the colors of corresponding pixels differ, the flow is wrong or
    the light has changed, and certainty is lower.
    """
    found = from_flow(*estimate(frames))
    frames = frames.detach().cpu().float()
    difference = (frames[list(found.image)] - warp(frames, found)).abs().mean(1, keepdim=True)
    alike = 1 / (1 + (difference / SIMILAR).square())
    return Correspondence(found.image, found.other, found.position, found.certainty * alike)


def scene_cuts(correspondence: Correspondence) -> list[int]:
    """Return the images that begin a new scene: hardly a pixel corresponds to one of the image before."""
    return [
        after
        for k, (before, after) in enumerate(correspondence.pairs)
        if after == before + 1 and float(correspondence.certainty[k].mean()) < CUT_BELOW
    ]


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ModelError(
            f"estimating optical flow needs OpenCV: run `pip install 'diffuseit[film]'` ({error})"
        ) from None
    return cv2
