"""The protocol of DiffuseIT's paper (Kwon & Ye, ICLR 2023) on a folder of pictures for each class.

Pictures of each class are translated to every other class, and SFID, CSFID and LPIPS are measured. The paper's data,
lists and reference statistics are not published, so its numbers cannot be had again. What is fixed here is the list for
given folders: the first pictures of each class by name are the sources, all others are the reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import InputError
from ...files.checksum import sha256_of
from ...images.choices import FitMode, SizeMode
from ...images.folder import images_in
from ...schema import printable
from ..sets import csfid, sfid, sfid_with_diagonal
from ..structure import structure_distance
from ..witnesses import INCEPTION, PERCEPTION, VIT, Witnesses
from .base import Column, Item, Measurement, check_name, fingerprint_of, in_turn, means
from .entries import Entry, stack
from .pictures import fitted_tensor, read_rgb

NETWORKS = (VIT, *PERCEPTION, INCEPTION)
SIDE, POCKET_SIDE = 256, 64
MOST_CLASSES = 1_000


@dataclass(frozen=True)
class Class:
    """A folder: the pictures that are translated, and those that results are compared with."""

    name: str
    sources: tuple[Path, ...]
    reference: tuple[Path, ...]

    @property
    def words(self) -> str:
        """The name of the folder as a person reads it."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Folders:
    """The protocol over all ordered pairs of classes. `prompt` has "{}" where the class goes."""

    classes: tuple[Class, ...]
    prompt: str
    witnesses: Witnesses
    checksums: Mapping[str, str]
    device: torch.device
    notes: tuple[str, ...] = ()

    title: ClassVar[str] = "Folders of classes"
    exact: ClassVar[bool] = False
    fit: ClassVar[FitMode] = "crop"
    size: ClassVar[SizeMode] = "model"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("sfid", "SFID", 2),
        Column("csfid", "CSFID", 2),
        Column("sfid_with_diagonal", "SFID, diagonal", 2),
        Column("csfid_with_diagonal", "CSFID, diagonal", 2),
        Column("lpips.alex", "LPIPS alex", 3),
        Column("lpips.squeeze", "LPIPS squeeze", 3),
        Column("lpips.vgg", "LPIPS vgg", 3),
        Column("structure", "structure", 4),
    )
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    groups: ClassVar[Mapping[int, str]] = {}

    @cached_property
    def items(self) -> tuple[Item, ...]:
        return tuple(
            Item(
                f"{one.name}/{other.name}/{path.stem}",
                path,
                self.prompt.replace("{}", other.words),
                self.prompt.replace("{}", one.words),
                number,
            )
            for one in self.classes
            for number, other in enumerate(self.classes)
            if one is not other
            for path in one.sources
        )

    @cached_property
    def fingerprint(self) -> str:
        pictures = (
            f"{each.name}\t{path.name}\t{role}\t{sha256_of(path)}"
            for each in self.classes
            for role, paths in (("source", each.sources), ("reference", each.reference))
            for path in paths
        )
        return fingerprint_of((*pictures, *(f"{item.name}\t{item.from_}\t{item.to}" for item in self.items)))

    @cached_property
    def references(self) -> Mapping[str, Mapping[str, Path]]:
        pictures = [in_turn(each.reference) for each in self.classes]
        return {
            "copy": {item.name: item.source for item in self.items},
            "retrieve": {item.name: next(pictures[item.group]) for item in self.items},
        }

    def measure(self, item: Item, result: Path) -> Measurement:
        seen, source = self._read(result), self._read(item.source)
        values = {
            f"lpips.{trunk}": network(seen, source).item() for trunk, network in self.witnesses.lpips.items()
        }
        if self.witnesses.vit is not None:
            values["structure"] = structure_distance(self.witnesses.vit, seen, source).item()
        sees = self.witnesses.sfid
        return Measurement(values, None if sees is None else sees(seen)[0])

    def summarize(self, items: Sequence[Item], entries: Mapping[str, Entry]) -> dict[str, float]:
        chosen = [entries[item.name] for item in items]
        values = means(chosen)
        features = stack(chosen)
        if features is None or len(features) < 2:
            return values
        targets = [item.group for item in items]
        sets = self._reference_features
        reference = torch.cat(sets)
        classes = [number for number, each in enumerate(sets) for _ in each]
        values["sfid"] = sfid(features, reference)
        values["csfid"] = csfid(features, targets, reference, classes)
        if min(targets.count(each) for each in set(targets)) > 1:
            values["sfid_with_diagonal"] = sfid_with_diagonal(features, reference)
            values["csfid_with_diagonal"] = csfid(features, targets, reference, classes, sfid_with_diagonal)
        return values

    @cached_property
    def _reference_features(self) -> list[Tensor]:
        """[n, D] of each class."""
        sees = self.witnesses.sfid
        assert sees is not None
        return [torch.cat([sees(self._read(path)).cpu() for path in each.reference]) for each in self.classes]

    def _read(self, path: Path) -> Tensor:
        side = POCKET_SIDE if self.witnesses.name == "pocket" else SIDE
        return fitted_tensor(read_rgb(path), side).to(self.device)


def load_folders(
    folder: Path,
    witnesses: Witnesses,
    *,
    each: int = 4,
    prompt: str = "{}",
    device: torch.device | None = None,
) -> Folders:
    """Return the protocol for a folder with one folder for each class, of which `each` pictures are translated.

    Raise `InputError` for fewer than two classes, for a class without two pictures more than are translated, and for
    pictures of one class whose names differ in the extension alone.
    """
    if prompt.count("{}") != 1:
        raise InputError("--prompt must have {} once, where the class goes, such as 'a photo of a {}'")
    try:
        names = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from None
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(f"{folder} has {len(names)} folders: it must have one for each class, two or more")
    classes = tuple(_class(path, each) for path in names)
    device = device or torch.device("cpu")
    notes = []
    if witnesses.name != "standard":
        notes.append("the networks are stand-ins, and pictures are compared at 64 pixels")
    return Folders(classes, prompt, witnesses.to(device), witnesses.checksums(), device, tuple(notes))


def _class(folder: Path, each: int) -> Class:
    pictures = images_in(folder)
    check_name(folder.name, str(folder.parent))
    if len(pictures) < each + 2:
        raise InputError(
            f"the class {printable(folder.name)} has {len(pictures)} images, and {each + 2} are needed: {each} to "
            "translate and two or more to compare with; add some, or give a smaller --each"
        )
    sources = pictures[:each]
    stems = [path.stem for path in sources]
    for path in sources:
        check_name(path.stem, str(folder))
        if stems.count(path.stem) > 1:
            raise InputError(f"{folder} has several images {printable(path.stem)}: rename one of them")
    return Class(folder.name, tuple(sources), tuple(pictures[each:]))
