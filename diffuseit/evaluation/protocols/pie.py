"""PIE-Bench (PnPInversion, Ju et al., ICLR 2024, arXiv 2310.01506): 700 pictures of 512x512, with texts and masks.

Every figure is that of its `evaluation/matrics_calculator.py`, in the units of its tables. Background means that both
pictures are blackened inside the mask, by which PSNR, MSE and SSIM count those pixels as equal; every mask includes the
outermost pixels. SSIM is torchmetrics': of each color, and of the windows inside the picture. The edited part for CLIP
is the picture blackened outside the mask. Structure is DINO's self-similarity distance of levels of 0 to 255.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from ...errors import InputError
from ...files.checksum import sha256_of
from ...images.choices import FitMode, SizeMode
from ...images.io import to_pil, to_tensor
from ...schema import LONGEST_TEXT, parse, printable, shown
from ..look import text_match
from ..pixels import BEST_PSNR, structural_similarity
from ..structure import pie_structure_distance
from ..witnesses import VIT, Witnesses
from .base import Column, Item, Measurement, check_name, check_there, means
from .entries import Entry
from .pictures import fitted, read_rgb

MAPPING, IMAGES = "mapping_file.json", "annotation_images"
NETWORKS = (VIT, "lpips-squeeze", "clip-l14")
SIDE = 512
TYPES = {
    0: "random",
    1: "change object",
    2: "add object",
    3: "delete object",
    4: "change content",
    5: "change pose",
    6: "change color",
    7: "change material",
    8: "change background",
    9: "change style",
}
REQUESTS = 700
_LARGEST_MAPPING = 256_000_000
_MOST_RUNS = 2 * SIDE * SIDE


@dataclass(frozen=True)
class PIEBench:
    """The protocol. `masks` are run lengths by the name of the request."""

    items: tuple[Item, ...]
    masks: Mapping[str, tuple[int, ...]]
    fingerprint: str
    witnesses: Witnesses
    checksums: Mapping[str, str]
    device: torch.device
    exact: bool = False
    notes: tuple[str, ...] = ()

    title: ClassVar[str] = "PIE-Bench"
    fit: ClassVar[FitMode] = "crop"
    size: ClassVar[SizeMode] = "source"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("structure", "structure x1000", 2),
        Column("psnr", "PSNR", 2, "high"),
        Column("lpips", "LPIPS x1000", 2),
        Column("mse", "MSE x10000", 2),
        Column("ssim", "SSIM x100", 2, "high"),
        Column("clip_whole", "CLIP whole", 2, "high"),
        Column("clip_edited", "CLIP edited", 2, "high"),
        Column("clip_source", "CLIP source", 2, "high"),
    )
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "ddim+p2p": {
            "structure": 69.43, "psnr": 17.87, "lpips": 208.80, "mse": 219.88, "ssim": 71.14,
            "clip_whole": 25.01, "clip_edited": 22.44,
        },
        "directinversion+p2p": {
            "structure": 11.65, "psnr": 27.22, "lpips": 54.55, "mse": 32.86, "ssim": 84.76,
            "clip_whole": 25.02, "clip_edited": 22.10,
        },
    }  # fmt: skip
    groups: ClassVar[Mapping[int, str]] = TYPES

    @cached_property
    def references(self) -> Mapping[str, Mapping[str, Path]]:
        return {"copy": {item.name: item.source for item in self.items}}

    @torch.no_grad()
    def measure(self, item: Item, result: Path) -> Measurement:
        source_image = read_rgb(item.source)
        image, notes = _edited(read_rgb(result), source_image.size)
        pictures, sources = (to_tensor(each).to(self.device) for each in (image, source_image))
        inside = decode_mask(self.masks[item.name])[None, None].to(self.device)
        if pictures.shape[-2:] != inside.shape[-2:]:
            raise InputError(f"{item.source} is not {SIDE}x{SIDE} pixels, as its mask is")
        values = background(pictures, sources, inside)
        perception = self.witnesses.lpips.get("squeeze")
        if perception is not None and not inside.all():
            values["lpips"] = (
                1000 * perception(blackened(pictures, inside), blackened(sources, inside)).item()
            )
        if self.witnesses.vit is not None:
            values["structure"] = 1000 * pie_structure_distance(self.witnesses.vit, pictures, sources).item()
        for clip in self.witnesses.clips.values():
            seen = {
                "clip_source": (source_image, item.from_),
                "clip_whole": (image, item.to),
                "clip_edited": (to_pil(blackened(pictures, 1 - inside)), item.to),
            }
            for key, (picture, words) in seen.items():
                small = to_tensor(fitted(picture, clip.image_size, Image.Resampling.BICUBIC)).to(self.device)
                values[key] = max(100 * text_match(clip, small, words).target.item(), 0.0)
        return Measurement(values, None, notes)

    def summarize(self, items: Sequence[Item], entries: Mapping[str, Entry]) -> dict[str, float]:
        return means(entries[item.name] for item in items)


def blackened(pictures: Tensor, mask: Tensor) -> Tensor:
    """Return pictures [N, 3, H, W] in [-1, 1] with black where the mask [N, 1, H, W] is 1."""
    return (pictures + 1) * (1 - mask) - 1


def background(pictures: Tensor, sources: Tensor, mask: Tensor) -> dict[str, float]:
    """Return PSNR, MSE and SSIM of pictures [1, 3, H, W] in [-1, 1] outside a mask [1, 1, H, W] of 0 and 1.

    Where nothing is outside there are none. Equal pictures have a PSNR of `BEST_PSNR`, since the code's infinity has
    no mean.
    """
    if mask.all():
        return {}
    one, two = (blackened(each, mask).double().add(1).div(2) for each in (pictures, sources))
    error = (one - two).square().mean()
    channels = [each.reshape(-1, 1, *each.shape[-2:]) for each in (one, two)]
    return {
        "psnr": min(-10 * error.log10().item(), BEST_PSNR) if error > 0 else BEST_PSNR,
        "mse": 10_000 * error.item(),
        "ssim": 100 * structural_similarity(*channels).mean().item(),
    }


def decode_mask(runs: Sequence[int], side: int = SIDE) -> Tensor:
    """Return the mask [side, side] of 0 and 1 of runs: a start in the rows of the picture, and a length, by turns.

    The outermost pixels are 1, "to avoid annotation errors in boundary".
    """
    mask = torch.zeros(side * side)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = 1
    mask = mask.view(side, side)
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = 1, 1, 1, 1
    return mask


def _edited(image: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, tuple[str, ...]]:
    """The result alone, of the source's size: PIE-Bench's own files show it at the right end of a strip."""
    notes = []
    if image.width != image.height:
        if min(image.size) < SIDE:
            raise InputError(f"the result is {image.width}x{image.height} pixels, neither square nor a strip")
        image = image.crop((image.width - SIDE, image.height - SIDE, image.width, image.height))
    if image.size != size:
        notes.append(f"the result was resized from {image.width}x{image.height} to {size[0]}x{size[1]}")
        image = image.resize(size, Image.Resampling.BICUBIC)
    return image, tuple(notes)


def load_pie(data: Path, witnesses: Witnesses, *, device: torch.device | None = None) -> PIEBench:
    """Return the protocol with the data in a folder that has `MAPPING` and `IMAGES`.

    Raise `InputError` for a mapping that cannot be read, and for pictures that are missing.
    """
    mapping = data / MAPPING
    name = printable(str(mapping))
    try:
        if mapping.stat().st_size > _LARGEST_MAPPING:
            raise InputError(f"{name} is too large for the mapping of PIE-Bench")
        document = parse(mapping.read_bytes(), name, _LARGEST_MAPPING)
    except FileNotFoundError:
        raise InputError(
            f"{name} is not there: ask for PIE-Bench at https://github.com/cure-lab/PnPInversion, unpack it, and give "
            f"the folder that has {MAPPING} and {IMAGES}"
        ) from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    if not isinstance(document, dict) or not document:
        raise InputError(f"{name} is no mapping of PIE-Bench: it must hold a dictionary of requests")
    items, masks = [], {}
    for key, entry in document.items():
        item, mask = _item(entry, data / IMAGES, f"{name}, {shown(key)}")
        if item.name in masks:
            raise InputError(f"{name}, {shown(key)}: {shown(item.name)} has another request already")
        items.append(item)
        masks[item.name] = mask
    check_there([item.source for item in items], data / IMAGES, "pictures of the mapping")
    notes = []
    if len(items) != REQUESTS:
        notes.append(
            f"PIE-Bench has {REQUESTS} requests, and these are {len(items)}: published figures are of others"
        )
    if witnesses.name != "standard":
        notes.append("the networks are stand-ins: the figures compare with no published ones")
    device = device or torch.device("cpu")
    return PIEBench(
        tuple(items),
        masks,
        sha256_of(mapping),
        witnesses.to(device),
        witnesses.checksums(),
        device,
        not notes,
        tuple(notes),
    )


def _item(entry: Any, images: Path, where: str) -> tuple[Item, tuple[int, ...]]:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is no request: it must be a dictionary")

    def words(key: str) -> str:
        text = entry.get(key)
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_TEXT:
            raise InputError(f"{where}: {key} must be a text of 1 to {LONGEST_TEXT} characters")
        return text

    path = check_name(words("image_path"), where)
    kind = entry.get("editing_type_id")
    if not isinstance(kind, str) or kind not in map(str, TYPES):
        raise InputError(f"{where}: editing_type_id is {shown(kind)}, and must be one of '0' to '9'")
    runs = entry.get("mask")
    if not isinstance(runs, list) or len(runs) % 2 or len(runs) > _MOST_RUNS or not all(map(_is_place, runs)):
        raise InputError(
            f"{where}: mask must be a list of starts and lengths by turns, from 0 to {SIDE * SIDE}"
        )
    source, target = (
        words(key).replace("[", "").replace("]", "") for key in ("original_prompt", "editing_prompt")
    )
    stem = path.rpartition(".")[0] or path
    return Item(stem, images / path, target, source, int(kind)), tuple(runs)


def _is_place(value: Any) -> bool:
    return type(value) is int and 0 <= value <= SIDE * SIDE
