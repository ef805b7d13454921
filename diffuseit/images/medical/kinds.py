"""Which files are DICOM or NIfTI, and the libraries that read them (the extra `diffuseit[medical]`)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError

Kind = Literal["DICOM", "NIfTI"]

SUFFIXES: dict[Kind, tuple[str, ...]] = {"DICOM": (".dcm", ".dicom", ".ima"), "NIfTI": (".nii", ".nii.gz")}
WRITTEN: dict[Kind, tuple[str, ...]] = {"DICOM": (".dcm",), "NIfTI": (".nii.gz", ".nii")}
"""How the names of results end, the usual one first."""

_LIBRARIES: dict[Kind, str] = {"DICOM": "pydicom", "NIfTI": "nibabel"}
_PREAMBLE, _MAGIC = 128, b"DICM"


def kind_of(path: Path) -> Kind | None:
    """Return what the file is by its name or, since DICOM files often have no extension, by its first bytes."""
    suffix = suffix_of(path)
    for kind, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return kind
    return "DICOM" if not _is_word(suffix) and _starts_as_dicom(path) else None


def suffix_of(path: Path) -> str:
    """Return the extension in lower case: ".nii.gz" is one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") and name != ".nii.gz" else path.suffix.lower()


def stem_of(path: Path) -> str:
    """Return the name without the extension. A unique identifier such as 1.2.840.113619 has none."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if _is_word(suffix) else path.name


def is_there(kind: Kind) -> bool:
    """Whether the library for files of the kind is installed."""
    return find_spec(_LIBRARIES[kind]) is not None


def library(kind: Kind, module: str = "") -> Any:
    """Import the library for files of the kind, or a module of it. Raise `InputError` that says how to get it."""
    name = _LIBRARIES[kind]
    try:
        return import_module(f"{name}.{module}" if module else name)
    except ImportError as error:
        raise InputError(
            f"{kind} files need {name}: run pip install 'diffuseit[medical]' ({error})"
        ) from None


def _is_word(suffix: str) -> bool:
    """Whether this is an extension, unlike the end of a unique identifier such as 1.2.840.113619."""
    return bool(suffix) and not suffix[1:].isdigit()


def _starts_as_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except (OSError, ValueError):
        return False
