"""Translations on a Ray cluster: a callable class for Ray Data, and `diffuseit translate --engine ray`.

Ray hands each image to one worker, and to another one if that dies. It is `diffuseit[ray]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, ModelError, in_words
from ..images.io import read_source
from ..preset_files import SUFFIX
from .batch import Work, make, tabulated
from .networks import Choice
from .options import path
from .request import Request
from .stacks import StackOptions

if TYPE_CHECKING:
    from ..images.labels import Labels

# Ray reports its use to its makers unless this says no.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# What Ray Data says of its plans is for its own developers.
os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")

_BLOCKS = 1000
"""Parts into which Ray cuts the list of work. The images of a part go to one worker, and again if that dies."""


class Translator:
    """Translates images, for Ray Data's `map_batches` with a pool of actors. It loads the networks once.

    A batch has these columns, and others, which stay:

    - `path`: the name of an image. If there is no `bytes`, the file itself is read.
    - `bytes`: the content of the file, as `ray.data.read_binary_files(..., include_paths=True)` gives it.
    - `to`: one of the texts of the request. Without it: the first one.
    - `target`: the file that the result goes into, as `--engine ray` does it. A file that is there stays.

    New columns: `result`, the content of a PNG file with its settings, unless there is a `target`; `summary`, the
    verdict in words; `error`, one line if there is no result. One image's trouble is not the next one's. Each image is
    translated alone, with the seed of the request, so results depend on no batch size and no number of workers.
    """

    def __init__(
        self,
        request: Request,
        folder: Path | str = ".",
        labels: Labels | None = None,
        options: StackOptions | None = None,
    ) -> None:
        """Load the networks. With `target`, settings name files relative to `folder`, and `labels` follow the images.

        `options` are those of medical files, which need a `target`.

        Raise `InputError` or `ModelError` for what cannot be.
        """
        self._jobs, self._labels = request.jobs(Path(folder)), labels
        self._options = options or StackOptions()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with the new columns."""
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        made = [self._translated(row) for row in rows]
        names = ("result", "summary", "error")
        return batch | {
            name: _column(column) for name, column in zip(names, zip(*made, strict=True), strict=True)
        }

    def _translated(self, row: dict[str, Any]) -> tuple[bytes, str, str]:
        """The new columns of one row."""
        try:
            to = None if row.get("to") is None else str(row["to"])
            if to not in self._jobs:
                raise InputError(f"to: {to!r} is none of the texts of the request")
            if row.get("target") is not None:
                return b"", self._into_file(Work(Path(row["path"]), Path(row["target"]), to)), ""
            return (*self._in_memory(str(row["path"]), row.get("bytes"), to), "")
        except FileExistsError:
            return b"", "", ""
        except Exception as error:
            return b"", "", in_words(error)

    def _into_file(self, work: Work) -> str:
        if os.path.lexists(work.target):
            raise FileExistsError
        job = self._jobs[work.to]
        read = partial(read_source, choice=job.window)
        made, beside = make(work, job, self._labels, self._options, read, _ignore)
        tabulated(work, beside, made.recipe, made.verdict)
        return "" if made.verdict is None else made.verdict.summary()

    def _in_memory(self, name: str, content: bytes | None, to: str | None) -> tuple[bytes, str]:
        job = self._jobs[to]
        with TemporaryDirectory(prefix="diffuseit-") as folder:
            source, target = Path(name), Path(folder, "result", "result.png")
            if content is not None:
                # The name comes from a list of a stranger's files. What is before the last separator leads elsewhere.
                source = Path(folder, re.split(r"[/\\:]", name)[-1] or "image")
                source.write_bytes(content)
            made = job.into(source, read_source(source, job.window), target, _ignore)
            return target.read_bytes(), "" if made.verdict is None else made.verdict.summary()


def translate_on_ray(
    work: Sequence[Work],
    request: Request,
    folder: Path,
    labels: Labels | None,
    options: StackOptions,
    workers: int | None,
) -> Iterator[tuple[Path, str]]:
    """Make results that are not there, on the cluster of RAY_ADDRESS or on this machine, by a pool of `workers`.

    Yield the source of each as it is settled, and why it failed, or "". By default there are as many workers as
    processors, or as GPUs if the networks run on these. All machines see the files under the same paths. Raise
    `ModelError` if Ray is missing or stops.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ModelError(f"--engine ray needs Ray: run `pip install 'diffuseit[ray]'` ({error})") from None
    here = not ray.is_initialized()
    try:
        if here:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        gpu = request.device.startswith("cuda")
        there = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
        if gpu and not there:
            raise InputError(f"--device is {request.device}, and Ray has no GPU: leave it out")
        rows = [
            {"path": str(one.source.absolute()), "target": str(one.target.absolute()), "to": one.to}
            for one in work
        ]
        items = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
        made = items.map_batches(
            Translator,
            fn_constructor_args=(_absolute(request), folder.absolute(), labels, options),
            batch_size=1,
            num_cpus=1,
            num_gpus=1 if gpu else 0,
            compute=ray.data.ActorPoolStrategy(size=min(workers or there, len(rows))),
        )
        for row in made.iter_rows():
            yield Path(row["path"]), row["error"]
    except ray.exceptions.RayError as error:
        # The last line of a traceback from a worker says what went wrong.
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise ModelError(f"Ray has stopped: {reason[:300]}") from None
    finally:
        if here:
            ray.shutdown()


def _absolute(request: Request) -> Request:
    """The request for another process, whose current folder is another one."""
    paths = {name: getattr(request, name) for name in ("style", "mask")}
    found: dict[str, Any] = {name: file.absolute() for name, file in paths.items() if file is not None}
    if not Choice(request.models).names_a_set:
        found["models"] = str(path(request.models).absolute())
    if request.preset is not None and (
        request.preset.endswith(SUFFIX) or Path(request.preset).name != request.preset
    ):
        found["preset"] = str(path(request.preset).absolute())
    return replace(request, **found)


def _column(values: Iterable[Any]) -> np.ndarray:
    return np.array(list(values), dtype=object)


def _ignore(_: object) -> None:
    pass
