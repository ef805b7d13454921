"""The presets by name, those of the core and those that the user has saved."""

from pathlib import Path

from ..diffuseit.errors import InputError
from ..diffuseit.preset_files import list_presets, presets_folder, read_preset
from ..diffuseit.presets import PRESETS, Preset
from ..diffuseit.schema import shown
from .comfy.user_files import user_file


def folder() -> Path:
    """Return the folder of saved presets: $DIFFUSEIT_PRESETS, else one among the user's files of ComfyUI."""
    return presets_folder(user_file("diffuseit/presets"))


def names() -> list[str]:
    """Return the names of all presets, those of the core first."""
    return [*PRESETS, *list_presets(folder())]


def preset_by(name: str) -> Preset:
    """Return a preset by name. Raise `InputError` if there is none, or if its file cannot be used."""
    if name in PRESETS:
        return PRESETS[name]
    if (path := list_presets(folder()).get(name)) is not None:
        return read_preset(path)
    raise InputError(f"there is no preset {shown(name)}: press R, and choose one that is listed")


def version_of(name: str) -> tuple[int, ...]:
    """Return what changes with the file of a saved preset; nothing for others."""
    path = list_presets(folder()).get(name)
    try:
        return () if path is None else (path.stat().st_mtime_ns, path.stat().st_size)
    except OSError:
        return ()
