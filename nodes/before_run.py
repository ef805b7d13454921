"""What can be said of a run before it starts, from the prompt alone: values in force, the result's size, warnings.

A warning is a `kind`, which web/js/node/notes.js has the words for, with the values of its text.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..diffuseit.errors import DiffuseITError
from ..diffuseit.images.resize import Fit
from ..diffuseit.models.hub.catalog import Entry, entry_of_file
from ..diffuseit.presets import Preset
from .comfy.folders import input_file, model_paths
from .model_sets import POCKET, SETS, missing_of
from .saved_presets import preset_by

Prompt = Mapping[str, Mapping[str, Any]]
"""Nodes by id, in the format of ComfyUI's API: `class_type` and `inputs`, in which [id, slot] is a link."""

Note = dict[str, Any]

EXAMPLE, EXAMPLE_SIZE = "DiffuseITExamplePicture", (64, 64)
PRESET = "DiffuseITPreset"
LOADERS = ("DiffuseITLoadDDPM", "DiffuseITLoadViT", "DiffuseITLoadCLIP")
LOAD_SET = "DiffuseITLoadModels"
MODELS = "models"
"""The input of DiffuseIT Translate for a whole set of models."""

TEXTS = ("to_text", "from_text", "text")
MOST_WORDS = 12
LARGEST_SIDE = 100_000
LARGEST_ALPHA = 50_000_000
"""Pixels of an image whose transparency is still looked at."""


def link_of(value: Any) -> str | None:
    """Return the id of the node that a value of a prompt links to; None if it is no link."""
    return value[0] if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) else None


def linked(prompt: Prompt, node: str, name: str) -> str | None:
    """Return the id of the node in the prompt that an input is linked to."""
    found = link_of(prompt[node]["inputs"].get(name))
    return found if found in prompt else None


def upstream(prompt: Prompt, node: str) -> Iterator[str]:
    """Yield `node` and all nodes that it depends on, each once."""
    seen, waiting = {node}, [node]
    while waiting:
        one = waiting.pop()
        yield one
        links = {link_of(value) for value in prompt[one]["inputs"].values()}
        found = [other for other in links if other is not None and other in prompt and other not in seen]
        seen.update(found)
        waiting.extend(found)


def notes(prompt: Prompt, node: str, own: list[str], settings: Mapping[str, Any]) -> list[Note]:
    """Return the warnings about the run of `node`, the gravest first.

    `own` are the pack's nodes that the run depends on. `settings` are the values in force.
    """
    found = [
        _no_steps(prompt, node, settings),
        _missing(prompt, own),
        _incomplete_preset(prompt, own),
        _drawn_scenes(prompt, node),
        _unknown_words(prompt, own),
        _empty_mask(prompt, node),
    ]
    return [note for note in found if note is not None]


def _no_steps(prompt: Prompt, node: str, settings: Mapping[str, Any]) -> Note | None:
    values = {**prompt[node]["inputs"], **settings}
    steps, skip = values.get("steps"), values.get("skip")
    if isinstance(steps, int) and isinstance(skip, int) and skip >= steps:
        return {"kind": "no_steps", "steps": steps, "skip": skip}
    return None


def _missing(prompt: Prompt, own: list[str]) -> Note | None:
    """Return the models that are not on this machine, and which of them can be downloaded, by the catalog's names."""
    loaders = [one for one in own if prompt[one]["class_type"] in LOADERS]
    loaders.sort(key=lambda one: LOADERS.index(prompt[one]["class_type"]))
    asked = [prompt[one]["inputs"].get("model") for one in loaders]
    names = dict.fromkeys(name for name in asked if isinstance(name, str) and name != POCKET)
    sets = [prompt[one]["inputs"].get("set") for one in own if prompt[one]["class_type"] == LOAD_SET]
    files = model_paths() if names or sets else {}
    missing = {name: entry_of_file(Path(name).name) for name in names if name not in files}
    for name in sets:
        missing |= {entry.name: entry for entry in (missing_of(name, files) if name in SETS else [])}
    if not missing:
        return None
    entries = [entry for entry in missing.values() if entry is not None and not entry.manual]
    return {"kind": "missing", "models": list(missing), "downloads": [entry.name for entry in entries]}


def _incomplete_preset(prompt: Prompt, own: list[str]) -> Note | None:
    for one in own:
        preset = _preset_of(prompt, one)
        needed = {"text": "clip", "image": "style_image"}.get(preset.kind) if preset else None
        if preset and needed and linked(prompt, one, needed) is None:
            return {"kind": "preset_needs", "preset": preset.name, "input": needed}
    return None


def _preset_of(prompt: Prompt, node: str) -> Preset | None:
    """Return the preset that a preset node names; None if it is no such node, or the preset is not known."""
    name = prompt[node]["inputs"].get("preset") if prompt[node]["class_type"] == PRESET else None
    try:
        return preset_by(name) if isinstance(name, str) else None
    except DiffuseITError:
        return None


def _drawn_scenes(prompt: Prompt, node: str) -> Note | None:
    """Warn of a picture that is no scene of the pocket world."""
    ddpm, image = _ddpm(prompt, node), linked(prompt, node, "image")
    if ddpm is None or image is None or not _is_pocket(prompt, ddpm):
        return None
    if any(prompt[one]["class_type"] == EXAMPLE for one in upstream(prompt, image)):
        return None
    return {"kind": "drawn_scenes"}


