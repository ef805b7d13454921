"""FlexIT's benchmark (Couairon et al., CVPR 2022, arXiv 2203.04705) on ImageNet's validation pictures.

The requests, such as "beagle" to "Afghan hound", and the reference statistics are files of the authors' repository,
`SPLIT` and `STATISTICS`. Every figure is that of its `eval.py`: pictures come through Pillow's bilinear resizing to 256
pixels, the classifier sees them at 384; SFID and CSFID are squared distances of mean features of FID's Inception to
those of ImageNet's training pictures, over all results and over those of each target class; only the target classes
compete in the accuracy; LPIPS is alex's, times 100. The classifier there sees colors of 0 to 1, since the
normalization that it was trained with is prepared and never applied. Here both accuracies are measured.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...errors import InputError, ModelError
from ...files.checksum import sha256_of
from ...images.choices import FitMode, SizeMode
from ...images.folder import images_in
from ...models.checkpoint import read_nested
from ...schema import LONGEST_TEXT, printable, shown
from ..classes import Classifier, class_accuracy
from ..sets import csfid, sfid
from ..witnesses import CLASSIFIER, INCEPTION, Witnesses
from .base import Column, Item, Measurement, check_name, check_there, fingerprint_of, in_turn, means
from .entries import Entry, stack
from .pictures import fitted_tensor, read_rgb

REPOSITORY = "https://github.com/facebookresearch/SemanticImageTranslation"
SPLIT = Path("dataset", "queries.csv")
STATISTICS = Path("dataset", "inception_stats_256.pt")
SPLIT_SHA256 = "153fc0ef936f7239b3fc525897e91adad16900c6e3c94a1c7d4f2021543219c6"
STATISTICS_BLOB = "7b87f3bd76575b56d0d6d2e0dfe1217ff4ac805f"
"""Git's own checksum of the file in the commit 7aece38."""

NETWORKS = ("lpips-alex", INCEPTION, CLASSIFIER)
SIDE, CLASSIFIER_SIDE = 256, 384
_LARGEST_SPLIT = 16_000_000
_COLUMNS = {"", "path", "source", "source_id", "target", "target_id", "is_test"}

Part = Literal["test", "dev"]


@dataclass(frozen=True)
class Request:
    """A line of the split. `path` is that of the picture under ImageNet's folder, with the folder of its class."""

    number: int
    path: str
    source: str
    source_class: int
    target: str
    target_class: int
    test: bool


@dataclass(frozen=True)
class Statistics:
    """Mean features [D] of all reference pictures, and of those of each class."""

    mean: Tensor
    classes: Mapping[int, Tensor]


@dataclass(frozen=True)
class FlexIT:
    """The protocol over the requests of one part of the split. `side` is the size at which pictures are compared."""

    requests: tuple[Request, ...]
    all_requests: tuple[Request, ...]
    imagenet: Path
    statistics: Statistics
    witnesses: Witnesses
    checksums: Mapping[str, str]
    device: torch.device
    exact: bool = False
    notes: tuple[str, ...] = ()

    title: ClassVar[str] = "FlexIT"
    fit: ClassVar[FitMode] = "crop"
    size: ClassVar[SizeMode] = "model"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("lpips", "LPIPS x100", 1),
        Column("accuracy", "accuracy %", 1, "high"),
        Column("accuracy_normalized", "accuracy %, normalized", 1, "high"),
        Column("csfid", "CSFID", 1),
        Column("sfid", "SFID", 2),
        Column("l1", "L1", 3),
    )
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "copy": {"lpips": 0.0, "accuracy": 0.4, "csfid": 106.0, "sfid": 0.20},
        "retrieve": {"lpips": 72.4, "accuracy": 90.6, "csfid": 27.2, "sfid": 0.23},
        "FlexIT": {"lpips": 25.5, "accuracy": 67.0, "csfid": 52.0, "sfid": 5.6},
    }
    groups: ClassVar[Mapping[int, str]] = {}

    @cached_property
    def items(self) -> tuple[Item, ...]:
        return tuple(
            Item(str(each.number), self._picture(each.path), each.target, each.source, each.target_class)
            for each in self.requests
        )

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(
            f"{each.number}\t{each.path}\t{each.source}\t{each.target}\t{each.target_class}"
            for each in self.requests
        )

    @cached_property
    def references(self) -> Mapping[str, Mapping[str, Path]]:
        found = {"copy": {item.name: item.source for item in self.items}}
        retrieved = self._retrieved()
        return found if retrieved is None else found | {"retrieve": retrieved}

    def measure(self, item: Item, result: Path) -> Measurement:
        picture = read_rgb(result)
        seen, source = (
            fitted_tensor(each, SIDE).to(self.device) for each in (picture, read_rgb(item.source))
        )
        values = {"l1": (seen - source).abs().mean().item() / 2}
        if "alex" in self.witnesses.lpips:
            values["lpips"] = 100 * self.witnesses.lpips["alex"](seen, source).item()
        large = fitted_tensor(picture, CLASSIFIER_SIDE).to(self.device)
        for key, classifier in self._classifiers.items():
            reached = class_accuracy(classifier(large), [item.group], self._competing)
            values[key] = 100 * float(reached.item())
        sees = self.witnesses.sfid
        return Measurement(values, None if sees is None else sees(seen)[0])

    def summarize(self, items: Sequence[Item], entries: Mapping[str, Entry]) -> dict[str, float]:
        chosen = [entries[item.name] for item in items]
        values = means(chosen)
        features = stack(chosen)
        if features is not None and len(features) > 1:
            targets = [item.group for item in items]
            classes = sorted(set(targets))
            reference = torch.stack([self.statistics.classes[each] for each in classes])
            values["sfid"] = sfid(features, self.statistics.mean[None])
            values["csfid"] = csfid(features, targets, reference, classes)
        return values

    @cached_property
    def _classifiers(self) -> dict[str, Classifier]:
        classifier = self.witnesses.classifier
        if classifier is None:
            return {}
        return {
            "accuracy": classifier.without_normalization().to(self.device),
            "accuracy_normalized": classifier,
        }

    @cached_property
    def _competing(self) -> tuple[int, ...]:
        return tuple(sorted({each.target_class for each in self.all_requests}))

    def _picture(self, path: str) -> Path:
        """In the folder of its class, or in one folder with all others."""
        whole = self.imagenet / path
        return whole if whole.is_file() else self.imagenet / Path(path).name

    def _retrieved(self) -> dict[str, Path] | None:
        """Another picture of the target class for each request; None where the pictures lie in one folder."""
        folders = {each.source_class: Path(each.path).parent for each in self.all_requests}
        pictures: dict[int, Iterator[Path]] = {}
        found = {}
        for each in self.requests:
            target = each.target_class
            if target not in pictures:
                folder = self.imagenet / folders[target] if target in folders else None
                if folder is None or not folder.is_dir():
                    return None
                pictures[target] = in_turn(images_in(folder))
            found[str(each.number)] = next(pictures[target])
        return found


