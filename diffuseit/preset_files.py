"""Presets that a person has saved: one JSON file each, which may come from somebody else.

A file holds what `schema.to_json` makes of a `Preset`, and is read against types and bounds. Nothing in it is executed,
and no name in it becomes a path.
"""

import json
import os
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

from platformdirs import user_config_path

from .errors import InputError
from .files.atomic import atomic_path
from .presets import PRESETS, Preset, preset_named
from .schema import LARGEST_JSON, from_json, parse, shown, to_json

FOLDER_VARIABLE = "DIFFUSEIT_PRESETS"
SUFFIX = ".json"
MOST_LISTED = 500
LONGEST_NAME = 100
"""Characters. In UTF-8 they fit into the 255 bytes that file systems take only if few are outside ASCII."""

LONGEST_FILE = 250
"""Bytes of a name with its ending."""

_NAME = re.compile(r"[\w(][\w() .,+&'-]*")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
"""Names that Windows keeps for itself, whatever follows after a dot."""


class NameTakenError(InputError):
    """Another preset has this name already."""


def presets_folder(default: Path | None = None) -> Path:
    """Return where saved presets are: $DIFFUSEIT_PRESETS, else `default`, else among the settings of the user."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    return default or user_config_path("diffuseit", appauthor=False) / "presets"


def list_presets(folder: Path) -> dict[str, Path]:
    """Return the files of saved presets by their names, in alphabetic order, without reading them.

    Files with a name that `write_preset` would refuse are left out, and so are those beyond `MOST_LISTED`.
    """
    try:
        files = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError:
        return {}
    names = {unicodedata.normalize("NFC", path.stem): path for path in files if _is_file(path)}
    known = [(name, path) for name, path in names.items() if _why_no_name(name) is None]
    return dict(known[:MOST_LISTED])


def read_preset(path: Path) -> Preset:
    """Return the preset in a file, under the name of the file.

    Raise `InputError` if it cannot be read, or holds anything else.
    """
    try:
        # A pipe would keep the reader waiting.
        if not path.is_file():
            raise InputError(f"there is no preset {path}")
        if path.stat().st_size > LARGEST_JSON:
            raise InputError(f"{path} is larger than any preset")
        document = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        preset = from_json(Preset, parse(document, str(path)), str(path))
    except RecursionError:
        raise InputError(f"{path} is nested too deeply") from None
    return replace(preset, name=unicodedata.normalize("NFC", path.stem)[:LONGEST_NAME])


def write_preset(preset: Preset, folder: Path, *, overwrite: bool = False) -> Path:
    """Save a preset under its name, without prompts, and return the file.

    A file that holds the same preset stays as it is. Raise `NameTakenError` if another preset has the name and
    `overwrite` is false, and `InputError` for a name that cannot be used.
    """
    name = unicodedata.normalize("NFC", preset.name.strip())
    if reason := _why_no_name(name):
        raise InputError(f"a preset cannot be called {shown(name)}: {reason}")
    losses = tuple(loss.with_prompts(None, None) for loss in preset.losses)
    text = json.dumps(to_json(replace(preset, name=name, losses=losses)), ensure_ascii=False, indent=2) + "\n"
    path = folder / f"{name}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_file(path) and path.read_text(encoding="utf-8", errors="replace") == text:
            return path
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise NameTakenError(
            f"there is another preset {name} already: choose another name, or replace it"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def find_preset(asked: str, folder: Path) -> Preset:
    """Return a preset by its name, of this package or saved in `folder`, or by its file.

    Raise `InputError` if there is none.
    """
    if asked in PRESETS:
        return preset_named(asked)
    if asked.endswith(SUFFIX) or Path(asked).name != asked:
        return read_preset(Path(asked).expanduser())
    saved = list_presets(folder)
    if (name := unicodedata.normalize("NFC", asked)) in saved:
        return read_preset(saved[name])
    raise InputError(
        f"there is no preset {shown(asked)}: use one of {', '.join([*PRESETS, *saved][:40])}, or the file of a preset; "
        f"saved presets are looked for in {folder}"
    )


def _why_no_name(name: str) -> str | None:
    """Return why no preset may have this name; None if one may."""
    if name in PRESETS:
        return "a preset of DiffuseIT has this name"
    if not _NAME.fullmatch(name) or name[-1] in " .":
        return "use letters, digits, spaces, and - _ . , + & ( )"
    if name.partition(".")[0].strip().lower() in _DEVICES:
        return "Windows keeps this name for itself"
    if len(name) > LONGEST_NAME or len(f"{name}{SUFFIX}".encode()) > LONGEST_FILE:
        return "it is too long"
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
