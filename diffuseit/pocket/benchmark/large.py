"""`diffuseit benchmark pocket --task large`: results at two and four times the model's size, against the truth there.

The pocket U-Net has seen whole scenes at 64x64 only, so rows in which it sees tiles, or one large canvas, are at their
worst here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ...errors import InputError
from ...images.full_size import fit_of, restore
from ...images.resize import resize
from ...images.sheet import save_sheet
from ...models.bundle import Models
from ...presets import PRESETS, TEXT_DEFAULT
from ..judge import Judge
from ..models import pocket_judge, pocket_models
from ..world.render import SIZE, View
from ..world.seeds import HELD_OUT, TUNING
from .metrics import wilson_interval
from .report import save_report
from .run import BATCH, against_truth, translate_tasks, with_interval
from .tasks import Tasks, build_tasks, draw_specs, render_specs

SHOWN = 6
"""Images in the contact sheet."""

PRESET = PRESETS[TEXT_DEFAULT]

ROWS = ("source", "resize", "guided", "truth-resize", "truth-guided", "tiles", "canvas")
"""The source; the result of the model's size, resized and with the source's detail; the same of the truth, which is
what can be reached; tiles that are translated alone; and one translation of the whole at the large size."""

STRIDE = SIZE // 2
"""Pixels from one tile to the next."""


def run_large(
    n: int = 100,
    output: Path | None = None,
    *,
    scale: int = 2,
    rows: Sequence[str] = ROWS,
    seeds: range = HELD_OUT,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure n translations at `scale` times the model's size, and print a table.

    Raise `InputError` for rows that there are not.
    """
    if lost := [row for row in rows if row not in ROWS]:
        raise InputError(f"no row is called {', '.join(lost)}: there are {', '.join(ROWS)}")
    console = console or Console()
    models, judge = pocket_models(), pocket_judge()
    specs = draw_specs(range(n), seeds)
    tasks = build_tasks(specs)
    view = View(SIZE * scale, scale)
    styles = ([spec.source for spec in specs], [spec.target for spec in specs])
    source, truth = (render_specs(specs, each, geometry=0, texture=1, view=view) for each in styles)
    small, began = None, time.process_time()
    if {"resize", "guided"} & set(rows):
        small = torch.cat([_translated(tasks[at : at + BATCH], models, at) for at in range(0, n, BATCH)])
    base = time.process_time() - began
    large = (view.size, view.size)
    made: dict[str, Callable[[], Tensor]] = {
        "source": lambda: source,
        "resize": lambda: resize(_there(small), large),
        "guided": lambda: _guided(_there(small), source),
        "truth-resize": lambda: resize(tasks.truth, large),
        "truth-guided": lambda: _guided(resize(truth, (SIZE, SIZE)), source),
        "tiles": lambda: _tiles(source, tasks, models),
        "canvas": lambda: _canvas(source, tasks, models),
    }
    found: list[dict[str, Any]] = []
    shown: dict[str, Tensor] = {}
    for row in rows:
        began = time.process_time()
        pictures = made[row]().clamp(-1, 1)
        seconds = time.process_time() - began + (base if row in ("resize", "guided") else 0)
        found.append(
            {"name": row, **_measure(pictures, truth, tasks, judge), "processor_seconds": round(seconds, 1)}
        )
        shown[row] = pictures[:SHOWN]
        console.print(f"{row}: SSIM {found[-1]['ssim']:.3f}", markup=False, highlight=False)
    report = {
        "n": n,
        "seeds": "tuning" if seeds is TUNING else "held out",
        "size": view.size,
        "preset": PRESET.name,
        "rows": found,
    }
    text = markdown(report)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        name = f"large_{view.size}"
        save_report(output, name, report, text)
        columns = {"source": source[:SHOWN], **shown, "truth": truth[:SHOWN]}
        save_sheet(columns, output / f"{name}.png", scale=1)
        console.print(f"Saved {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def seams(pictures: Tensor) -> Tensor:
    """Return [N]: how much stronger second differences are across the borders of tiles than elsewhere."""
    excess = []
    for axis in (-1, -2):
        bends = pictures.movedim(axis, -1).diff(n=2, dim=-1).abs().mean((1, 2))
        borders = torch.arange(STRIDE, pictures.shape[axis], STRIDE, device="cpu") - 1
        excess.append(bends[:, borders].mean(1) / bends.mean(1).clamp_min(1e-6) - 1)
    return torch.stack(excess).mean(0)


def markdown(report: dict[str, Any]) -> str:
    """Return the table of a report."""
    lines = [
        f"{report['n']} translations at {report['size']} pixels, {report['seeds']} seeds, {report['preset']}",
        "",
        "| row | style % | SSIM | edge F1 | MAE | seam | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        figures = " | ".join(with_interval(row, name) for name in ("ssim", "edge_f1", "mae"))
        lines.append(
            f"| {row['name']} | {100 * row['style_success']:.0f} | {figures} | {row['seam']:+.2f} "
            f"| {row['processor_seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _there(small: Tensor | None) -> Tensor:
    assert small is not None
    return small


def _translated(tasks: Tasks, models: Models, seed: int) -> Tensor:
    return translate_tasks(tasks, models, PRESET, seed).clamp(-1, 1)


def _guided(small: Tensor, source: Tensor) -> Tensor:
    return restore(fit_of(source, small), small, source)


def _canvas(source: Tensor, tasks: Tasks, models: Models) -> Tensor:
    """Translate each source at its full size, as one canvas."""
    return torch.cat(
        [_translated(_with_sources(tasks, at, source), models, at) for at in range(0, len(source), BATCH)]
    )


def _tiles(source: Tensor, tasks: Tasks, models: Models) -> Tensor:
    """Translate overlapping tiles alone, and blend them by windows of a sine."""
    side = source.shape[-1]
    ramp = (torch.arange(SIZE, device="cpu") + 0.5).mul(torch.pi / SIZE).sin()
    window = ramp[:, None] * ramp
    total, weights = torch.zeros_like(source), torch.zeros(side, side)
    for top in range(0, side - SIZE + 1, STRIDE):
        for left in range(0, side - SIZE + 1, STRIDE):
            place = (..., slice(top, top + SIZE), slice(left, left + SIZE))
            total[place] += window * _canvas(source[place], tasks, models)
            weights[place] += window
    return total / weights


def _with_sources(tasks: Tasks, at: int, sources: Tensor) -> Tasks:
    """Return a batch of tasks, from `at` on, with other images as their sources."""
    part = slice(at, at + BATCH)
    return replace(tasks[part], source=sources[part].contiguous())


def _measure(pictures: Tensor, truth: Tensor, tasks: Tasks, judge: Judge) -> dict[str, Any]:
    with torch.no_grad():
        reached = judge(resize(pictures, (SIZE, SIZE))).argmax(1) == tasks.classes
    return {
        "style_success": reached.double().mean().item(),
        "style_success_ci": wilson_interval(int(reached.sum()), len(reached)),
        "seam": (seams(pictures) - seams(truth)).mean().item(),
        **against_truth(pictures, truth),
    }
