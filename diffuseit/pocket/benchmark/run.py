"""`diffuseit benchmark pocket`: what the translations of held-out scenes are worth, and what each part adds."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from ...api import load_models, translate_with
from ...errors import InputError
from ...files.atomic import atomic_path
from ...guidance.loop import Step
from ...guidance.settings import SamplerSettings
from ...images.sheet import save_sheet
from ...losses import RangeLoss, SemanticDivergenceLoss, StructureLoss
from ...models.bundle import Models
from ...presets import PRESETS, Preset
from ..judge import Judge
from ..models import pocket_judge
from ..world.seeds import HELD_OUT, TUNING
from . import metrics
from .tasks import Tasks, build_tasks, draw_specs, reference_renders

BATCH = 20
SHEET_ROWS = 12
_REFERENCE_RENDERS = 2000
_FLOOR_DRAWS = 8

Edit = Callable[[Preset], Preset]


@dataclass(frozen=True)
class Variant:
    """A preset, or with `edit` a variant of it."""

    preset: str
    edit: Edit = lambda preset: preset

    def of(self, settings: SamplerSettings | None = None) -> Preset:
        """The edited preset; `settings` replaces its sampler's before the edit."""
        preset = PRESETS[self.preset]
        return self.edit(preset if settings is None else replace(preset, sampler=settings))


def _without(kind: type) -> Edit:
    return lambda preset: replace(
        preset, losses=tuple(loss for loss in preset.losses if not isinstance(loss, kind))
    )


def _without_contrastive(preset: Preset) -> Preset:
    losses = (replace(x, contrastive=0.0) if isinstance(x, StructureLoss) else x for x in preset.losses)
    return replace(preset, losses=tuple(losses))


def _structure_only(preset: Preset) -> Preset:
    losses = (loss for loss in preset.losses if isinstance(loss, StructureLoss | RangeLoss))
    return replace(preset, losses=tuple(losses))


def _without_resampling(preset: Preset) -> Preset:
    return replace(preset, sampler=replace(preset.sampler, resample=1))


PICTURES = ("source", "blur", "mean", "floor", "ceiling")
"""Rows that no method made: attributes of `Tasks`. All but the last are cheats, which must lose in some figure."""

VARIANTS: dict[str, Variant] = {
    "sdedit": Variant("pocket-text", lambda preset: replace(preset, losses=())),
    "text": Variant("pocket-text"),
    "image": Variant("pocket-image"),
    "without_structure": Variant("pocket-text", _without(StructureLoss)),
    "without_contrastive": Variant("pocket-text", _without_contrastive),
    "without_divergence": Variant("pocket-text", _without(SemanticDivergenceLoss)),
    "without_resampling": Variant("pocket-text", _without_resampling),
    "structure_only": Variant("pocket-text", _structure_only),
}
ROWS = (
    "source",
    "blur",
    "mean",
    "sdedit",
    "floor",
    "ceiling",
    *(name for name in VARIANTS if name != "sdedit"),
)


