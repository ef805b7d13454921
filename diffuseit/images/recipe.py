"""What a result was made of and with: enough to make the same pixels again. Travels in the result's metadata."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import InputError
from ..files.checksum import sha256_of
from ..presets import Preset
from ..schema import check, from_json, number, parse, text, to_json
from .choices import LARGEST_SEED, FitMode, SizeMode
from .io import READABLE
from .medical.cut import Cut
from .medical.kinds import kind_of
from .window import Window

if TYPE_CHECKING:
    from ..models.bundle import Models

FORMAT = 1
VERDICT = "verdict"
"""The key of the verdict beside the settings."""
FILM = "film"
"""The key of what holds the frames of a film together."""

LONGEST_PATH = 4_096
"""Characters of a path in a recipe: more than file systems take."""


@dataclass(frozen=True)
class FileRef:
    """An image file by its path, relative to the result's folder where that is possible, and its SHA-256.

    The path of a medical file is empty: names of files and folders often name the patient.
    """

    path: str = text(longest=LONGEST_PATH)
    sha256: str = text(longest=64)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, path: Path, folder: Path) -> FileRef:
        """Return the reference to an existing file, for a result in `folder`."""
        return cls("" if kind_of(path) else _relative(path, folder), sha256_of(path))

    def find(self, folder: Path) -> Path | None:
        """Return where the file is, for a result in `folder`; None if it is not there.

        A stranger may have written the path. It is followed only if it is relative and leads, with all links resolved,
        to a regular file with the extension of an image: never to a device or a pipe, whose end may never come, nor
        to another machine. Callers compare the SHA-256 before they decode the file.
        """
        if Path(self.path).anchor:
            return None
        path = folder / self.path
        try:
            found = path.resolve(strict=True)
            return path if found.is_file() and found.suffix.lower() in READABLE else None
        except (
            OSError,
            ValueError,
            RuntimeError,
        ):  # not there, too long, a null character, a circle of links
            return None


@dataclass(frozen=True)
class CheckpointRef:
    """A diffusers checkpoint by the name of its folder, the SHA-256 of its configuration, and how it was used.

    There is no path. One of a stranger would lead to weights of the stranger's choice, and the user's own ones are
    nobody's business. `cfg` is the scale of guidance by the prompt, `resolution` the side of a square image.
    """

    name: str = text(longest=255)
    config: str = text(longest=64)
    cfg: float = number(low=0.0, high=100.0)
    resolution: int = number(low=1, high=10_000)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the pixels of a result, and the versions that made it.

    `models` names the networks. `checkpoint` took the place of their diffusion model, if there is one. `weights` holds
    the SHA-256 of each network in memory (`weights_of`). `preset` holds the settings that were used, not only their
    name, so that later defaults change nothing. `detail` is that of `full_size.restore`: 0 in recipes that lack it, as
    results were made then. `window` and `style_window` hold the levels that become black and white of a source and a
    style image of more than 8 bits. Without them, these are read at 8 bits. `own` is the SHA-256 of the configuration
    of own networks (`own_models.py`), which `models` then calls by their file without its path. `cut` says which
    slices of a volume, or frames of a file, were translated. Raise `InputError` for values out of bounds and for values
    that contradict each other.
    """

    models: str
    weights: dict[str, str]
    preset: Preset
    seed: int = number(low=0, high=LARGEST_SEED)
    source: FileRef | None = None
    to: str | None = None
    from_: str | None = None
    style: FileRef | None = None
    mask: FileRef | None = None
    fit: FitMode = "keep"
    size: SizeMode = "model"
    versions: dict[str, str] | None = None
    checkpoint: CheckpointRef | None = None
    format: int = FORMAT
    detail: float = number(0.0, low=0.0, high=1.0)
    window: Window | None = None
    style_window: Window | None = None
    own: str | None = text(None, longest=64)
    cut: Cut | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InputError(
                f"the settings are of format {self.format}, here {FORMAT} is read: use the version that wrote them"
            )
        check(self)
        if (self.to is None) == (self.style is None):
            raise InputError("the settings must have either a text or a style image to translate to")

    def to_text(self, verdict: Mapping[str, Any] | None = None) -> str:
        """Return the recipe as ASCII JSON, with the verdict on the result beside the settings."""
        return json.dumps(to_json(self) | ({} if verdict is None else {VERDICT: verdict}))

    @classmethod
    def from_text(cls, document: str, where: str) -> Recipe:
        """Return the recipe of a document of `to_text`; a verdict in it is ignored.

        Raise `InputError`, naming `where`, for anything that this version does not read.
        """
        values = parse(document, f"the metadata of {where}")
        if isinstance(values, dict):
            values.pop(VERDICT, None)
            if FILM in values:
                raise InputError(
                    f"{where} is part of a film, whose frames are made together: translate the film again"
                )
        try:
            return from_json(cls, values, "settings")
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except RecursionError:
            raise InputError(f"{where}: the settings are nested too deeply") from None

    def differences(self, other: Recipe) -> list[str]:
        """Return, in words, why `other`, made again with these settings, may have other pixels."""
        found = []
        if self.source and other.source and self.source.sha256 != other.source.sha256:
            found.append("the source is another image")
        roles = self.weights.keys() | other.weights.keys()
        if changed := sorted(role for role in roles if self.weights.get(role) != other.weights.get(role)):
            found.append(f"other weights in {', '.join(changed)}")
        if self.checkpoint and other.checkpoint and self.checkpoint.config != other.checkpoint.config:
            found.append(f"another configuration of {self.checkpoint.name}")
        if self.own != other.own:
            found.append(f"another configuration of {self.models}")
        mine, theirs = self.versions or {}, other.versions or {}
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                found.append(f"{name} {theirs.get(name, 'unknown')} instead of {mine.get(name, 'unknown')}")
        return found


def current_versions(device: torch.device) -> dict[str, str]:
    """Return the versions of what decides pixels beside settings and weights."""
    return {"diffuseit": own_version(), "torch": torch.__version__, "device": device.type}


def own_version() -> str:
    """Return the version of this package, installed or in a checkout."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file() and (found := re.search(r'(?m)^version = "(.+)"', project.read_text("utf-8"))):
        return found[1]
    try:
        return installed_version("diffuseit")
    except PackageNotFoundError:
        return "unknown"


def weights_of(models: Models) -> dict[str, str]:
    """Return the SHA-256 of each network of a set by its field. It depends on the numbers, not on the file's layout."""
    return {
        name: sha256_of_network(network)
        for name, network in vars(models).items()
        if isinstance(network, nn.Module)
    }


def sha256_of_network(network: nn.Module) -> str:
    """Return the SHA-256 of the sorted names, types, shapes and bytes of the state dict."""
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
