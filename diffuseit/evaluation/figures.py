"""What is measured, in words: names, units, and which way is better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from .statistics import Interval, mean_interval, wilson_interval


@dataclass(frozen=True)
class Figure:
    """A number that is measured of every picture.

    `better` is None for a number that is neither good nor bad. A `share` is 0 or 1 for a picture, and a rate for many.
    `headline` figures order the pictures from the worst to the best. `range` are the values that there can be.
    """

    label: str
    about: str
    better: Literal["high", "low"] | None = None
    digits: int = 3
    unit: str = ""
    share: bool = False
    headline: bool = False
    range: Interval = (-math.inf, math.inf)

    def show(self, value: float) -> str:
        """Return one picture's value as a person reads it."""
        if self.share:
            return "yes" if value else "no"
        return self._number(value)

    def show_mean(self, value: float) -> str:
        """Return the mean over pictures, or the rate in percent."""
        return f"{100 * value:.0f} %" if self.share else self._number(value)

    def _number(self, value: float) -> str:
        # `+ 0.0` makes the zero of "-0.0" a plain one.
        return f"{round(value, self.digits) + 0.0:.{self.digits}f}{self.unit}"


FIGURES: dict[str, Figure] = {
    "in_place": Figure(
        "in place",
        "Nothing moved by a pixel or more, by a shift or a zoom: masks and labels of the source still fit.",
        "high",
        share=True,
    ),
    "shift": Figure(
        "shift",
        "How far the image moved against its source, found by its edges; left out where they do not tell.",
        "low",
        2,
        " px",
        headline=True,
        range=(0, math.inf),
    ),
    "zoom": Figure(
        "zoom", "How much larger the image shows its source, where enough parts tell.", None, 1, " %"
    ),
    "shift_down": Figure("shift down", "The part of the shift downward.", None, 2, " px"),
    "shift_right": Figure("shift right", "The part of the shift to the right.", None, 2, " px"),
    "shift_confidence": Figure(
        "confidence",
        "How sure the shift is, 0 to 1. Below 0.5 the edges of the two do not agree.",
        "high",
        2,
    ),
    "edge_f1": Figure(
        "edge F1",
        "Share of the edges that both have, within 1 pixel; 1 is all.",
        "high",
        3,
        headline=True,
        range=(0, 1),
    ),
    "structure": Figure(
        "structure distance",
        "Difference of the self-similarities of a ViT (Splice); 0 is the same layout.",
        "low",
        4,
        headline=True,
        range=(0, 4),
    ),
    "structure_pie": Figure(
        "structure distance, PIE-Bench",
        "The same, times 1000, as PIE-Bench's code computes it: it feeds the network levels of 0 to 255.",
        "low",
        2,
        range=(0, math.inf),
    ),
    "text": Figure("text match", "100 times the cosine of image and target text.", "high", 2, headline=True),
    "text_source": Figure("source text match", "100 times the cosine of image and source text.", "low", 2),
    "text_reached": Figure(
        "text reached", "The image is nearer to the target text than to the source text.", "high", share=True
    ),
    "style": Figure(
        "style match",
        "Cosine of the [CLS] of the image and of the style image.",
        "high",
        3,
        headline=True,
        range=(-1, 1),
    ),
    "class_reached": Figure(
        "class reached", "The classifier sees the target class.", "high", share=True, headline=True
    ),
    "lpips": Figure("LPIPS", "Perceptual distance to the source.", "low", 3, range=(0, math.inf)),
    "background_psnr": Figure(
        "background PSNR", "Outside the mask; 100 is equal.", "high", 2, " dB", headline=True
    ),
    "background_ssim": Figure("background SSIM", "Outside the mask; 1 is equal.", "high", 3, range=(-1, 1)),
}
"""By the key in a row. A key such as "lpips.alex" names the network after the figure."""


SETS: dict[str, tuple[str, str]] = {
    "fid": (
        "FID",
        "Fréchet distance of the features of all results and of all style images. Lower is better.",
    ),
    "sfid": ("SFID", "Squared distance of the mean features, as FlexIT's code computes it. Lower is better."),
    "sfid_with_diagonal": (
        "SFID with the diagonal",
        "SFID, and the same of the deviations. Lower is better.",
    ),
    "csfid": (
        "CSFID",
        "Mean over the target classes of the SFID to the style images of the class. Lower is better.",
    ),
    "csfid_with_diagonal": (
        "CSFID with the diagonal",
        "Mean over the target classes of the SFID with the diagonal. Lower is better.",
    ),
}
"""Distances between all results and all style images: label, and what it says."""


def figure_of(key: str) -> Figure:
    """Return what is known about a key such as "lpips.alex"."""
    return FIGURES[key.partition(".")[0]]


def label_of(key: str) -> str:
    """Return the name of a figure, with the network's."""
    name, _, network = key.partition(".")
    return f"{FIGURES[name].label} ({network})" if network else FIGURES[name].label


def in_order(keys: Sequence[str] | set[str]) -> list[str]:
    """Return keys in the order of `FIGURES`."""
    names = list(FIGURES)
    return sorted(keys, key=lambda key: (names.index(key.partition(".")[0]), key))


@dataclass(frozen=True)
class Summary:
    """A figure over `count` pictures: its mean and the 95 % interval of the mean, None for a single picture."""

    key: str
    count: int
    mean: float
    interval: Interval | None


def summarize(key: str, values: Sequence[float]) -> Summary:
    """Return the mean of values, or the rate of a share with Wilson's interval."""
    mean = sum(values) / len(values)
    if figure_of(key).share:
        interval = wilson_interval(round(sum(values)), len(values)) if len(values) > 1 else None
    else:
        interval = mean_interval(torch.tensor(values, dtype=torch.float64))
        if interval is not None:
            low, high = figure_of(key).range
            interval = max(interval[0], low), min(interval[1], high)
    return Summary(key, len(values), mean, interval)
