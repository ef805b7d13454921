"""Colour transfer of image guidance: the result takes the style picture's colours."""

import numpy as np
import torch
from color_matcher import ColorMatcher
from PIL import Image
from torch import Tensor

from .io import to_pil, to_tensor


def match_colours(image: Image.Image, target: Image.Image) -> Image.Image:
    """Monge-Kantorovich linear transfer (Pitie & Kokaram 2007) through color-matcher, as the official code does.

    Both pictures are stretched to the full range first, the result last; pictures of one flat colour stay.
    """
    source, reference = _stretch(np.asarray(image)), _stretch(np.asarray(target))
    if source is None or reference is None:
        return image
    matched = _stretch(ColorMatcher().transfer(src=source, ref=reference, method="mkl"))
    return image if matched is None else Image.fromarray((matched * 255).astype(np.uint8))


def match_colours_batch(images: Tensor, targets: Tensor) -> Tensor:
    """`match_colours` of [B, 3, H, W] in [-1, 1] with one target for all or one for each."""
    matched = [
        to_tensor(match_colours(to_pil(image), to_pil(targets[i % len(targets)])))
        for i, image in enumerate(images)
    ]
    return torch.cat(matched)


def _stretch(values: np.ndarray) -> np.ndarray | None:
    """Values as float64 in [0, 1], the least 0 and the largest 1; None where all are equal."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else None
