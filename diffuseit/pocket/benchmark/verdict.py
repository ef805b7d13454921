"""`diffuseit benchmark pocket --task verdict`: how often the verdict and the outlook are right, and how often not.

Requests within a domain, such as summer to winter, are what the method can do. Requests from a landscape to an animal,
or back, are not: no result can keep the structure and show the target. A run of a single step is too weak to reach
anything. All of these count as failed. Whether a result within a domain failed is told by renders, not by the judge
that the verdict asks: of the source's geometry in all styles, the nearest must be that in the target style.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from ...errors import InputError
from ...evaluation.measure import Wanted
from ...evaluation.outlook import too_far
from ...evaluation.statistics import wilson_interval
from ...evaluation.verdict import verdict
from ...images.sheet import save_sheet
from ...presets import PRESETS, at_strength
from ..models import pocket_models
from ..witnesses import pocket_target, pocket_witnesses
from ..world.render import DOMAINS, STYLES, render, sample_geometry
from ..world.seeds import HELD_OUT, TUNING
from .metrics import mae
from .report import save_report
from .run import BATCH, SHEET_ROWS, translate_tasks
from .tasks import Spec, Tasks, build_tasks, draw_specs, prompt

PRESET = "fast-text"

Kind = Literal["style", "too weak", "other domain"]
KINDS: tuple[Kind, ...] = ("style", "too weak", "other domain")


@dataclass(frozen=True)
class Outcome:
    """One request: whether it failed in truth, what the verdict found, and what the outlook said before."""

    failed: bool
    lost: bool
    missed: bool
    far: bool

    @property
    def warned(self) -> bool:
        """Whether the verdict warns."""
        return self.lost or self.missed


def run_verdict(
    n: int = 50,
    output: Path | None = None,
    *,
    seeds: range = HELD_OUT,
    batch: int = BATCH,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure n requests of each kind, print a table, and write JSON, the table and a contact sheet into `output`."""
    if n < 1:
        raise InputError("n must be at least 1")
    console = console or Console()
    models, specs = pocket_models(), draw_specs(range(n), seeds)
    report: dict[str, Any] = {"n": n, "seeds": "tuning" if seeds is TUNING else "held out", "rows": []}
    shown: dict[str, Tensor] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for kind in KINDS:
            bar = progress.add_task(kind, total=float(n))
            tasks = _tasks(specs, kind)
            preset = at_strength(PRESETS[PRESET], 0.0) if kind == "too weak" else PRESETS[PRESET]
            parts = []
            for start in range(0, n, batch):
                part = tasks[start : start + batch]
                parts.append(translate_tasks(part, models, preset, start))
                progress.advance(bar, len(part))
            pictures = torch.cat(parts)
            report["rows"].append(_row(kind, _outcomes(kind, pictures, tasks)))
            shown |= {"source": tasks.source[:SHEET_ROWS], kind: pictures[:SHEET_ROWS]}
    text = markdown(report)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        save_report(output, "verdict", report, text)
        save_sheet(shown, output / "verdict.png")
        console.print(f"Saved {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def _tasks(specs: Sequence[Spec], kind: Kind) -> Tasks:
    """The requests of a kind. Those of another domain have the same sources."""
    tasks = build_tasks(specs)
    if kind != "other domain":
        return tasks
    targets = []
    for number, spec in enumerate(specs):
        domain = DOMAINS[1 - DOMAINS.index(spec.domain)]
        targets.append(prompt(domain, (spec.target + number) % len(STYLES[domain])))
    return replace(tasks, to=targets)


@torch.no_grad()
def _outcomes(kind: Kind, pictures: Tensor, tasks: Tasks) -> list[Outcome]:
    networks = pocket_witnesses()
    (clip,) = networks.clips.values()
    found = []
    for number, spec in enumerate(tasks.specs):
        picture, source = pictures[number : number + 1], tasks.source[number : number + 1]
        to = tasks.to[number]
        wanted = Wanted(to, tasks.from_[number], target=pocket_target(networks, to))
        findings = verdict(picture, source, wanted, networks).findings
        failed = kind != "style" or _nearest_style(picture, spec) != spec.target
        far = bool((too_far(clip, source, to) or [False])[0])
        found.append(Outcome(failed, "lost" in findings, "missed" in findings, far))
    return found


def _nearest_style(picture: Tensor, spec: Spec) -> int:
    """The style whose render of the source's geometry and texture is nearest to a picture [1, 3, 64, 64]."""
    count = len(STYLES[spec.domain])
    geometry = sample_geometry(spec.domain, [spec.seed] * count)
    renders = render(geometry, range(count), [spec.seed + 1] * count)
    return int(mae(picture.expand(count, -1, -1, -1), renders).argmin())


def _row(kind: Kind, outcomes: list[Outcome]) -> dict[str, Any]:
    failed = [one for one in outcomes if one.failed]
    fine = [one for one in outcomes if not one.failed]
    return {
        "kind": kind,
        "failed": _rate([one.failed for one in outcomes]),
        "lost": _rate([one.lost for one in outcomes]),
        "missed": _rate([one.missed for one in outcomes]),
        "right": _rate([one.warned for one in failed]),
        "wolf": _rate([one.warned for one in fine]),
        "far": _rate([one.far for one in outcomes]),
    }


def _rate(values: list[bool]) -> dict[str, Any]:
    interval = wilson_interval(sum(values), len(values)) if values else None
    return {"count": sum(values), "of": len(values), "interval95": interval}


def markdown(report: dict[str, Any]) -> str:
    """Return the table of a report."""
    lines = [
        f"{report['n']} requests of each kind, {report['seeds']} seeds, {PRESET}",
        "",
        "| request | failed in truth | lost structure | missed target | warned of those that failed "
        "| warned of the others | too far, before the run |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [_cell(row[name]) for name in ("failed", "lost", "missed", "right", "wolf", "far")]
        lines.append(f"| {row['kind']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(rate: dict[str, Any]) -> str:
    if rate["interval95"] is None:
        return "-"
    low, high = rate["interval95"]
    return f"{rate['count']} of {rate['of']} ({100 * low:.0f} to {100 * high:.0f} %)"
