"""A watermark in the pixels: TrustMark's variant Q (https://arxiv.org/abs/2311.18297) through onnxruntime.

The encoder adds a faint pattern to an image, which holds 100 bits: 61 of an identifier, 35 that correct errors
(`bch.py`), and 4 that name this layout. The decoder reads them again, after moderate changes. How often it does is
TrustMark's own claim until it is measured: `diffuseit benchmark marks`, with the networks there.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ModelError
from ..images.decode import reason
from ..models.hub.catalog import entry_named, find_model, require_models
from ..schema import printable
from . import bch

ENCODER, DECODER = "trustmark-hide", "trustmark-read"
"""Their names in the catalog."""

ALGORITHM = "com.adobe.trustmark.Q"
"""Its name in C2PA's list of soft bindings."""

LAYOUT = (0, 0, 0, 1)
"""TrustMark's BCH_5, as the last 4 bits."""

SIZE = 256
BITS = bch.DATA_BITS + bch.CHECK_BITS + len(LAYOUT)
LONGEST_ASPECT = 2.0
"""Of images with longer sides, the middle square is marked and read."""

_BORDER, _WIDEST_BORDER = 0.01, 50
"""The pattern fades out toward the borders: part of the shorter side, and pixels."""

_LAYOUT_CODE = int("".join(map(str, LAYOUT)), 2)


@dataclass(frozen=True)
class Encoder:
    """TrustMark's encoder, as an onnxruntime session."""

    session: Any

    @classmethod
    def load(cls, folder: Path | None = None) -> Encoder:
        """Load it from the models folder. Raise `ModelError` that says how to get what is missing."""
        path = require_models([entry_named(ENCODER)], folder)[ENCODER]
        return cls(_session(path, {"onnx::Concat_0", "onnx::Gemm_1"}, {"image"}))

    def mark(self, image: Image.Image, identifier: str) -> Image.Image:
        """Return an image of 8 bits, RGB or RGBA, with the identifier (61 digits 0 or 1) in its colors."""
        box = _box(image)
        cover = image.convert("RGB").crop(box)
        small = _pixels(cover)
        bits = np.array([[*bch.encode([int(bit) for bit in identifier]), *LAYOUT]], np.float32)
        outputs = self.session.run(["image"], {"onnx::Concat_0": small, "onnx::Gemm_1": bits})
        pattern = np.clip(np.asarray(outputs[0], np.float32), -1, 1) - small
        pattern -= pattern.mean((2, 3), keepdims=True)
        faded = _enlarged(pattern[0], cover.size) * _fade(cover.size)[..., None]
        colors = np.asarray(cover).astype(np.float32) + 127.5 * faded
        marked = image.copy()
        marked.paste(Image.fromarray(np.rint(np.clip(colors, 0, 255)).astype(np.uint8)), box[:2])
        if image.mode == "RGBA":
            marked.putalpha(image.getchannel("A"))
        return marked


@dataclass(frozen=True)
class Decoder:
    """TrustMark's decoder, as an onnxruntime session."""

    session: Any

    @classmethod
    def load(cls, folder: Path | None = None) -> Decoder:
        """Load it from the models folder. Raise `ModelError` that says how to get what is missing."""
        path = require_models([entry_named(DECODER)], folder)[DECODER]
        return cls(_session(path, {"image"}, {"output"}))

    @classmethod
    def if_here(cls, folder: Path | None = None) -> Decoder | None:
        """Load it; None if its file or onnxruntime is missing."""
        if find_model(entry_named(DECODER), folder) is None:
            return None
        try:
            return cls.load(folder)
        except ModelError:
            return None

    def read(self, image: Image.Image) -> str | None:
        """Return the identifier in an image; None if there is none.

        In about one of 8,000 images without a watermark, the bits fit by chance.
        """
        small = _pixels(image.convert("RGB").crop(_box(image)))
        outputs = self.session.run(["output"], {"image": small})
        found = (np.asarray(outputs[0]).reshape(-1) > 0).astype(int).tolist()
        if len(found) != BITS or tuple(found[-len(LAYOUT) :]) != LAYOUT:
            return None
        data = bch.decode(found[: -len(LAYOUT)])
        return None if data is None else "".join(map(str, data))


def new_identifier() -> str:
    """Return 61 random digits 0 or 1. They say nothing of the image, nor of who made it."""
    return f"{secrets.randbits(bch.DATA_BITS):0{bch.DATA_BITS}b}"


def binding(identifier: str) -> dict[str, Any]:
    """Return C2PA's assertion of a soft binding, which declares the watermark in a manifest."""
    block = {"scope": {}, "value": f"{_LAYOUT_CODE}*{identifier}"}
    return {"label": "c2pa.soft-binding", "data": {"alg": ALGORITHM, "blocks": [block]}}


def bound(assertions: Sequence[Any]) -> str | None:
    """Return the identifier that the assertions of a manifest declare; None if there is none."""
    for assertion in assertions:
        data = assertion.get("data") if isinstance(assertion, dict) else None
        if not isinstance(data, dict) or data.get("alg") != ALGORITHM:
            continue
        blocks = data.get("blocks")
        for block in blocks if isinstance(blocks, list) else ():
            layout, _, identifier = str(block.get("value") if isinstance(block, dict) else "").partition("*")
            if layout == str(_LAYOUT_CODE) and len(identifier) == bch.DATA_BITS:
                return identifier
    return None


def _session(path: Path, inputs: set[str], outputs: set[str]) -> Any:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise ModelError(
            f"Watermarks need the package onnxruntime: run `pip install onnxruntime` ({error})"
        ) from None
    # The packages for Windows report to Microsoft by default.
    getattr(onnxruntime, "disable_telemetry_events", lambda: None)()
    name = printable(str(path))
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{name} cannot be loaded: {reason(error)}; download it again") from None
    has = {each.name for each in session.get_inputs()}, {each.name for each in session.get_outputs()}
    if not (inputs <= has[0] and outputs <= has[1]):
        raise ModelError(f"{name} is not TrustMark's network: download it again")
    return session


def _box(image: Image.Image) -> tuple[int, int, int, int]:
    """What of the image is marked: all, or the middle square."""
    width, height = image.size
    if max(width, height) <= LONGEST_ASPECT * min(width, height):
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _pixels(image: Image.Image) -> np.ndarray:
    """[1, 3, 256, 256] in [-1, 1]."""
    small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]


def _enlarged(pattern: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[3, 256, 256] to [H, W, 3] of the size (width, height)."""
    channels = [Image.fromarray(each).resize(size, Image.Resampling.BILINEAR) for each in pattern]
    return np.stack([np.asarray(each) for each in channels], -1)


def _fade(size: tuple[int, int]) -> np.ndarray:
    """[H, W]: 1 inside, less toward the borders."""
    border = min(max(1, int(min(size) * _BORDER)), _WIDEST_BORDER)
    width, height = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 1 for side in size)
    return np.minimum(1, height[:, None] / border) * np.minimum(1, width[None] / border)
