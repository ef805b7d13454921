"""Sets of networks that belong together: the pocket models, and the bundles of the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..diffuseit.errors import InputError
from ..diffuseit.models.bundle import Models
from ..diffuseit.models.hub.catalog import (
    Entry,
    bundles,
    entry_of_file,
    format_size,
    local_names,
    members,
    missing_tokenizer_files,
)
from ..diffuseit.presets import IMAGE_DEFAULT, PRESETS, TEXT_DEFAULT, Kind, Preset, at_strength
from .comfy.folders import FOLDER, model_paths

POCKET = "pocket"
"""The set that ships with the pack, and the name of each of its models in the loaders."""

SETS = (POCKET, *bundles())
MOST_NAMED = 3


def preset_of(name: str, kind: Kind) -> Preset:
    """Return the preset that suits the set `name`."""
    if name == POCKET:
        return PRESETS[TEXT_DEFAULT if kind == "text" else IMAGE_DEFAULT]
    return PRESETS[Models.text_preset if kind == "text" else Models.image_preset]


def preset_for(name: str, has_style_image: bool, strength: float) -> Preset:
    """Return the preset of a translation by the networks of the set `name`."""
    return at_strength(preset_of(name, "image" if has_style_image else "text"), strength)


@dataclass(frozen=True)
class SetFiles:
    """The models of a set, by the names under which the loaders list them."""

    ddpm: str
    vit: str
    clip: tuple[str, ...]


def files_of(name: str) -> SetFiles:
    """Return the files of the set `name`. Raise `InputError` that says how to get what is missing."""
    if name == POCKET:
        return SetFiles(POCKET, POCKET, (POCKET,))
    files = model_paths()
    if missing := missing_of(name, files):
        raise InputError(_how_to_get(name, missing))
    ddpm, vit, *clip = (str(local_file(entry, files)) for entry in members(name))
    return SetFiles(ddpm, vit, tuple(clip))


def missing_of(name: str, files: Mapping[str, Path]) -> list[Entry]:
    """Return the checkpoints of the set `name` that are not among `files`, those of `model_paths`."""
    return [] if name == POCKET else [entry for entry in members(name) if local_file(entry, files) is None]


def local_file(entry: Entry, files: Mapping[str, Path]) -> str | None:
    """Return the name under which the loaders list a checkpoint; None if a part of it is missing in `files`."""
    names = local_names(entry)
    for name, path in files.items():
        if Path(name).name in names and not missing_tokenizer_files(entry, path.parent):
            return name
    return None


def check_file(name: str) -> None:
    """Raise `InputError` that says how to get the file `name` if the catalog has it and this machine does not."""
    entry = entry_of_file(Path(name).name)
    if entry is None or name in model_paths():
        return
    how = _by_hand(entry) if entry.manual else _in_sidebar(entry.name, [entry])
    raise InputError(f"{name} is not in models/{FOLDER}: {how}")


def _how_to_get(name: str, missing: list[Entry]) -> str:
    served = [entry for entry in missing if not entry.manual]
    ways = [_in_sidebar(f"the bundle {name}", served)] if served else []
    ways += [_by_hand(entry) for entry in missing if entry.manual]
    return f"the set {name} lacks {_named(missing)}: {'; '.join(ways)}"


def _in_sidebar(name: str, entries: list[Entry]) -> str:
    size = format_size(sum(entry.size for entry in entries))
    return f"download {name} in the DiffuseIT sidebar, under Models ({size})"


def _by_hand(entry: Entry) -> str:
    return f"get {entry.name} by hand: {entry.manual}, then save it as models/{FOLDER}/{entry.file}"


def _named(missing: list[Entry]) -> str:
    names = [entry.name for entry in missing]
    return (
        ", ".join(names) if len(names) <= MOST_NAMED else f"{', '.join(names[:2])}, and {len(names) - 2} more"
    )
