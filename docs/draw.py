"""Draws the registry's icon and banner, and the thumbnails of the example workflows.

    python docs/draw.py                    # docs/icon.png and docs/banner.png
    python docs/draw.py OUTPUT/DiffuseIT   # example_workflows/*.jpg, of what a ComfyUI saved when it ran them

The pictures of examples with large models are those of runs with pocket models in their place: 'pocket' in the
loaders, with the preset of the pocket models, or the latent pocket model at 64x64. Example 05 saves nothing: its
picture is one of a run with *Stitch Images* and *Save Image* behind it.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from diffuseit import load_models, translate
from diffuseit.images.io import save_picture, to_pil
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import HELD_OUT

ROOT = Path(__file__).resolve().parents[1]
THUMBNAIL, ICON, TILE, GAP = 512, 400, 180, 2
NEAREST = Image.Resampling.NEAREST
SHOWN = (
    ("landscape", "summer", "autumn", 15),
    ("animal", "lion", "tiger", 23),
    ("landscape", "summer", "night", 12),
)
DOWNLOADS = {"06": "6 GB", "09": "8 GB", "10": "35 GB", "11": "4 GB"}
"""Of the models that pocket models stand in for."""
COLUMNS = (0, 1, 2, 3, 6, -1)  # visits whose prediction the banner shows, after the source


def way(domain: str, old: str, new: str, scene: int) -> list[Image.Image]:
    """The source of an example scene and the predictions on the way to its translation, 64x64."""
    seed = HELD_OUT.start + scene
    source = render(sample_geometry(domain, [seed]), [STYLES[domain].index(old)], [seed])
    ending = " landscape" if domain == "landscape" else ""
    steps: list[torch.Tensor] = []
    translate(
        source,
        from_=old + ending,
        to=new + ending,
        models=load_models("pocket"),
        seed=0,
        on_step=lambda step: steps.append(step.pred_xstart.clamp(-1, 1)),
    )
    return [to_pil(picture) for picture in (source, *(steps[column] for column in COLUMNS))]


def split(pictures: list[Image.Image], size: int) -> Image.Image:
    """Equally large pictures as slanted slices of one, from left to right."""
    scale = 4  # the slices' edges are drawn larger and brought down, which smooths them
    large = size * scale
    result = pictures[0].resize((large, large), NEAREST)
    draw = ImageDraw.Draw(result)
    slant = large // 10
    for number, picture in enumerate(pictures[1:], 1):
        x = large * number // len(pictures)
        edge = [(x + slant, 0), (x - slant, large)]
        mask = Image.new("L", result.size)
        ImageDraw.Draw(mask).polygon([*edge, (large, large), (large, 0)], fill=255)
        result.paste(picture.resize(result.size, NEAREST), mask=mask)
        draw.line(edge, fill="white", width=large // 90)
    return result.resize((size, size), Image.Resampling.LANCZOS)


def banner(ways: list[list[Image.Image]]) -> Image.Image:
    """21:9: a translation in each row."""
    sheet = Image.new("RGB", (TILE * len(ways[0]), TILE * len(ways)))
    for row, pictures in enumerate(ways):
        for column, picture in enumerate(pictures):
            sheet.paste(picture.resize((TILE, TILE), NEAREST), (column * TILE, row * TILE))
    return sheet


def panels(path: Path) -> list[Image.Image]:
    """The square pictures of what ComfyUI's stitch node put side by side."""
    sheet = Image.open(path).convert("RGB")
    count, side = round(sheet.width / sheet.height), sheet.height
    gap = (sheet.width - count * side) // max(count - 1, 1)
    return [sheet.crop((n * (side + gap), 0, n * (side + gap) + side, side)) for n in range(count)]


def thumbnail(number: str, pictures: list[Image.Image]) -> Image.Image:
    """What the template browser shows of the example with a number."""
    if number == "02":
        source, style, result = pictures
        picture, side = split([source, result], THUMBNAIL), THUMBNAIL // 3
        picture.paste("white", (THUMBNAIL - side - 16, THUMBNAIL - side - 16, THUMBNAIL - 8, THUMBNAIL - 8))
        picture.paste(style.resize((side, side), NEAREST), (THUMBNAIL - side - 12, THUMBNAIL - side - 12))
        return picture
    picture = split(pictures if number == "04" else [pictures[0], pictures[-1]], THUMBNAIL)
    if size := DOWNLOADS.get(number):
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, THUMBNAIL - 84, THUMBNAIL, THUMBNAIL), fill="black")
        for text, font, y in ((f"{size} download", 34, 58), ("here drawn by the pocket models", 22, 22)):
            place = (THUMBNAIL / 2, THUMBNAIL - y)
            draw.text(place, text, fill="white", font=ImageFont.load_default(font), anchor="mm")
    return picture


def saved_by(workflow: Path, folder: Path) -> list[Path]:
    """What a ComfyUI saved when it ran an example, the newest last."""
    nodes = json.loads(workflow.read_text(encoding="utf-8"))["nodes"]
    prefixes = [Path(node["widgets_values"][0]).name for node in nodes if node["type"] == "SaveImage"]
    return sorted(folder.glob(f"{(prefixes or [workflow.stem])[0]}_*.png"))


def main() -> None:
    if len(sys.argv) == 1:
        ways = [way(*one) for one in SHOWN]
        save_picture(split([ways[0][0], ways[0][-1]], ICON), ROOT / "docs" / "icon.png")
        save_picture(banner(ways), ROOT / "docs" / "banner.png")
        return
    for workflow in sorted((ROOT / "example_workflows").glob("*.json")):
        if saved := saved_by(workflow, Path(sys.argv[1])):
            picture = thumbnail(workflow.stem[:2], panels(saved[-1]))
            picture.save(workflow.with_suffix(".jpg"), quality=88, optimize=True)


if __name__ == "__main__":
    main()
