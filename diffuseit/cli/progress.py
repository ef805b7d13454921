"""A progress bar on the terminal that shows the losses of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ..guidance.loop import Step


@contextmanager
def step_bar(label: str, console: Console | None = None) -> Iterator[Callable[[Step], None]]:
    """A bar on stderr from the first step to the end of the block; what it gives is an `on_step`."""
    progress = _progress(console)

    def show(step: Step) -> None:
        if not progress.tasks:
            progress.add_task(label, total=step.total, losses="")
            progress.start()
        progress.update(
            progress.task_ids[0], completed=step.number + 1, total=step.total, losses=_losses(step)
        )

    try:
        yield show
    finally:
        if progress.tasks:
            progress.stop()


@contextmanager
def pictures_bar(
    total: int, console: Console | None = None
) -> Iterator[Callable[[int, str, Step | None], None]]:
    """A bar that counts pictures. What it gives is told the picture's number and name, and its steps."""
    progress = _progress(console)
    task = progress.add_task("", total=total, losses="")

    def show(number: int, name: str, step: Step | None) -> None:
        if step is None:
            progress.update(task, description=name, completed=number, losses="")
        else:
            done = number + (step.number + 1) / step.total
            progress.update(task, completed=min(done, number + 0.999), losses=_losses(step))

    with progress:
        yield show


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}", style="dim", markup=False),
        console=console or Console(stderr=True),
    )


def _losses(step: Step) -> str:
    return "  ".join(f"{name} {value.mean().item():.3f}" for name, value in step.terms.items())