def translate_tasks(
    tasks: Tasks,
    models: Models,
    preset: Preset,
    seed: int = 0,
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Translate one batch by `preset`, item i with seed + i: [N, 3, 64, 64] in [-1, 1]."""
    by_image = preset.kind == "image"
    style = tasks.style.to(models.ddpm.device) if by_image else None
    to, from_ = (None, None) if by_image else (tasks.to, tasks.from_)
    return translate_with(
        models.ddpm,
        tasks.source,
        preset.build(models, to, from_, style),
        preset.sampler,
        seed,
        colors=style if preset.color_match else None,
        on_step=on_step,
        allow_unguided=True,
    ).pictures


def against_truth(pictures: Tensor, truth: Tensor) -> dict[str, Any]:
    """SSIM, edge F1 and MAE of pictures against the truth, with their intervals."""
    row: dict[str, Any] = {}
    for name, metric in (("ssim", metrics.ssim), ("edge_f1", metrics.edge_f1), ("mae", metrics.mae)):
        values = metric(pictures, truth)
        row |= {name: values.mean().item(), f"{name}_ci": metrics.mean_interval(values)}
    return row


def with_interval(row: dict[str, Any], name: str) -> str:
    """A figure of a row with the half width of its interval, if it has one."""
    interval = row[f"{name}_ci"]
    return f"{row[name]:.3f}" + ("" if interval is None else f" ±{(interval[1] - interval[0]) / 2:.3f}")


@torch.no_grad()
def measure(pictures: Tensor, tasks: Tasks, judge: Judge, reference: Tensor) -> dict[str, Any]:
    """The figures of one row; `reference` [M, D] are the judge's features of renders of the same styles."""
    features = judge.features(pictures)
    hits = int((judge.head(features).argmax(1) == tasks.classes).sum())
    row: dict[str, Any] = {
        "style_success": hits / len(tasks),
        "style_success_ci": metrics.wilson_interval(hits, len(tasks)),
    }
    row |= against_truth(pictures, tasks.truth)
    row["frechet"] = metrics.frechet_distance(features, reference) if len(tasks) > 1 else None
    row["frechet_ci"] = None  # a bootstrap would mislead: repeated images raise the distance
    return row


def run_benchmark(
    n: int = 100,
    output: Path | None = None,
    *,
    rows: Sequence[str] = ROWS,
    seeds: range = HELD_OUT,
    models: Models | None = None,
    settings: SamplerSettings | None = None,
    batch: int = BATCH,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure n translations per row, print a table, and write JSON and a contact sheet into `output`.

    `seeds` may be `TUNING`, for finding settings; `settings` replaces those of every preset.
    """
    unknown = [name for name in rows if name not in ROWS]
    if unknown or n < 1:
        raise InputError(
            f"Unknown rows {unknown}: use {', '.join(ROWS)}" if unknown else "n must be at least 1"
        )
    console = console or Console()
    models = models or load_models("pocket")
    judge = pocket_judge()
    tasks = build_tasks(draw_specs(range(n), seeds))
    reference, floor = references(tasks, judge)
    report: dict[str, Any] = {
        "n": n,
        "preset": {name: VARIANTS[name].preset for name in rows if name in VARIANTS},
        "seeds": "tuning" if seeds is TUNING else "held out",
        "dtype": str(next(models.vit.parameters()).dtype).removeprefix("torch."),
        "rows": [],
    }
    sheet: dict[str, Tensor] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in rows:
            began = time.monotonic()
            bar = progress.add_task(name, total=float(n))
            pictures = _pictures(name, tasks, models, settings, batch, partial(progress.advance, bar))
            progress.update(bar, completed=n)
            seconds = round(time.monotonic() - began, 1)
            report["rows"].append(
                {"name": name, **measure(pictures, tasks, judge, reference), **floor, "seconds": seconds}
            )
            sheet[name] = pictures[:SHEET_ROWS]
    console.print(_table(report))
    if output:
        output.mkdir(parents=True, exist_ok=True)
        with atomic_path(output / "benchmark.json") as path:
            path.write_text(json.dumps(report, indent=1) + "\n")
        shown: dict[str, Tensor] = {"source": tasks.source[:SHEET_ROWS]}
        shown.update({name: sheet[name] for name in ("sdedit", "text", "image") if name in sheet})
        shown["ground truth"] = tasks.truth[:SHEET_ROWS]
        save_sheet(shown, output / "contact_sheet.png")
        saved = f"Saved {output / 'benchmark.json'} and {output / 'contact_sheet.png'}"
        console.print(saved, markup=False, highlight=False, soft_wrap=True)
    return report


def _pictures(
    name: str,
    tasks: Tasks,
    models: Models,
    settings: SamplerSettings | None,
    batch: int,
    advance: Callable[[float], None],
) -> Tensor:
    if name in PICTURES:
        return getattr(tasks, name)
    parts = []
    for start in range(0, len(tasks), batch):
        part = tasks[start : start + batch]

        def on_step(step: Step, size: int = len(part)) -> None:
            advance(size / step.total)

        parts.append(translate_tasks(part, models, VARIANTS[name].of(settings), start, on_step))
    return torch.cat(parts)


@torch.no_grad()
def references(tasks: Tasks, judge: Judge) -> tuple[Tensor, dict[str, Any]]:
    """Features of about 2,000 renders of the target styles, and the distance to them of n further renders."""

    def features(copies: range) -> Tensor:
        return torch.cat([judge.features(reference_renders(tasks.specs, copy)) for copy in copies])

    copies = -(-_REFERENCE_RENDERS // len(tasks))
    copies = min(copies, 100)
    reference = features(range(copies))
    if len(tasks) < 2:
        return reference, {"frechet_floor": None, "frechet_floor_range": None}
    draws = [
        metrics.frechet_distance(features(range(copies + draw, copies + draw + 1)), reference)
        for draw in range(_FLOOR_DRAWS)
    ]
    return reference, {
        "frechet_floor": sum(draws) / len(draws),
        "frechet_floor_range": (min(draws), max(draws)),
    }


def _table(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"Pocket world, {report['n']} {report['seeds']} translations (95 % intervals)",
        title_justify="left",
    )
    table.add_column("row")
    for heading in ("style %", "SSIM", "edge F1", "MAE", "Fréchet", "s"):
        table.add_column(heading, justify="right")
    for row in report["rows"]:
        low, high = row["style_success_ci"]
        cells = [f"{100 * row['style_success']:.0f} ({100 * low:.0f} to {100 * high:.0f})"]
        cells += [with_interval(row, name) for name in ("ssim", "edge_f1", "mae")]
        cells.append("-" if row["frechet"] is None else f"{row['frechet']:.3f}")
        table.add_row(row["name"], *cells, f"{row['seconds']:.0f}")
    floor = report["rows"][0]["frechet_floor"] if report["rows"] else None
    if floor is not None:
        table.caption = f"Fréchet distance of as many renders: {floor:.3f}"
    return table
