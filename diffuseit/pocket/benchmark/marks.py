"""`diffuseit benchmark marks`: what marks survive, zeros included.

Pocket renders are saved with the mark, with settings, and signed. Then each file goes through what happens to images,
by Pillow, as most programs would do it. Counted is how many files still say the same. The watermark is measured where
TrustMark's networks are.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from rich.console import Console

from ...errors import InputError, ModelError
from ...images import marks
from ...images.io import read_mark, read_picture, read_text, save_picture, to_pil
from ...images.metadata import file_options
from ...provenance.credential import Credential, local_credential
from ...provenance.sign import Origin, Signature
from ...provenance.verify import verify
from ...provenance.watermark import Decoder, Encoder, new_identifier
from ..world.render import STYLES, render, sample_geometry
from ..world.seeds import HELD_OUT, TUNING
from .report import save_report

FORMATS = (".png", ".jpg", ".webp")
SCALE = 4
"""Renders have 64x64 pixels. Enlarged, a crop and a smaller copy are still images."""

MARK: marks.SourceType = "compositeWithTrainedAlgorithmicMedia"
COLUMNS = ("mark", "settings", "signature", "reads as tampered")
WATERMARK = "watermark"

Change = Callable[[Path, Path], Path]
"""Makes another file of a file, in a path without an extension, and returns it."""


def run_marks(
    n: int = 8, output: Path | None = None, *, seeds: range = HELD_OUT, console: Console | None = None
) -> dict[str, Any]:
    """Measure n images in each format, print a table, and write JSON and the table into `output`."""
    if n < 1:
        raise InputError("n must be at least 1")
    console = console or Console()
    rows, networks = [], _networks()
    columns = COLUMNS if networks is None else (*COLUMNS, WATERMARK)
    encoder, decoder = networks or (None, None)
    with TemporaryDirectory() as place:
        credential = local_credential(Path(place, "keys"))
        files = [
            _signed(Path(place, f"{number}{suffix}"), seed, credential, encoder)
            for suffix in FORMATS
            for number, seed in enumerate(seeds[:n])
        ]
        for name, change in CHANGES.items():
            found = [
                _left(file, change(file, Path(place, f"changed-{file.name}")), decoder) for file in files
            ]
            rows.append({"change": name} | {column: sum(one[column] for one in found) for column in columns})
    report = {
        "n": n,
        "of": n * len(FORMATS),
        "formats": [suffix[1:] for suffix in FORMATS],
        "columns": columns,
        "seeds": "tuning" if seeds is TUNING else "held out",
        "rows": rows,
    }
    text = markdown(report)
    console.print(text, highlight=False, markup=False)
    if output is not None:
        save_report(output, "marks", report, text)
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """Return the table of a report."""
    lines = [
        f"{report['of']} images ({report['n']} each as {', '.join(report['formats'])}), {report['seeds']} seeds",
        "",
        f"| what happens | {' | '.join(report['columns'])} |",
        f"|---{'|---' * len(report['columns'])}|",
    ]
    for row in report["rows"]:
        lines.append(f"| {row['change']} | {' | '.join(str(row[column]) for column in report['columns'])} |")
    return "\n".join(lines) + "\n"


def _networks() -> tuple[Encoder, Decoder] | None:
    """TrustMark's encoder and decoder, if both are in the models folder."""
    try:
        return Encoder.load(), Decoder.load()
    except ModelError:
        return None


def _signed(file: Path, seed: int, credential: Credential, encoder: Encoder | None) -> Path:
    style = seed % len(STYLES["landscape"])
    image = to_pil(render(sample_geometry("landscape", [seed]), [style], [seed]))
    image = image.resize((SCALE * image.width, SCALE * image.height), Image.Resampling.BICUBIC)
    text, hidden = json.dumps({"seed": seed}), None
    if encoder is not None:
        hidden = new_identifier()
        image = encoder.mark(image, hidden)
    signature = Signature(credential, Origin(MARK, recipe=text, watermark=hidden))
    save_picture(image, file, text, mark=MARK, finish=signature)
    if signature.failure is not None:
        raise InputError(f"{file.name} cannot be signed: {signature.failure}")
    return file


