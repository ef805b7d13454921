"""The output of the command. Nothing else prints. Texts may come from strangers, so it escapes them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from ..schema import printable

if TYPE_CHECKING:
    from ..guidance.loop import Step
    from ..models.hub import http as hub


class _Stream:
    """`sys.stdout` or `sys.stderr`, as it is at the time of writing.

    Messages decide over nothing: a run goes on when `sys.stderr` is closed, or on a full disk.
    """

    def __init__(self, name: str, *, may_fail: bool) -> None:
        self._name, self._failures = name, () if may_fail else (OSError, ValueError)

    @property
    def rich_proxied_file(self) -> _Stream:
        """Itself, for rich: a bar on the screen replaces `sys.stderr` by a proxy, which must not proxy this."""
        return self

    @property
    def _now(self) -> Any:
        stream = getattr(sys, self._name)
        return getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> None:
        if self._now is not None:
            with suppress(*self._failures):
                self._now.write(text)

    def flush(self) -> None:
        if self._now is not None:
            with suppress(*self._failures):
                self._now.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now, name)


results = Console(file=cast(IO[str], _Stream("stdout", may_fail=True)), highlight=False)
messages = Console(file=cast(IO[str], _Stream("stderr", may_fail=False)), highlight=False)


def prepare_streams() -> None:
    """Make both streams escape what their encoding lacks, so that no name ends a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def can_show(character: str) -> bool:
    """Whether the encoding of the results has `character`."""
    try:
        character.encode(results.encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def escaped(text: str) -> str:
    """`text` with control characters escaped. Lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def plain(text: str, style: str = "") -> Text:
    """`escaped` for rich, which finds no markup in it."""
    return Text(escaped(text), style)


def say(text: str) -> None:
    """Print a result, on one line."""
    results.print(Text(printable(text)), soft_wrap=True)


def show(table: Table) -> None:
    """Print a table, whose cells from outside went through `plain`."""
    results.print(table)


def inform(text: str) -> None:
    """Print a message, on one line."""
    messages.print(Text(printable(text)), soft_wrap=True)


def note(text: str) -> None:
    """Print something worth knowing, on one line."""
    inform(f"Note: {text}")


def complain(text: str) -> None:
    """Print what went wrong, on one line."""
    messages.print(Text(printable(text), "red"), soft_wrap=True)


@contextmanager
def notes() -> Iterator[None]:
    """Print the warnings of the block as notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        note(text)


@contextmanager
def step_bar(label: str) -> Iterator[Callable[[Step], None]]:
    """A bar from the first step to the end of the block. Yield an `on_step`."""
    progress = _progress()

    def show_step(step: Step) -> None:
        if not progress.tasks:
            progress.add_task(label, total=step.total, losses="")
            progress.start()
        progress.update(
            progress.task_ids[0], completed=step.number + 1, total=step.total, losses=_losses(step)
        )

    try:
        yield show_step
    finally:
        if progress.tasks:
            progress.stop()


@contextmanager
def pictures_bar(total: int) -> Iterator[Callable[[int, str, Step | None], None]]:
    """A bar that counts images. Yield a function that takes an image's number, its name, and its steps."""
    progress = _progress()
    task = progress.add_task("", total=total, losses="")

    def show_picture(number: int, name: str, step: Step | None) -> None:
        if step is None:
            progress.update(task, description=name, completed=number, losses="")
        else:
            done = number + (step.number + 1) / step.total
            progress.update(task, completed=min(done, number + 0.999), losses=_losses(step))

    with progress:
        yield show_picture


class FilmBar:
    """A bar that counts frames, first those that are translated, then those that are written."""

    def __init__(self, progress: Progress, total: int):
        self._progress, self._total = progress, total
        self._task = progress.add_task("", total=total, losses="")
        self._done = 0

    def begin(self, name: str, done: int) -> None:
        """Count from `done` on, under another name. The time that is left is estimated anew."""
        self._done = done
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=self._total, completed=done, losses="")

    def step(self, step: Step) -> None:
        """Show a step of the frames that are translated together."""
        count, last = len(step.items), step.number + 1 == step.total
        done = self._done + count * (step.number + 1) / step.total
        self._progress.update(self._task, completed=done if last else min(done, self._done + count - 0.01))
        self._progress.update(self._task, losses=_losses(step))
        if last:
            self._done += count

    def advance(self) -> None:
        """Count one more frame."""
        self._done += 1
        self._progress.update(self._task, completed=self._done)


@contextmanager
def film_bar(total: int) -> Iterator[FilmBar]:
    """A bar for `total` frames."""
    progress = _progress()
    with progress:
        yield FilmBar(progress, total)


@contextmanager
def download_bars() -> Iterator[hub.OnProgress]:
    """Bars of bytes, one for each file. Yield an `on_progress`."""
    columns = (DownloadColumn, TransferSpeedColumn, TimeRemainingColumn)
    progress = Progress(
        _Cut(lambda task: task.description),
        BarColumn(bar_width=24, table_column=_kept()),
        *(column(table_column=_kept()) for column in columns),
        console=messages,
    )
    tasks = {}
    with progress:

        def update(state: hub.Progress) -> None:
            if state.file not in tasks:
                tasks[state.file] = progress.add_task(state.file)
            text = f"{state.file} ({state.note})" if state.note else state.file
            progress.update(tasks[state.file], description=text, completed=state.done, total=state.total)

        yield update


class _Cut(ProgressColumn):
    """A text that gives way: where the screen is narrow, it is cut off, and the other columns keep their width."""

    def __init__(self, text_of: Callable[[Task], str], style: str = "") -> None:
        super().__init__(Column())
        self._text_of, self._style = text_of, style

    def render(self, task: Task) -> Text:
        return Text(printable(self._text_of(task)), self._style, no_wrap=True, overflow="ellipsis")


def _progress() -> Progress:
    return Progress(
        _Cut(lambda task: task.description),
        BarColumn(bar_width=24, table_column=_kept()),
        MofNCompleteColumn(table_column=_kept()),
        TimeRemainingColumn(table_column=_kept()),
        _Cut(lambda task: task.fields["losses"], "dim"),
        console=messages,
    )


def _kept() -> Column:
    return Column(no_wrap=True)


def _losses(step: Step) -> str:
    return "  ".join(f"{name} {value.mean().item():.3f}" for name, value in step.terms.items())
