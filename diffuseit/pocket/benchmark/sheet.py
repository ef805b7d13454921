"""A contact sheet: rows of images under column headings, enlarged without smoothing."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...images.io import save_picture, to_pil

_GAP, _HEADING = 6, 26


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


def save_sheet(columns: Mapping[str, Tensor], path: Path, scale: int = 3) -> None:
    """Write `contact_sheet` to `path`, whole or not at all."""
    save_picture(contact_sheet(columns, scale), path)
