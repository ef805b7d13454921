"""The known checkpoints: where they come from, what they may be used for, and where they are on this machine.

Nothing here uses the network or imports torch: `models/hub/download.py` fetches, `models/load.py` loads.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from ...errors import InputError, ModelError
from ...schema import shown

Kind = Literal["ddpm", "vit", "clip", "measure", "watermark", "flow"]
FOLDER_VARIABLE = "DIFFUSEIT_MODELS"
PRECISIONS = ("fp16", "bf16")
"""What `convert` writes."""

_DATA = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face hub."""

    repo: str
    file: str

    @property
    def page(self) -> str:
        """What to open in a browser to see the repository."""
        return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{self.repo}"

    @property
    def address(self) -> str:
        return self.address_at("main")

    def address_at(self, revision: str) -> str:
        """Return the address of the file at a commit or branch."""
        return f"{self.page}/resolve/{revision}/{self.file}"


@dataclass(frozen=True)
class Entry:
    """One checkpoint. Exactly one of `url`, `hub` and `manual` (how to get it by hand) is given.

    - `terms`: the license in a word or two; `limits`: what it forbids.
    - `file`: its name in the models folder.
    - `config`: a name of `models.configs.CONFIGS` (ddpm), the fields of a `ViTConfig` (vit), or open_clip's
      architecture and tag (clip), or the row's own name (measure: networks that only measure results;
      watermark: networks that hide one and read it; flow: networks that estimate optical flow).
    - `sha256` and `bytes`: None if its publisher does not say. Where the publisher gives only the first digits of the
      checksum, in the file's name, these are all: they tell damage, and no more.
    - `tokenizer`: further files of the hub repository.
    """

    name: str
    kind: Kind
    purpose: str
    license: str
    terms: str
    limits: str
    file: str
    parameters: int
    config: str | Mapping[str, Any]
    url: str | None = None
    hub: HubFile | None = None
    manual: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    tokenizer: tuple[str, ...] = ()

    @property
    def address(self) -> str | None:
        """What to open in a browser to get the file; None if `manual` says what to do."""
        return self.url or (self.hub.address if self.hub else None)

    @property
    def size(self) -> int:
        """Bytes of the file, or about that many: 4 for each parameter."""
        return self.bytes or 4 * self.parameters

    @property
    def most(self) -> int:
        """Bytes that the file has at most. It may hold an average of the weights beside the weights."""
        return self.bytes or 3 * self.size

    @property
    def tokenizer_folder(self) -> str | None:
        """The folder beside the file with the tokenizer's files; None for the standard tokenizer."""
        return tokenizer_folder(self.hub.repo) if self.hub and self.tokenizer else None


@dataclass(frozen=True)
class Bundle:
    """The networks of a translation, by name."""

    name: str
    purpose: str
    ddpm: str
    vit: str
    clip: tuple[str, ...]

    @property
    def members(self) -> tuple[str, ...]:
        return (self.ddpm, self.vit, *self.clip)


