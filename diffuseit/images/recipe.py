"""What a result was made of and with: enough to make the same pixels again. Travels in the result's metadata."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from ..checksum import sha256_of
from ..errors import InputError
from ..presets import Preset
from ..schema import from_json, to_json
from .resize import FitMode

if TYPE_CHECKING:
    from ..models.bundle import Models

FORMAT = 1
SizeMode = Literal["model", "source"]


@dataclass(frozen=True)
class FileRef:
    """A picture file by its path, relative to the result's folder where that is possible, and its SHA-256."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path, folder: Path) -> FileRef:
        """The reference of an existing file in a result in `folder`."""
        return cls(_relative(path, folder), sha256_of(path))

    def find(self, folder: Path) -> Path:
        """Where the file should be, for a result in `folder`."""
        return folder / self.path


@dataclass(frozen=True)
class Recipe:
    """All that decides the pixels of a result, and the versions that made it.

    `weights` are SHA-256 sums of the networks in memory (`weights_of`). `preset` holds the settings as they were
    used, not only their name, so that later defaults change nothing. Raises `InputError` for what contradicts itself.
    """

    models: str
    weights: dict[str, str]
    preset: Preset
    seed: int
    source: FileRef | None = None
    to: str | None = None
    from_: str | None = None
    style: FileRef | None = None
    mask: FileRef | None = None
    fit: FitMode = "keep"
    size: SizeMode = "model"
    versions: dict[str, str] | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InputError(
                f"the settings are of format {self.format}, here {FORMAT} is read: use the version that wrote them"
            )
        if self.size not in get_args(SizeMode):
            raise InputError(f"size is {self.size!r}: use one of {', '.join(get_args(SizeMode))}")
        if (self.to is None) == (self.style is None):
            raise InputError("the settings must have either a text or a style picture to translate to")

    def to_text(self) -> str:
        """As ASCII JSON."""
        return json.dumps(to_json(self))

    @classmethod
    def from_text(cls, text: str, where: str) -> Recipe:
        """Inverse of `to_text`; raises `InputError`, naming `where`, for anything this version does not understand."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the settings in {where} are damaged: {error}") from None
        try:
            return from_json(cls, values, "settings")
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    def differences(self, other: Recipe) -> list[str]:
        """What may make the pixels of `other`, made again by `self`'s settings, differ; in words."""
        found = []
        if self.source and other.source and self.source.sha256 != other.source.sha256:
            found.append("the source is another picture")
        roles = self.weights.keys() | other.weights.keys()
        if changed := sorted(role for role in roles if self.weights.get(role) != other.weights.get(role)):
            found.append(f"other weights in {', '.join(changed)}")
        mine, theirs = self.versions or {}, other.versions or {}
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                found.append(f"{name} {theirs.get(name, 'unknown')} instead of {mine.get(name, 'unknown')}")
        return found


def current_versions(device: torch.device) -> dict[str, str]:
    """Of what decides pixels beside settings and weights."""
    return {"diffuseit": own_version(), "torch": torch.__version__, "device": device.type}


def own_version() -> str:
    """Of this package, installed or in a checkout."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file() and (found := re.search(r'(?m)^version = "(.+)"', project.read_text("utf-8"))):
        return found[1]
    try:
        return installed_version("diffuseit")
    except PackageNotFoundError:
        return "unknown"


def weights_of(models: Models) -> dict[str, str]:
    """SHA-256 of each network of a set, by its field; they depend on the numbers alone, not on the file's layout."""
    return {
        name: sha256_of_network(network)
        for name, network in vars(models).items()
        if isinstance(network, nn.Module)
    }


def sha256_of_network(network: nn.Module) -> str:
    """Over the sorted names, types, shapes and bytes of the state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()
