"""Quality against compute, drawn: a panel for each figure, a color for each method."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...images.io import save_picture

_PANELS = (
    ("style_success", "style reached, share (up is better)"),
    ("ssim", "SSIM to the ground truth (up is better)"),
    ("frechet", "Frechet distance (down is better)"),
)
_COLORS = ("#0b5394", "#6fa8dc", "#38761d", "#93c47d", "#e69138", "#cc0000", "#674ea7", "#000000", "#00a3a3")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT, _LEGEND = 460, 400, 56, 64, 46, 16, 170


def save_pareto(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Rows with `method`, `steps`, `relative_compute` and figures with their 95 % intervals, as a PNG.

    Rows of one method are joined by a line; presets stand alone, as squares.
    """
    picture = Image.new("RGB", (len(_PANELS) * _WIDTH + _LEGEND, _HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_LEFT, 10), title, fill="black", font=_font(18))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colors = {method: _COLORS[number % len(_COLORS)] for number, method in enumerate(methods)}
    for number, (name, label) in enumerate(_PANELS):
        shown = [row for row in rows if row[name] is not None]
        if shown:
            _panel(draw, number * _WIDTH, name, label, shown, colors)
    for number, (method, color) in enumerate(colors.items()):
        y = _TOP + 10 + 22 * number
        left = len(_PANELS) * _WIDTH + 8
        draw.rectangle((left, y - 5, left + 10, y + 5), fill=color)
        draw.text((left + 18, y), method, fill="black", font=_font(14), anchor="lm")
    save_picture(picture, path)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _panel(
    draw: ImageDraw.ImageDraw,
    offset: int,
    name: str,
    label: str,
    rows: Sequence[dict[str, Any]],
    colors: dict[str, str],
) -> None:
    left, right, top, bottom = offset + _LEFT, offset + _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    ends = [value for row in rows for value in (row[name], *(row[f"{name}_ci"] or ()))]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    computes = [math.log2(row["relative_compute"]) for row in rows]
    first, last = math.floor(min(computes) - 0.2), math.ceil(max(computes) + 0.2)

    def across(compute: float) -> float:
        return left + (right - left) * (math.log2(compute) - first) / (last - first)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    draw.text((left, top - 20), label, fill="black", font=_font(14))
    for power in range(first, last + 1):
        x = across(2.0**power)
        draw.line((x, top, x, bottom), fill="#dddddd")
        text = f"1/{2**-power}" if power < 0 else str(2**power)
        draw.text((x, bottom + 6), text, fill="black", font=_font(12), anchor="ma")
    for tick in range(5):
        value = low + (high - low) * tick / 4
        draw.line((left, up(value), right, up(value)), fill="#dddddd")
        draw.text((left - 6, up(value)), f"{value:.2f}", fill="black", font=_font(12), anchor="rm")
    draw.text(
        ((left + right) / 2, bottom + 24), "compute, official is 1", fill="black", font=_font(12), anchor="ma"
    )
    for method, color in colors.items():
        own = sorted(
            (row for row in rows if row["method"] == method), key=lambda row: row["relative_compute"]
        )
        points = [(across(row["relative_compute"]), up(row[name])) for row in own]
        if len(points) > 1:
            draw.line(points, fill=color, width=2)
        for row, (x, y) in zip(own, points, strict=True):
            if row[f"{name}_ci"]:
                ends = [up(value) for value in row[f"{name}_ci"]]
                draw.line((x, ends[0], x, ends[1]), fill=color)
            box = (x - 4, y - 4, x + 4, y + 4)
            if row["steps"] == "preset":
                draw.rectangle(box, fill=color, outline="black")
            else:
                draw.ellipse(box, fill=color)