def tokenizer_folder(repo: str) -> str:
    """Return the name of the local folder for the tokenizer of a hub repository."""
    return f"{repo.rsplit('/', 1)[-1]}-tokenizer"


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return json.loads(_DATA.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def catalog() -> dict[str, Entry]:
    """Return every known checkpoint by name, in the order to show them."""
    return {row["name"]: _entry(row) for row in _data()["models"]}


def _entry(row: dict[str, Any]) -> Entry:
    license = _data()["licenses"][row["license"]]
    hub = row.get("hub")
    changed = {
        "license": license["name"],
        "terms": license["short"],
        "limits": license["limits"],
        "hub": HubFile(hub["repo"], hub.get("file", row["file"])) if hub else None,
        "tokenizer": tuple(row.get("tokenizer", ())),
    }
    return Entry(**{**row, **changed})


@lru_cache(maxsize=1)
def bundles() -> dict[str, Bundle]:
    """Return every bundle by name."""
    return {
        name: Bundle(name, **{**fields, "clip": tuple(fields["clip"])})
        for name, fields in _data()["bundles"].items()
    }


def entry_named(name: str) -> Entry:
    """Return the checkpoint `name`. Raise `InputError` with similar names if there is none."""
    if name in catalog():
        return catalog()[name]
    raise InputError(_unknown(name, list(catalog())))


def members(name: str) -> list[Entry]:
    """Return the checkpoint `name`, or those of the bundle `name`. Raise `InputError` if it is neither."""
    if name in bundles():
        return [catalog()[member] for member in bundles()[name].members]
    if name in catalog():
        return [catalog()[name]]
    raise InputError(_unknown(name, [*bundles(), *catalog()]))


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    hint = f": did you mean {', '.join(close)}?" if close else "; `diffuseit models list` shows them"
    return f"the catalog has no {shown(name)}{hint}"


def models_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return where checkpoints are: `folder`, else $DIFFUSEIT_MODELS, else a folder in the user's cache."""
    chosen = folder or os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_cache_path("diffuseit", appauthor=False) / "models"


def local_names(entry: Entry) -> tuple[str, ...]:
    """Return the names that a checkpoint may have in the models folder: as published, and as `convert` writes it."""
    return (entry.file, *(converted_name(entry.name, precision) for precision in PRECISIONS))


def entry_of_file(name: str) -> Entry | None:
    """Return the checkpoint that has a file of this name, None if the catalog has none."""
    return next((entry for entry in catalog().values() if name in local_names(entry)), None)


def converted_name(name: str, precision: str) -> str:
    """Return the name of the file that `convert` writes by default."""
    return f"{name}-{precision}.safetensors"


def find_model(entry: Entry, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the local file of a checkpoint, None if it or a part of it is missing."""
    root = models_folder(folder)
    if missing_tokenizer_files(entry, root):
        return None
    return next((root / name for name in local_names(entry) if is_file(root / name)), None)


def is_file(path: Path) -> bool:
    """Whether `path` is a file, or leads to one. What cannot be looked at is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def missing_tokenizer_files(entry: Entry, folder: Path) -> list[str]:
    """Return the names of the tokenizer's files that are not there."""
    home = entry.tokenizer_folder
    return [name for name in entry.tokenizer if home and not is_file(folder / home / name)]


def require_models(
    entries: Sequence[Entry], folder: str | os.PathLike[str] | None = None, *, asked: str | None = None
) -> dict[str, Path]:
    """Return the local file of each checkpoint by name. Raise `ModelError` that says how to get what is missing.

    `asked` is the bundle that the user named, if it was one.
    """
    found = {entry.name: find_model(entry, folder) for entry in entries}
    missing = [entry for entry in entries if found[entry.name] is None]
    if missing:
        raise ModelError(_how_to_get(missing, folder, asked))
    return {name: path for name, path in found.items() if path is not None}


def _how_to_get(missing: list[Entry], folder: str | os.PathLike[str] | None, asked: str | None) -> str:
    root = models_folder(folder)
    verb = "is" if len(missing) == 1 else "are"
    text = f"{', '.join(entry.name for entry in missing)} {verb} not in {root}"
    served = [entry for entry in missing if entry.address]
    if served:
        option = f" --folder {_quoted(root)}" if root != models_folder() else ""
        names = asked if asked and served == missing else " ".join(entry.name for entry in served)
        text += f": run `diffuseit models download {names}{option}`"
        text += f" ({format_size(sum(entry.size for entry in served))}), or save by hand, in that folder: "
        text += "; ".join(_by_hand(entry) for entry in served)
    for entry in missing:
        if entry.manual:
            text += (
                f"; {entry.name} has no stable address: {entry.manual}, then save it as {root / entry.file}"
            )
    return text


def _by_hand(entry: Entry) -> str:
    text = f"{entry.file} from {entry.address}"
    if entry.tokenizer_folder and entry.hub:
        text += f" and {', '.join(entry.tokenizer)} of the same repository into {entry.tokenizer_folder}"
    return text


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)


def format_size(size: int) -> str:
    """Return "2.2 GB", "350 MB", "12 kB"."""
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6)):
        if size >= bytes_each:
            value = size / bytes_each
            return f"{value:.1f} {unit}" if unit == "GB" else f"{value:.0f} {unit}"
    return f"{size / 1000:.0f} kB"