def _ddpm(prompt: Prompt, node: str) -> str | None:
    """Return the loader of the diffusion model of a sampler; DiffuseIT Translate takes all models from one."""
    return linked(prompt, node, "ddpm") or linked(prompt, node, MODELS)


def _clip(prompt: Prompt, node: str) -> str | None:
    """Return the loader of the CLIP models that read the texts of a node, if they count."""
    own = linked(prompt, node, "clip")
    return own or (linked(prompt, node, MODELS) if linked(prompt, node, "style_image") is None else None)


def _is_pocket(prompt: Prompt, loader: str) -> bool:
    """Return whether a loader loads pocket models and no others."""
    inputs = prompt[loader]["inputs"]
    others = any(link_of(value) is not None for value in inputs.values())
    return POCKET in (inputs.get("model"), inputs.get("set")) and not others


def _unknown_words(prompt: Prompt, own: list[str]) -> Note | None:
    from ..diffuseit.pocket.world.captions import unknown_words

    words: dict[str, None] = {}
    for one in own:
        clip, preset = _clip(prompt, one), _preset_of(prompt, one)
        if clip is None or not _is_pocket(prompt, clip) or (preset and preset.kind != "text"):
            continue
        texts = [prompt[one]["inputs"].get(name) for name in TEXTS]
        words |= dict.fromkeys(
            word for text in texts if isinstance(text, str) for word in unknown_words(text[:1000])
        )
    if not words:
        return None
    return {"kind": "unknown_words", "words": [word[:40] for word in words][:MOST_WORDS]}


def _empty_mask(prompt: Prompt, node: str) -> Note | None:
    """Warn of the mask of a loaded image: one without transparency has none, one without transparent parts is empty."""
    link = prompt[node]["inputs"].get("mask")
    mask = linked(prompt, node, "mask")
    if mask is None or prompt[mask]["class_type"] != "LoadImage" or link[1] != 1:
        return None
    facts = _facts_of(prompt, mask)
    if facts is None or not facts.opaque:
        return None
    return {"kind": "empty_mask"} if facts.has_alpha else {"kind": "no_mask"}


def result_size(prompt: Prompt, node: str, settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the (width, height) of the result of the sampler `node`; None where it is not known."""
    ddpm, image = _ddpm(prompt, node), linked(prompt, node, "image")
    source = None if image is None else _picture_size(prompt, image)
    if ddpm is None or source is None:
        return None
    try:
        canvas = _canvas_of(prompt[ddpm]["inputs"].get("model", prompt[ddpm]["inputs"].get("set")))
        if canvas is None:
            return None
        mode = settings.get("fit", prompt[node]["inputs"].get("fit", "keep"))
        fit = Fit.of((source[1], source[0]), canvas, mode)
    except DiffuseITError:  # what cannot run
        return None
    height, width = fit.window[2:] if prompt[node]["inputs"].get("size") == "source" else fit.content
    return width, height


def _picture_size(prompt: Prompt, node: str) -> tuple[int, int] | None:
    """Return the (width, height) of what a node gives, if it draws, loads, or scales an image to a size."""
    kind, inputs = prompt[node]["class_type"], prompt[node]["inputs"]
    if kind == EXAMPLE:
        return EXAMPLE_SIZE
    if kind == "LoadImage":
        facts = _facts_of(prompt, node)
        return None if facts is None else facts.size
    sides = inputs.get("width"), inputs.get("height")
    if kind == "ImageScale" and all(isinstance(side, int) and 0 < side <= LARGEST_SIDE for side in sides):
        return sides
    return None


def _canvas_of(model: Any) -> Any | None:
    """Return the configuration of a diffusion model, by the name in its loader; None if only its weights tell it."""
    from ..diffuseit.models.configs import CONFIGS
    from ..diffuseit.models.ddpm_checkpoint import peek_unet_config
    from ..diffuseit.pocket.models import WEIGHTS

    if model == POCKET:
        return peek_unet_config(WEIGHTS / "unet.safetensors")
    if not isinstance(model, str):
        return None
    entry: Entry | None = entry_of_file(Path(model).name)
    if entry is not None and isinstance(entry.config, str) and entry.config in CONFIGS:
        return CONFIGS[entry.config][0]
    path = model_paths().get(model)
    return None if path is None or path.suffix != ".safetensors" else peek_unet_config(path)


@dataclass(frozen=True)
class _Facts:
    """What an image file says: (width, height), whether it has an alpha channel, and whether nothing is transparent."""

    size: tuple[int, int]
    has_alpha: bool
    opaque: bool


def _facts_of(prompt: Prompt, node: str) -> _Facts | None:
    name = prompt[node]["inputs"].get("image")
    path = input_file(name) if isinstance(name, str) else None
    try:
        return None if path is None else _facts(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _facts(path: Path, _changed: int) -> _Facts | None:
    """Return what ComfyUI's Load Image finds in a file; None if it is no image."""
    try:
        with Image.open(path) as image:
            has_alpha = "A" in image.getbands()
            opaque = not has_alpha
            if has_alpha and math.prod(image.size) <= LARGEST_ALPHA:
                opaque = image.getchannel("A").getextrema() == (255, 255)
            return _Facts(ImageOps.exif_transpose(image).size, has_alpha, opaque)
    except Exception:  # Pillow raises anything for files that are no images
        return None