def _left(before: Path, after: Path, decoder: Decoder | None) -> dict[str, bool]:
    """What the file `after` still says of what `before` said."""
    report = verify(after)
    settings = read_text(before)
    return {
        "mark": read_mark(after) == MARK,
        "settings": settings is not None and read_text(after) == settings,
        "signature": report.holds,
        "reads as tampered": report.signature in ("tampered", "damaged"),
        WATERMARK: decoder is not None
        and decoder.read(read_picture(after).over()) == verify(before).declared_watermark,
    }


@dataclass(frozen=True)
class _Again:
    """Open the image, change its pixels, and save them as `suffix` ("" is that of the file) without metadata."""

    suffix: str = ""
    change: Callable[[Image.Image], Image.Image] = Image.Image.copy
    options: Mapping[str, Any] | None = None

    def __call__(self, file: Path, place: Path) -> Path:
        target = place.with_suffix(self.suffix or file.suffix)
        with Image.open(file) as image:
            pixels = Image.fromarray(np.asarray(self.change(image.convert("RGB"))))
        pixels.save(target, **(self.options or {}))
        return target


def _copied(file: Path, place: Path) -> Path:
    target = place.with_suffix(file.suffix)
    target.write_bytes(file.read_bytes())
    return target


def _kept_metadata(file: Path, place: Path) -> Path:
    """Save it again with its XMP and its other metadata, as careful programs do."""
    target = place.with_suffix(file.suffix)
    with Image.open(file) as image:
        options: dict[str, Any] = {}
        if file.suffix == ".png":
            options = file_options(".png", None, marks.xmp(MARK), {"diffuseit": image.info["diffuseit"]})
        else:
            options = {name: image.info[name] for name in ("exif", "xmp") if name in image.info}
        image.convert("RGB").save(target, **options)
    return target


def _commented(file: Path, place: Path) -> Path:
    """Write a comment into the file, and leave its pixels and its other metadata alone."""
    target, content = place.with_suffix(file.suffix), bytearray(file.read_bytes())
    if file.suffix == ".png":
        chunk = b"tEXtcomment\0late"
        at = content.index(b"IEND") - 4
        content[at:at] = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    elif file.suffix == ".jpg":
        content[2:2] = b"\xff\xfe\0\x06late"
    else:
        content += b"NOTE\x04\0\0\0late"
        content[4:8] = (len(content) - 8).to_bytes(4, "little")
    target.write_bytes(content)
    return target


def _loaded_and_saved(file: Path, place: Path) -> Path:
    """What ComfyUI's Load Image and Save Image do: pixels in [0, 1], rounded down, with the graph as text."""
    target = place.with_suffix(".png")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("prompt", "{}")
    with Image.open(file) as image:
        values = np.asarray(image.convert("RGB")).astype(np.float32) / 255
    Image.fromarray(np.clip(255.0 * values, 0, 255).astype(np.uint8)).save(
        target, pnginfo=chunks, compress_level=4
    )
    return target


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image) -> Image.Image:
    """90 % of each side, off center."""
    left, top = round(0.07 * image.width), round(0.03 * image.height)
    return image.crop((left, top, left + round(0.9 * image.width), top + round(0.9 * image.height)))


def _screen(image: Image.Image) -> Image.Image:
    """What a screenshot has of an image in a browser that scales by 125 % and starts between two pixels."""
    size = (round(1.25 * image.width), round(1.25 * image.height))
    box = (0.4, 0.4, image.width - 0.4, image.height - 0.4)
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


CHANGES: dict[str, Change] = {
    "a copy of the file": _copied,
    "saved again, metadata kept": _kept_metadata,
    "saved again": _Again(),
    "a comment written into the file": _commented,
    "JPEG, quality 95": _Again(".jpg", options={"quality": 95}),
    "JPEG, quality 75": _Again(".jpg", options={"quality": 75}),
    "JPEG, quality 50": _Again(".jpg", options={"quality": 50}),
    "half the size": _Again(change=_half),
    "cropped to 90 % of each side": _Again(change=_cropped),
    "a screenshot at 125 %": _Again(".png", change=_screen),
    "ComfyUI's Load Image, then Save Image": _loaded_and_saved,
}
