"""Folders of models: `models/diffuseit`, ComfyUI's own, and those that `extra_model_paths.yaml` adds to them."""

import os
from contextlib import suppress
from pathlib import Path

import folder_paths

from ...diffuseit.errors import InputError
from ...diffuseit.frames.flows import BACKWARD, FORWARD
from ...diffuseit.images.decode import READABLE
from ...diffuseit.images.exr import SUFFIXES as EXR
from ...diffuseit.schema import shown

FOLDER = "diffuseit"
SUFFIXES = {".safetensors", ".pt", ".pth", ".bin"}


def register() -> None:
    """Register `models/diffuseit` with ComfyUI, in addition to folders that it may already know by this name."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir, FOLDER)))
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, SUFFIXES)


def model_paths() -> dict[str, Path]:
    """Return the files by the names that the loaders list.

    Leave out hidden files, such as unfinished downloads, and names that are not regular files: pipes, or links to a
    drive that is not there.
    """
    names = (name for name in folder_paths.get_filename_list(FOLDER) if not Path(name).name.startswith("."))
    found = ((name, folder_paths.get_full_path(FOLDER, name)) for name in names)
    return {name: Path(path) for name, path in found if path is not None}


def model_path(name: str) -> Path:
    """Return the file of a listed name. Raise `InputError` if it is no longer there."""
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise InputError(
            f"{shown(name)} is not in models/{FOLDER}: press R, and choose a file that is listed"
        )
    return Path(path)


def download_folder() -> Path:
    """Return the folder that downloaded models go to."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def folder_for(kind: str) -> Path:
    """Return the folder that new files of one of ComfyUI's own kinds of models go to, such as "vae".

    Of several folders it is the first one with the name of the kind: ComfyUI also knows folders by older names.
    """
    paths = [Path(path) for path in folder_paths.get_folder_paths(kind)]
    return next((path for path in paths if path.name == kind), paths[0])


def find(kind: str, name: str) -> Path | None:
    """Return the file that ComfyUI's own loaders of this kind take by `name`."""
    path = folder_paths.get_full_path(kind, name)
    return None if path is None else Path(path)


def image_names(most: int) -> list[str]:
    """Return at most `most` images of the input folder and as many of the output folder, the newest of each first.

    They are named as `input_file` takes them. The first one is what a new node has: ComfyUI's front end calls an image
    of the output folder missing if another session made it.
    """
    folders = {folder_paths.get_input_directory(): "", folder_paths.get_output_directory(): " [output]"}
    return [name for folder, ending in folders.items() for name in _newest(folder, ending, most)]


def _newest(folder: str, ending: str, most: int) -> list[str]:
    found: list[tuple[float, str]] = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.suffix.lower() in READABLE and not name.startswith("."):
                with suppress(OSError):
                    found.append((path.stat().st_mtime, f"{path.relative_to(folder).as_posix()}{ending}"))
    return [name for _, name in sorted(found, reverse=True)[:most]]


def input_file(name: str) -> Path | None:
    """Return the file that Load Image takes by `name`; None if it is not in ComfyUI's folders of images."""
    folders = [folder_paths.get_input_directory(), folder_paths.get_output_directory()]
    try:
        path = Path(folder_paths.get_annotated_filepath(name)).resolve()
        inside = any(path.is_relative_to(Path(folder).resolve()) for folder in folders)
        return path if inside and path.is_file() else None
    except (OSError, ValueError):
        return None


def flow_folders(most: int) -> list[str]:
    """Return at most `most` folders with optical flow below the input folder, as `input_folder` takes them, by name."""
    root = folder_paths.get_input_directory()
    found = []
    for place, folders, names in os.walk(root):
        both_ways = {FORWARD, BACKWARD} <= set(folders)
        if both_ways:
            folders[:] = [name for name in folders if name not in (FORWARD, BACKWARD)]
        if place != root and (both_ways or any(name.lower().endswith(EXR) for name in names)):
            found.append(Path(place).relative_to(root).as_posix())
    return sorted(found)[:most]


def input_folder(name: str) -> Path | None:
    """Return the folder of this name in the input folder; None if there is none."""
    root = Path(folder_paths.get_input_directory()).resolve()
    try:
        path = Path(root, name).resolve()
        return path if path != root and path.is_relative_to(root) and path.is_dir() else None
    except (OSError, ValueError):
        return None
