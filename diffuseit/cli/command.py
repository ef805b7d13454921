"""What `diffuseit translate` is asked for, of images, films, and volumes alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import InputError
from ..frames.base import Range
from ..images.choices import Folder, SizeMode
from ..images.medical.cut import Cut
from ..images.medical.kinds import kind_of
from ..images.window import WindowChoice
from ..shards import Shard
from .options import is_folder
from .signing import Signing

if TYPE_CHECKING:
    from .request import Request


class FilmOptions(NamedTuple):
    """What sequences of frames have options of their own for. Those that are not given are None."""

    kind: Folder | None = None
    frames: Range | None = None
    fps: float | None = None
    consensus: float | None = None
    at_once: int | None = None
    flow: str | None = None


@dataclass(frozen=True)
class Command:
    """The options of `diffuseit translate`, read, but not yet compared with what SOURCE is.

    Results are `in_styles` if each text has one of its own. `request` returns the options that decide pixels, for
    results of a size. It imports torch, which takes seconds: what is wrong with SOURCE is told before.
    """

    source: Path
    output: Path | None
    texts: tuple[str, ...]
    in_styles: bool
    style: Path | None
    mask: Path | None
    size: SizeMode | None
    detail: float
    window: WindowChoice
    variations: int
    part: Shard
    with_labels: Path | None
    signing: Signing
    watermark: bool
    engine: Literal["here", "ray"]
    workers: int | None
    film: FilmOptions
    cut: Cut
    keep_identity: bool
    request: Callable[[SizeMode], Request]

    @property
    def makes_many(self) -> bool:
        """Whether there is a folder of results, of single images or volumes."""
        return is_folder(self.source) or self.in_styles

    def check(self) -> None:
        """Raise `InputError` for options that contradict each other or the kind of SOURCE."""
        if self.part.of > 1 and not is_folder(self.source):
            raise InputError(f"--shard is for a folder: {self.source} is none")
        if self.engine == "ray":
            if not self.makes_many:
                raise InputError("--engine ray is for a folder or several texts: leave it out for one result")
            if self.signing.sign:
                raise InputError("--engine ray goes without --sign: a private key stays on its machine")
            if self.watermark:
                raise InputError("--engine ray goes without --watermark: leave it out")
        elif self.workers is not None:
            raise InputError("--workers goes with --engine ray: add it")
        if self.variations > 1 and self.with_labels is not None:
            raise InputError("--variations goes without --with-labels: give each seed a run of its own")
        if self.cut != Cut() and not is_folder(self.source) and kind_of(self.source) is None:
            raise InputError(
                f"--slices, --axis, and --volume are for DICOM and NIfTI files: {self.source} is none"
            )

    def check_still(self) -> None:
        """Raise `InputError` for options of sequences, for a SOURCE that is no sequence and no volume."""
        if self.film.flow is not None:
            raise InputError(f"--flow is for films and views: {self.source} is none")
        if not is_folder(self.source) and kind_of(self.source) is not None:
            return
        for name, given in (("--consensus", self.film.consensus), ("--at-once", self.film.at_once)):
            if given is not None:
                raise InputError(f"{name} is for films, views, and volumes: {self.source} is none")
