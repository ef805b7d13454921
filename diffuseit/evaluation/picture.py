"""A small picture of a report: each result beside its source and the edges of both, with its verdict in words."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images.io import to_pil
from ..images.thumbnails import thumbnail
from .edges import edges

_SIDE = 192
"""Pixels of the longer side of each image."""

_GAP, _HEADING, _TEXT, _FONT, _LINE = 8, 24, 320, 14, 19
_CHARACTERS = 42
"""Characters of a line of text, at most."""

HEADINGS = ("source", "result", "edges")


@dataclass(frozen=True)
class Shown:
    """A row of the picture: a result and its source [1, 3, H, W] in [-1, 1], of one size, and lines of text."""

    result: Tensor
    source: Tensor
    lines: Sequence[str]


def report_picture(rows: Sequence[Shown]) -> Image.Image:
    """Return the rows one below the other, on white.

    Edges of both images are white, those of the source alone magenta, those of the result alone green.
    """
    tiles = [[thumbnail(to_pil(one), _SIDE) for one in (row.source, row.result, _edges(row))] for row in rows]
    texts = [_wrapped(row.lines) for row in rows]
    heights = [
        max(images[0].height, _LINE * len(lines)) + _GAP for images, lines in zip(tiles, texts, strict=True)
    ]
    column = _SIDE + _GAP
    sheet = Image.new("RGB", (3 * column + _TEXT + _GAP, _HEADING + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT)
    for number, name in enumerate(HEADINGS):
        draw.text(
            (_GAP + number * column + _SIDE / 2, _HEADING / 2), name, fill="black", font=font, anchor="mm"
        )
    top = _HEADING
    for images, lines, height in zip(tiles, texts, heights, strict=True):
        for number, image in enumerate(images):
            sheet.paste(image, (_GAP + number * column + (_SIDE - image.width) // 2, top))
        for number, line in enumerate(lines):
            draw.text((2 * _GAP + 3 * column, top + number * _LINE), line, fill="black", font=font)
        top += height
    return sheet


def _edges(row: Shown) -> Tensor:
    """[1, 3, H, W] in [-1, 1]."""
    source, result = edges(row.source), edges(row.result)
    return torch.cat([source, result, source], 1).float().mul(2).sub(1)


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, _CHARACTERS) or [""]]
