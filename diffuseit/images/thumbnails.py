"""Sheets of thumbnails with captions: small images of any sizes in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_SIDE, _GAP = 160, 8
_FONT = 14
_MOST_LINES = 3


@dataclass(frozen=True)
class Tile:
    """A thumbnail, or None for a place that stays empty, over its caption."""

    image: Image.Image | None
    caption: str


def thumbnail(image: Image.Image, side: int = _SIDE) -> Image.Image:
    """Return the image with a longer side of `side` pixels, a tile's. No pixel of a small one is smoothed."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB").resize(
        size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    )


def grid(tiles: Sequence[Tile], columns: int) -> Image.Image:
    """Return the tiles in rows of `columns` on white. A caption that needs more than three lines is cut off."""
    font = ImageFont.load_default(_FONT)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    captions = [[_lines(tile.caption, font) for tile in row] for row in rows]
    heights = [_SIDE + max(map(len, row)) * (_FONT + 4) + 2 * _GAP for row in captions]
    sheet = Image.new("RGB", (columns * (_SIDE + _GAP) + _GAP, sum(heights) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for row, texts, height in zip(rows, captions, heights, strict=True):
        for column, (tile, lines) in enumerate(zip(row, texts, strict=True)):
            left = _GAP + column * (_SIDE + _GAP)
            if tile.image is not None:
                image = tile.image
                sheet.paste(image, (left + (_SIDE - image.width) // 2, top + (_SIDE - image.height) // 2))
            for number, line in enumerate(lines):
                where = left + _SIDE / 2, top + _SIDE + 4 + number * (_FONT + 4)
                draw.text(where, line, fill="black", font=font, anchor="ma")
        top += height
    return sheet


def _lines(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The caption in lines as wide as a tile. A word that is too long is broken."""
    lines = [""]
    for word in caption.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") <= _SIDE:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if font.getlength(lines[-1] + character) > _SIDE:
                lines.append("")
            lines[-1] += character
        if len(lines) > _MOST_LINES:
            return [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1][:-1]}…"]
    return lines
