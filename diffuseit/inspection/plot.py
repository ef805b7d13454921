"""Separation drawn: for each facet, a bar for each layer, divided into content, style, and the rest."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .separation import Row, Separation

CONTENT, STYLE, REST = "#0b5394", "#e69138", "#dddddd"
NAMES = {
    "query": "queries",
    "key": "keys",
    "value": "values",
    "token": "tokens",
    "cls": "[CLS]",
    "similarity": "self-similarity of keys",
    "pixel": "pixels",
}
_LEFT, _GAP, _TOP, _HEIGHT, _BOTTOM, _LEGEND = 52, 26, 58, 190, 46, 64
_PANEL, _NARROWEST = 170, 12
"""The width of a panel of few layers, and of a bar."""


def plot(vit: str, separations: Sequence[Separation]) -> Image.Image:
    """Return the plot: a row of panels for each design. Marks on the bars are the retrieval rates."""
    panels = [
        [(facet, list(rows)) for facet, rows in groupby(one.rows, key=lambda row: row.place.facet)]
        for one in separations
    ]
    widths = [_width(rows) for _, rows in panels[0]]
    each = _TOP + _HEIGHT + _BOTTOM
    size = (_LEFT + sum(widths) + _GAP * len(widths), _LEGEND + each * len(separations))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    _legend(draw, vit)
    for number, (one, parts) in enumerate(zip(separations, panels, strict=True)):
        top = _LEGEND + number * each
        score = one.score
        title = (
            f"{one.design.name}: {len(one.design.contents)} contents in {len(one.design.styles)} styles; separation by "
            f"{score.structure} and {score.style} {score.value:.2f} "
            f"({score.interval[0]:.2f} to {score.interval[1]:.2f})"
        )
        draw.text((_LEFT, top), title, fill="black", font=_font(16))
        left = _LEFT
        for (facet, rows), width in zip(parts, widths, strict=True):
            _panel(draw, left, top + _TOP, width, NAMES[facet], rows, with_scale=left == _LEFT)
            left += width + _GAP
    return picture


def _width(rows: Sequence[Row]) -> int:
    return 48 if len(rows) == 1 else max(_PANEL, _NARROWEST * len(rows))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _legend(draw: ImageDraw.ImageDraw, vit: str) -> None:
    draw.text((_LEFT, 8), f'What the features of the ViT "{vit}" vary with', fill="black", font=_font(20))
    left = _LEFT
    for label, color, mark in (
        ("content, share of the variance", CONTENT, "bar"),
        ("style", STYLE, "bar"),
        ("rest", REST, "bar"),
        ("content found again in another style", CONTENT, "circle"),
        ("style found again in another content", STYLE, "square"),
    ):
        if mark == "bar":
            draw.rectangle((left, 40, left + 12, 52), fill=color)
        else:
            _mark(draw, left + 6, 46, color, mark)
        draw.text((left + 18, 46), label, fill="black", font=_font(14), anchor="lm")
        left += 42 + int(draw.textlength(label, font=_font(14)))


def _mark(draw: ImageDraw.ImageDraw, x: float, y: float, color: str, mark: str) -> None:
    box = (x - 4, y - 4, x + 4, y + 4)
    (draw.ellipse if mark == "circle" else draw.rectangle)(box, fill=color, outline="white")


def _panel(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    width: int,
    name: str,
    rows: Sequence[Row],
    *,
    with_scale: bool,
) -> None:
    bottom = top + _HEIGHT

    def up(share: float) -> float:
        return bottom - _HEIGHT * min(max(share, 0.0), 1.0)

    draw.text((left, top - 20), name, fill="black", font=_font(14))
    for percent in range(0, 101, 25):
        draw.line((left, up(percent / 100), left + width, up(percent / 100)), fill="#bbbbbb")
        if with_scale:
            place = (left - 6, up(percent / 100))
            draw.text(place, f"{percent} %", fill="black", font=_font(12), anchor="rm")
    step = width / len(rows)
    for number, row in enumerate(rows):
        middle = left + (number + 0.5) * step
        ends = (middle - 0.4 * step, middle + 0.4 * step)
        if not row.constant:
            content = min(max(row.content, 0.0), 1.0)
            draw.rectangle((ends[0], up(1), ends[1], bottom), fill=REST)
            draw.rectangle((ends[0], up(content), ends[1], bottom), fill=CONTENT)
            draw.rectangle((ends[0], up(content + max(row.style, 0.0)), ends[1], up(content)), fill=STYLE)
        if row.layer is not None:
            text = str(row.layer)
            draw.text((middle, bottom + 5), text, fill="black", font=_font(12), anchor="ma")
    for number, row in enumerate(rows):
        middle = left + (number + 0.5) * step
        _mark(draw, middle - 0.15 * step, up(row.content_found), CONTENT, "circle")
        _mark(draw, middle + 0.15 * step, up(row.style_found), STYLE, "square")
    if len(rows) > 1:
        middle = left + width / 2
        draw.text((middle, bottom + 21), "layer", fill="black", font=_font(12), anchor="ma")
