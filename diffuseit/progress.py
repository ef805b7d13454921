"""A progress bar on the terminal that shows the losses of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from .sampler import Step


@contextmanager
def step_bar(label: str, console: Console | None = None) -> Iterator[Callable[[Step], None]]:
    """A bar on stderr from the first step to the end of the block; what it gives is an `on_step`."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}", style="dim", markup=False),
    )
    progress = Progress(*columns, console=console or Console(stderr=True))

    def show(step: Step) -> None:
        losses = "  ".join(f"{name} {value.mean().item():.3f}" for name, value in step.terms.items())
        if not progress.tasks:
            progress.add_task(label, total=step.total, losses="")
            progress.start()
        progress.update(progress.task_ids[0], completed=step.number + 1, total=step.total, losses=losses)

    try:
        yield show
    finally:
        if progress.tasks:
            progress.stop()