def load_flexit(
    imagenet: Path,
    repository: Path,
    witnesses: Witnesses,
    *,
    part: Part = "test",
    device: torch.device | None = None,
) -> FlexIT:
    """Return the protocol with ImageNet's validation pictures in `imagenet` and a clone of FlexIT's repository.

    Files of the repository that are not the published ones are taken too, and a note says that the figures compare
    with nothing. Raise `InputError` or `ModelError` for pictures or files that are missing or that cannot be used.
    """
    split, stored = repository / SPLIT, repository / STATISTICS
    for path in (split, stored):
        if not path.is_file():
            raise InputError(
                f"{path} is not there: run `git clone {REPOSITORY}` and give its folder with --flexit"
            )
    requests = read_split(split)
    chosen = tuple(each for each in requests if each.test == (part == "test"))
    if not chosen:
        raise InputError(f"{split} has no request of the part {part}")
    notes = []
    if sha256_of(split) != SPLIT_SHA256:
        notes.append(f"{split} is not the published list: the figures compare with no published ones")
    if git_blob(stored) != STATISTICS_BLOB:
        notes.append(f"{stored} is not the published file: SFID and CSFID compare with no published ones")
    if witnesses.name != "standard":
        notes.append("the networks are stand-ins: the figures compare with no published ones")
    if part == "dev":
        notes.append("the published figures are those of the test part, and these are of the dev part")
    device = device or torch.device("cpu")
    statistics = read_statistics(stored, {each.target_class for each in chosen})
    benchmark = FlexIT(
        chosen,
        requests,
        imagenet,
        statistics,
        witnesses.to(device),
        witnesses.checksums(),
        device,
        not notes,
        tuple(notes),
    )
    check_there([item.source for item in benchmark.items], imagenet, "pictures of the list")
    return benchmark


def read_split(path: Path) -> tuple[Request, ...]:
    """Return the requests of a file like `SPLIT`. Raise `InputError` for one that cannot be read, with the line."""
    name = printable(str(path))
    try:
        if path.stat().st_size > _LARGEST_SPLIT:
            raise InputError(f"{name} is too large for a list of requests")
        document = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is no text in UTF-8: it is no list of FlexIT's requests") from None
    reader = csv.DictReader(io.StringIO(document, newline=""), strict=True)
    found: dict[int, Request] = {}
    try:
        if not set(reader.fieldnames or ()) >= _COLUMNS:
            raise InputError(
                f"{name} is no list of FlexIT's requests: its first line must name path, source, target"
            )
        for line in reader:
            request = _request(line, f"{name}, line {reader.line_num}")
            if request.number in found:
                raise InputError(f"{name}, line {reader.line_num} has the number of an earlier request")
            found[request.number] = request
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num} is no CSV: {printable(str(error))}") from None
    return tuple(found.values())


def _request(line: Mapping[str, str | None], where: str) -> Request:
    def whole(column: str) -> int:
        text = line.get(column) or ""
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InputError(f"{where}: {column or 'the first column'} is {shown(text)}, which is no number")
        return int(text)

    def words(column: str) -> str:
        text = (line.get(column) or "").strip()
        if not 0 < len(text) <= LONGEST_TEXT:
            raise InputError(f"{where}: {column} is empty or too long")
        return text

    test = line.get("is_test")
    if test not in ("True", "False"):
        raise InputError(f"{where}: is_test is {shown(test)}, and must be True or False")
    return Request(
        whole(""),
        check_name(words("path"), where),
        words("source"),
        whole("source_id"),
        words("target"),
        whole("target_id"),
        test == "True",
    )


def read_statistics(path: Path, classes: set[int]) -> Statistics:
    """Return the statistics in a file like `STATISTICS`. Raise `ModelError` unless it has those of all `classes`."""
    tensors = read_nested(path)
    name = printable(str(path))
    wanted = {"mean": "mean"} | {str(each): f"classwise/{each}/mean" for each in sorted(classes)}
    for key in wanted.values():
        if key not in tensors:
            raise ModelError(f"{name} has no statistics {key}: it is not FlexIT's {STATISTICS.name}")
        value = tensors[key]
        if value.ndim != 1 or value.shape != tensors["mean"].shape or not value.isfinite().all():
            raise ModelError(f"{name} has damaged statistics {key}: download it again")
    return Statistics(
        tensors["mean"].double().clone(),
        {each: tensors[wanted[str(each)]].double().clone() for each in sorted(classes)},
    )


def git_blob(path: Path) -> str:
    """Return git's checksum of a file."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
