"""All figures of one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.resize import resize
from .classes import class_accuracy
from .edges import edge_f1
from .look import text_match
from .pixels import WINDOW, background_psnr, background_ssim
from .registration import SMALLEST, register
from .structure import distance_of_keys, pie_structure_distance
from .witnesses import Witnesses

MOST_PIXELS = 4_194_304
"""Larger pictures are measured at this many pixels."""

_SAME_SHAPE = 0.02
"""Ratios of the sides that differ by less count as equal: sizes are rounded."""


@dataclass(frozen=True)
class Wanted:
    """What a result should show. Everything may be left out.

    `to` and `from_` are texts, `style` is the unit mean [1, D] of the [CLS] of style pictures, `mask` [1, 1, H, W] in
    [0, 1] is white where the result may differ from the source, `target` is a class of the classifier.
    """

    to: str | None = None
    from_: str | None = None
    style: Tensor | None = None
    mask: Tensor | None = None
    target: int | None = None


@dataclass(frozen=True)
class Measured:
    """The figures of a picture by the keys of `FIGURES`, all finite, and what was done to the pictures before."""

    values: dict[str, float]
    notes: tuple[str, ...] = ()


@torch.no_grad()
def measure(result: Tensor, source: Tensor, wanted: Wanted, witnesses: Witnesses) -> Measured:
    """Measure a result [1, 3, H, W] against its source [1, 3, h, w], both in [-1, 1].

    The source and the mask are brought to the result's size, and everything to `MOST_PIXELS` if the result has more.
    Figures that cannot be had, such as a shift where the edges do not agree, are left out.
    """
    size, notes = common_size(result, source)
    result, source = resize(result, size), resize(source, size)
    values = _registration(result, source)
    values["edge_f1"] = edge_f1(result, source).item()
    if wanted.mask is not None:
        values |= _background(result, source, resize(wanted.mask, size))
    vit = witnesses.vit
    if vit is not None:
        features, source_keys = vit(result), vit(source).keys
        values["structure"] = distance_of_keys(features.keys, source_keys).item()
        values["structure_pie"] = 1000 * pie_structure_distance(vit, result, source).item()
        if wanted.style is not None:
            values["style"] = (F.normalize(features.cls, dim=-1) * wanted.style).sum().item()
    if wanted.to is not None:
        for name, clip in witnesses.clips.items():
            match = text_match(clip, result, wanted.to, wanted.from_)
            values[f"text.{name}"] = 100 * match.target.item()
            if match.source is not None and match.reached is not None:
                values[f"text_source.{name}"] = 100 * match.source.item()
                values[f"text_reached.{name}"] = float(match.reached.item())
    for trunk, network in witnesses.lpips.items():
        values[f"lpips.{trunk}"] = network(result, source).item()
    if wanted.target is not None and witnesses.classifier is not None:
        reached = class_accuracy(witnesses.classifier(result), [wanted.target])
        values["class_reached"] = float(reached.item())
    return Measured({key: value for key, value in values.items() if math.isfinite(value)}, notes)


@torch.no_grad()
def style_of(pictures: Sequence[Tensor], witnesses: Witnesses) -> Tensor:
    """Return the mean [1, D] of the unit [CLS] of pictures [1, 3, H, W] of any sizes: the product of a unit [CLS] with
    it is the mean of the cosines with all."""
    assert witnesses.vit is not None
    return torch.stack([F.normalize(witnesses.vit(picture).cls, dim=-1) for picture in pictures]).mean(0)


def common_size(result: Tensor, source: Tensor) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the (height, width) at which the two are compared, and in words what that does to them."""
    (height, width), (source_height, source_width) = result.shape[-2:], source.shape[-2:]
    notes = []
    scale = math.sqrt(MOST_PIXELS / (height * width))
    size = (height, width)
    if scale < 1:
        size = max(1, int(height * scale)), max(1, int(width * scale))
        notes.append(f"measured at {size[1]}x{size[0]} instead of {width}x{height}")
    if (source_height, source_width) != size:
        change = f"the source was resized from {source_width}x{source_height} to {size[1]}x{size[0]}"
        if abs(source_width * height / (source_height * width) - 1) > _SAME_SHAPE:
            change += ", another shape: it is stretched"
        notes.append(change)
    return size, tuple(notes)


def _registration(result: Tensor, source: Tensor) -> dict[str, float]:
    if min(result.shape[-2:]) < SMALLEST:
        return {}
    found = register(result, source)
    values = {"shift_confidence": found.confidence.item(), "in_place": float(found.in_place.item())}
    if found.found.item():
        down, right = found.shift[0].tolist()
        values |= {"shift": found.distance.item(), "shift_down": down, "shift_right": right}
        values["zoom"] = 100 * (found.zoom.item() - 1)  # not finite where it is not known
    return values


def _background(result: Tensor, source: Tensor, mask: Tensor) -> dict[str, float]:
    mask = (mask > 0.5 / 255).to(mask)
    values = {"background_psnr": background_psnr(result, source, mask).item()}
    if min(result.shape[-2:]) >= WINDOW:
        values["background_ssim"] = background_ssim(result, source, mask).item()
    return values
