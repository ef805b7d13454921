"""`diffuseit benchmark pocket --task labels`: what translated training images with their old labels are worth.

Somebody has labeled images of style A, and needs a segmenter for style B. One small segmenter is trained for each way
to make do, and tested on renders of B that it has not seen. The recovered gap is how much of the way from A alone to
labeled images of B a training set gets: (mIoU - mIoU of A) / (mIoU of B - mIoU of A).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ...errors import InputError
from ...evaluation.registration import register
from ...images.color import match_colors_batch
from ...images.sheet import save_sheet
from ...presets import IMAGE_DEFAULT, PRESETS, TEXT_DEFAULT
from ..models import pocket_models
from ..world.render import DOMAINS, SEGMENTS, STYLES, render, sample_geometry, segment
from ..world.seeds import HELD_OUT, TUNING
from .metrics import Interval
from .processes import each
from .report import save_report
from .run import BATCH, translate_tasks
from .segmenter import confusion, mean_iou, train_segmenter
from .tasks import Spec, Tasks, build_tasks

ROWS = ("source", "jitter", "colors", "text", "image", "moved", "truth")
"""Images of A; the same, with all colors changed at random; with the colors of an image of B; translated by the text
and by that image; the translation by the text, moved by `MOVED` pixels, as an editor may do that keeps no pixel grid;
and images of B."""

MOVED = 4
TESTED = 200
"""Images of B that a segmenter is tested on, all of other geometries."""

_RESAMPLED = 2000
_APART = 10_000
"""Scenes from those of one pair of styles to those of the next."""


@dataclass(frozen=True)
class Pair:
    """Labeled images of a domain in the style `source` are there, and a segmenter for `target` is wanted."""

    domain: str
    source: int
    target: int
    number: int

    @property
    def name(self) -> str:
        styles = STYLES[self.domain]
        return f"{styles[self.source]} to {styles[self.target]}"

    def specs(self, seeds: range, count: int, first: int = 0) -> list[Spec]:
        """The scenes number `first` and on, which no other pair has."""
        start = seeds.start + 8 * ((self.number + 1) * _APART + first)
        return [Spec(self.domain, self.source, self.target, start + 8 * index) for index in range(count)]


PAIRS = tuple(
    Pair(domain, style, (style + 1) % len(STYLES[domain]), number * len(STYLES[domain]) + style)
    for number, domain in enumerate(DOMAINS)
    for style in range(len(STYLES[domain]))
)
"""Each style of each domain is the source once and the target once."""


def run_labels(
    n: int = 100,
    output: Path | None = None,
    *,
    rows: Sequence[str] = ROWS,
    seeds: range = HELD_OUT,
    pairs: Sequence[Pair] = PAIRS,
    processes: int = 1,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train segmenters on n images of each pair of styles, print a table, and write JSON, the table and a sheet.

    With `processes`, so many pairs are measured at a time, on one thread each. Raise `InputError` for unknown rows.
    """
    if n < 1:
        raise InputError("n must be at least 1")
    if lost := [row for row in rows if row not in ROWS]:
        raise InputError(f"no row is called {', '.join(lost)}: there are {', '.join(ROWS)}")
    console = console or Console()
    wanted = [row for row in ROWS if row in rows or row in ("source", "truth")]
    found, shown = [], []
    for one, first in each(partial(measure_pair, n=n, rows=wanted, seeds=seeds), pairs, processes):
        figures = ", ".join(f"{row} {value['miou']:.3f}" for row, value in one["rows"].items())
        console.print(f"{one['pair']}: mIoU {figures}", markup=False, highlight=False, soft_wrap=True)
        found.append(one)
        shown.append(torch.from_numpy(first))
    report = {
        "n": n,
        "tested": TESTED,
        "seeds": "tuning" if seeds is TUNING else "held out",
        "presets": {"text": TEXT_DEFAULT, "image": IMAGE_DEFAULT},
        "rows": [_summary(row, found, n * len(found)) for row in wanted],
        "pairs": found,
    }
    text = markdown(report)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        save_report(output, "labels", report, text)
        columns = [row for row in wanted if row != "jitter"]
        save_sheet(dict(zip(columns, torch.stack(shown, 1), strict=True)), output / "labels.png")
        console.print(f"Saved {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def measure_pair(pair: Pair, n: int, rows: Sequence[str], seeds: range) -> tuple[dict[str, Any], np.ndarray]:
    """Return the figures of one pair of styles, and the first image of each row but "jitter": [R, 3, 64, 64]."""
    classes = len(SEGMENTS[pair.domain])
    tasks = build_tasks(pair.specs(seeds, n))
    labels = segment(sample_geometry(pair.domain, [spec.seed for spec in tasks.specs]))
    tests = [spec.seed for spec in pair.specs(seeds, TESTED, first=_APART // 2)]
    geometry = sample_geometry(pair.domain, tests)
    unseen, truth = render(geometry, [pair.target] * TESTED, [seed + 1 for seed in tests]), segment(geometry)
    sets = training_sets(tasks, rows)
    found: dict[str, Any] = {}
    for row in rows:
        network = train_segmenter(sets[row], labels, classes, pair.number, jitter=row == "jitter")
        lies = register(sets[row], tasks.source)
        found[row] = {
            "miou": mean_iou(confusion(network, unseen, truth, classes)),
            "in_place": int(lies.in_place.sum()),
            "moved": int((lies.found & ~lies.in_place).sum()),
            "largest_shift": lies.distance[lies.found].max().item() if lies.found.any() else None,
        }
    first = np.stack([sets[row][0].numpy() for row in rows if row != "jitter"])
    return {"pair": pair.name, "domain": pair.domain, "rows": found}, first


def training_sets(tasks: Tasks, rows: Sequence[str]) -> dict[str, Tensor]:
    """Return the images [N, 3, 64, 64] of each row. Those of "jitter" are changed while a network trains."""
    made: dict[str, Tensor] = {"source": tasks.source, "jitter": tasks.source, "truth": tasks.truth}
    if "colors" in rows:
        made["colors"] = match_colors_batch(tasks.source, tasks.style)
    if {"text", "moved"} & set(rows):
        made["text"] = _translated(tasks, TEXT_DEFAULT)
        made["moved"] = made["text"].roll(MOVED, -1)
    if "image" in rows:
        made["image"] = _translated(tasks, IMAGE_DEFAULT)
    return made


def recovered(pairs: Sequence[dict[str, Any]], row: str) -> tuple[float, Interval | None]:
    """Return the recovered gap over all pairs, with a 95 % interval: the pairs are resampled (bootstrap)."""
    alone, made, there = (
        torch.tensor([pair["rows"][name]["miou"] for pair in pairs], dtype=torch.float64, device="cpu")
        for name in ("source", row, "truth")
    )

    def of(index: Tensor) -> Tensor:
        return (made[index] - alone[index]).sum(-1) / (there[index] - alone[index]).sum(-1)

    whole = of(torch.arange(len(pairs))).item()
    if len(pairs) < 2:
        return whole, None
    draws = torch.randint(
        len(pairs), (_RESAMPLED, len(pairs)), generator=torch.Generator().manual_seed(0), device="cpu"
    )
    low, high = of(draws).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")).tolist()
    return whole, (low, high)


def markdown(report: dict[str, Any]) -> str:
    """Return the table of a report."""
    lines = [
        f"{report['n']} training images of each of {len(report['pairs'])} pairs of styles, {report['seeds']} seeds",
        "",
        "| trained on | mIoU on B | recovered gap % | in place | moved | largest shift, px |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        gap, interval = f"{100 * row['recovered']:.0f}", row["recovered_ci"]
        if interval is not None and row["name"] not in ("source", "truth"):
            gap += f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"
        place = f"{row['in_place']} of {row['images']} | {row['moved']}"
        shift = "-" if row["largest_shift"] is None else f"{row['largest_shift']:.2f}"
        lines.append(f"| {row['name']} | {row['miou']:.3f} | {gap} | {place} | {shift} |")
    return "\n".join(lines) + "\n"


def _summary(row: str, pairs: Sequence[dict[str, Any]], images: int) -> dict[str, Any]:
    """The figures of a row over all pairs."""
    found = [pair["rows"][row] for pair in pairs]
    gap, interval = recovered(pairs, row)
    return {
        "name": row,
        "miou": sum(one["miou"] for one in found) / len(found),
        "recovered": gap,
        "recovered_ci": interval,
        "images": images,
        "in_place": sum(one["in_place"] for one in found),
        "moved": sum(one["moved"] for one in found),
        "largest_shift": max(
            (one["largest_shift"] for one in found if one["largest_shift"] is not None), default=None
        ),
    }


def _translated(tasks: Tasks, preset: str) -> Tensor:
    models, parts = pocket_models(), range(0, len(tasks), BATCH)
    return torch.cat([translate_tasks(tasks[at : at + BATCH], models, PRESETS[preset], at) for at in parts])
