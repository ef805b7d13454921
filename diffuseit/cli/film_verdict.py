"""The verdicts on the frames of a film: kept with each finished frame, and told at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..schema import from_json
from . import console

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluation.film_verdict import FilmVerdict
    from ..evaluation.verdict import Verdict
    from ..film import Frame
    from ..frames.unfinished import Unfinished
    from .job import Job

Told = tuple[int, "Verdict | None", float | None]
"""The number of a frame, its verdict, and its warp error."""


@dataclass
class Judge:
    """Gives verdicts on the results of `job`, whose `arguments` hold for all frames, until one cannot be given."""

    job: Job
    arguments: Mapping[str, Any]
    able: bool = True

    def note_on(self, result: Frame, source: Tensor) -> dict[str, Any]:
        """Return what is kept with a result of a source [1, 3, H, W] in [-1, 1]."""
        verdict = None
        if self.able:
            (verdict,) = self.job.verdicts(result.picture[None], {**self.arguments, "source": source})
            self.able = verdict is not None
        return {"verdict": verdict and verdict.to_json(), "warp_error": result.warp_error}


def told(unfinished: Unfinished, numbers: range) -> Iterator[Told]:
    """Yield what was kept with the finished frames of these numbers."""
    from ..evaluation.verdict import Verdict

    for number in numbers:
        verdict, error = None, None
        # Another version may have written the note.
        try:
            note = unfinished.note(number)
            if note.get("verdict") is not None:
                values = {name: value for name, value in note["verdict"].items() if name != "summary"}
                verdict = from_json(Verdict, values, "verdict")
            error = None if note.get("warp_error") is None else float(note["warp_error"])
        except (InputError, AttributeError, TypeError, ValueError):
            pass
        yield number, verdict, error


def verdict_on(unfinished: Unfinished, numbers: range) -> FilmVerdict:
    """Return the verdict on the finished frames of these numbers."""
    from ..evaluation.film_verdict import FilmVerdict

    found = FilmVerdict()
    for frame in told(unfinished, numbers):
        found.add(*frame)
    return found


def save_table(target: Path, unfinished: Unfinished, numbers: range, *, in_folder: bool) -> None:
    """Write the table of the frames into the folder `target`, or beside the film `target`, or say why there is none.

    A folder may have frames of an earlier run, whose lines stay.
    """
    from ..evaluation.verdict_table import FILE, save_frames

    path = target / FILE if in_folder else target.with_name(f"{target.name}-{FILE}")
    try:
        save_frames(path, told(unfinished, numbers), add=in_folder)
    except InputError as error:
        console.note(f"no verdicts are kept: {error}")
