"""Images in memory against their sources: all figures and the verdict of each, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from ..images.resize import resize
from .figures import figure_of, in_order, label_of, summarize
from .measure import Measured, Wanted, measure
from .picture import Shown, report_picture
from .verdict import Verdict, verdict
from .witnesses import Witnesses

SHORT = ("shift", "shift_confidence", "edge_f1", "structure", "text", "text_source", "style", "class_reached")
"""The figures beside an image of the picture; a row of it has room for no more."""


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of a result [1, 3, H, W] of a source [1, 3, h, w], both in [-1, 1]."""

    result: Tensor
    source: Tensor
    measured: Measured
    verdict: Verdict

    @property
    def badness(self) -> tuple[int, float]:
        """What orders results from the worst on, the lowest first: findings, then how sure the edges are."""
        return -len(self.verdict.findings), self.verdict.confidence or 0.0

    def figures(self, names: Sequence[str] | None = None) -> list[str]:
        """Return "label: value" of each figure, or of those that are named. The verdict has said what is in place."""
        values = {key: value for key, value in self.measured.values.items() if key != "in_place"}
        keys = in_order([key for key in values if names is None or key.partition(".")[0] in names])
        return [f"{label_of(key)}: {figure_of(key).show(values[key])}" for key in keys]

    def lines(self, names: Sequence[str] | None = None) -> list[str]:
        """Return the verdict, the figures, or those that are named, and notes, a line each."""
        reached = self.verdict.reached_in_words()
        return [self.verdict.summary(), *reached, *self.figures(names), *self.measured.notes]


def find(result: Tensor, source: Tensor, wanted: Wanted, witnesses: Witnesses) -> Found:
    """Measure a result [1, 3, H, W] against its source [1, 3, h, w], both in [-1, 1]."""
    return Found(
        result,
        source,
        measure(result, source, wanted, witnesses),
        verdict(result, source, wanted, witnesses),
    )


def in_words(found: Sequence[Found], notes: Sequence[str] = ()) -> str:
    """Return all that was found: of one image its figures, of several a line for each and the means."""
    if len(found) == 1:
        return "\n".join([*found[0].lines(), *notes])
    lines = [f"{number}: {one.verdict.summary()}" for number, one in enumerate(found, start=1)]
    keys = in_order({key for one in found for key in one.measured.values})
    means = []
    for key in keys:
        values = [one.measured.values[key] for one in found if key in one.measured.values]
        count = "" if len(values) == len(found) else f" (of {len(values)})"
        means.append(f"{label_of(key)}: {figure_of(key).show_mean(summarize(key, values).mean)}{count}")
    said = dict.fromkeys(note for one in found for note in one.measured.notes)
    return "\n".join([*lines, "", f"Means of {len(found)} images:", *means, *said, *notes])


def as_picture(found: Sequence[Found], most: int) -> Image.Image:
    """Return the picture of at most `most` images: of more, the worst."""
    shown = sorted(enumerate(found, start=1), key=lambda one: one[1].badness)[:most]
    rows = []
    for number, one in shown if len(found) > most else sorted(shown, key=lambda one: one[0]):
        first, *others = one.lines(SHORT)
        size = (one.result.shape[-2], one.result.shape[-1])
        lines = [first if len(found) == 1 else f"{number}: {first}", *others]
        rows.append(Shown(one.result, resize(one.source, size), lines))
    return report_picture(rows)
