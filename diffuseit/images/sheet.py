"""Sheets of many images: rows under column headings, or a grid with a label under each. No enlargement smooths."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .io import save_picture, to_pil

_GAP, _HEADING = 6, 26
_LABELED_WIDTH = 192
"""The least width of an image with a label."""


def contact_sheet(columns: Mapping[str, Tensor], scale: int = 3) -> Image.Image:
    """Columns of equally many images [N, 3, H, W] in [-1, 1], each headed by its name."""
    first = next(iter(columns.values()))
    count, width, height = len(first), first.shape[-1] * scale, first.shape[-2] * scale
    size = (len(columns) * (width + _GAP) + _GAP, _HEADING + count * (height + _GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for column, (name, pictures) in enumerate(columns.items()):
        left = _GAP + column * (width + _GAP)
        draw.text((left + width / 2, _HEADING / 2), name, fill="black", font=font, anchor="mm")
        for row, picture in enumerate(pictures):
            tile = to_pil(picture).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(tile, (left, _HEADING + row * (height + _GAP)))
    return sheet


def captioned(tiles: Mapping[str, Tensor], per_row: int, scale: int = 3) -> Image.Image:
    """Images [1, 3, H, W] in [-1, 1] of one size, each under its name, in rows of `per_row`."""
    names = list(tiles)
    parts = [names[start : start + per_row] for start in range(0, len(names), per_row)]
    rows = [contact_sheet({name: tiles[name] for name in part}, scale) for part in parts]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def labeled_grid(pictures: Tensor, labels: Sequence[str], columns: int | None = None) -> Image.Image:
    """Images [k, 3, H, W] in [-1, 1], each above its label, on white.

    Without `columns` the grid is as near to a square as possible. Small images are enlarged by a whole
    number. A label may have several lines.
    """
    height, width = pictures.shape[-2:]
    scale = max(1, math.ceil(_LABELED_WIDTH / width))
    size = (width * scale, height * scale)
    font = ImageFont.load_default(max(14, size[0] // 24))
    foot = max(_lower_end(label, font) for label in labels) + 2 * _GAP
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (size[0] + _GAP) - _GAP, rows * (size[1] + foot)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = number % columns * (size[0] + _GAP), number // columns * (size[1] + foot)
        sheet.paste(to_pil(picture).resize(size, Image.Resampling.NEAREST), (left, top))
        middle = (left + size[0] / 2, top + size[1] + _GAP)
        draw.multiline_text(middle, label, fill="black", font=font, anchor="ma", align="center")
    return sheet


def _lower_end(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    """Return how many pixels a label takes."""
    return math.ceil(ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), label, font=font)[3])


def save_sheet(columns: Mapping[str, Tensor], path: Path, scale: int = 3) -> None:
    """Write `contact_sheet` to `path`, whole or not at all."""
    save_picture(contact_sheet(columns, scale), path)
