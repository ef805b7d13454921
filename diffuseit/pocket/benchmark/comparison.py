"""`diffuseit benchmark pocket --methods`: what each method is worth at what compute. Goes on where it was stopped."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from ...api import load_models
from ...errors import InputError
from ...files.atomic import atomic_path
from ...guidance.loop import Step
from ...images.io import load_picture, save_picture, to_pil, to_tensor
from ...images.recipe import sha256_of_network, weights_of
from ...images.sheet import save_sheet
from ...models.bundle import Models
from ...performance import cache
from ...schema import to_json
from ..models import pocket_judge
from ..world.seeds import HELD_OUT, TUNING
from .compute import Cost, Passes, costs, counted, multiply_adds
from .contenders import KINDS, Contender, Kind, contenders, reference
from .metrics import edge_f1, ssim
from .pareto import save_pareto
from .report import save_report
from .run import BATCH, measure, references, translate_tasks
from .tasks import Tasks, build_tasks, draw_specs

FORMAT = 2
SHOWN = 10
"""Images in a contact sheet."""


@dataclass
class _Bench:
    """What all rows share; the scenes' references are drawn when the first row needs them."""

    n: int
    seeds: range
    models: Models
    batch: int

    @cached_property
    def tasks(self) -> Tasks:
        return build_tasks(draw_specs(range(self.n), self.seeds))

    @cached_property
    def judge(self) -> Any:
        return pocket_judge()

    @cached_property
    def references(self) -> tuple[Tensor, dict[str, Any]]:
        return references(self.tasks, self.judge)

    @cached_property
    def costs(self) -> dict[str, Cost]:
        return costs(self.models)

    @cached_property
    def weights(self) -> dict[str, str]:
        return weights_of(self.models) | {"judge": sha256_of_network(self.judge)}

    def key(self, one: Contender) -> str:
        """Whatever decides the figures of a row."""
        seeds = "tuning" if self.seeds is TUNING else "held out"
        preset = replace(one.preset, name="", description="")
        parts = [FORMAT, self.weights, self.n, seeds, self.batch, to_json(preset)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_comparison(
    n: int = 100,
    output: Path | None = None,
    *,
    methods: str = "all",
    kinds: tuple[Kind, ...] = KINDS,
    rows: str | None = None,
    seeds: range = HELD_OUT,
    models: Models | None = None,
    batch: int = BATCH,
    console: Console | None = None,
    chosen: Sequence[Contender] | None = None,
) -> dict[str, Any]:
    """Measure n translations per row and print a table; with `output` keep each row there as soon as it is done.

    A row that `output` has with the same weights, settings, scenes and n is not measured again. `output` also gets
    the table as JSON and Markdown, a plot of quality against compute and contact sheets. `methods`, `kinds` and
    `rows`: see `contenders`; `chosen` replaces them all. Raises `InputError` for rows that are not there.
    """
    if n < 1:
        raise InputError("n must be at least 1")
    selected = list(contenders(methods, kinds, rows) if chosen is None else chosen)
    console = console or Console()
    bench = _Bench(n, seeds, models or load_models("pocket"), batch)
    folder = None if output is None else output / "rows"
    kept_rows = {} if folder is None else {one.name: _kept(folder, one, bench) for one in selected}
    found: list[dict[str, Any]] = []
    pictures: dict[str, Tensor] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for one in selected:
            bar = progress.add_task(one.name, total=float(n))
            kept = kept_rows.get(one.name)
            if kept is None:
                kept = _measured(one, bench, partial(progress.advance, bar))
                if folder is not None:
                    _keep(folder, one, *kept)
            progress.update(bar, completed=n)
            found.append(kept[0])
            pictures[one.name] = kept[1]
        official = {kind: _official(kind, found, bench) for kind in {one.kind for one in selected}}
    for row in found:
        row["relative_compute"] = row["multiply_adds"] / official[row["kind"]]
    report = {
        "n": n,
        "seeds": "tuning" if seeds is TUNING else "held out",
        "weights": bench.weights,
        "costs": {name: vars(cost) for name, cost in bench.costs.items()},
        "official_multiply_adds": official,
        "rows": found,
    }
    text = markdown(report)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        _save(output, report, text, pictures, bench.tasks)
        console.print(f"Saved {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def _translated(
    one: Contender, bench: _Bench, advance: Callable[[float], None]
) -> tuple[Tensor, Passes, dict[str, float]]:
    """(images, passes of all of them together, seconds)."""
    tasks, models, preset = bench.tasks, bench.models, one.preset
    began, worked = time.monotonic(), time.process_time()
    parts = []
    cache.clear()  # a source is looked at once in every row
    with counted(models) as passes:
        for start in range(0, len(tasks), bench.batch):
            part = tasks[start : start + bench.batch]

            def on_step(step: Step, size: int = len(part)) -> None:
                advance(size / step.total)

            parts.append(translate_tasks(part, models, preset, start, on_step))
    seconds = {
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(time.process_time() - worked, 1),
    }
    return torch.cat(parts), passes, seconds


def _measured(
    one: Contender, bench: _Bench, advance: Callable[[float], None]
) -> tuple[dict[str, Any], Tensor]:
    """The row and its first images."""
    tasks = bench.tasks
    pictures, passes, seconds = _translated(one, bench, advance)
    features, floor = bench.references
    row = {
        "name": one.name,
        "key": bench.key(one),
        "kind": one.kind,
        "method": one.method,
        "steps": one.steps,
        **measure(pictures, tasks, bench.judge, features),
        **floor,
        "by_domain": _by_domain(pictures, tasks, bench.judge),
        "passes": {
            name: [passes.forward[name] / len(tasks), passes.backward[name] / len(tasks)]
            for name in bench.costs
        },
        "multiply_adds": multiply_adds(passes, bench.costs) / len(tasks),
        **seconds,
        "preset": to_json(one.preset),
    }
    return row, pictures[:SHOWN]


@torch.no_grad()
def _by_domain(pictures: Tensor, tasks: Tasks, judge: Any) -> dict[str, dict[str, float]]:
    """Figures of landscapes and animals apart."""
    hits = (judge(pictures).argmax(1) == tasks.classes).double()
    values = {
        "style_success": hits,
        "ssim": ssim(pictures, tasks.truth),
        "edge_f1": edge_f1(pictures, tasks.truth),
    }
    domains = [spec.domain for spec in tasks.specs]
    return {
        domain: {
            name: value[[i for i, other in enumerate(domains) if other == domain]].mean().item()
            for name, value in values.items()
        }
        for domain in dict.fromkeys(domains)
    }


def _official(kind: Kind, found: list[dict[str, Any]], bench: _Bench) -> float:
    """Multiply-adds of the paper's algorithm per image: of its row, else of one image made for it."""
    one = reference(kind)
    for row in found:
        if row["name"] == one.name:
            return row["multiply_adds"]
    _, passes, _ = _translated(one, _Bench(1, bench.seeds, bench.models, 1), lambda done: None)
    return multiply_adds(passes, bench.costs)


def _kept(folder: Path, one: Contender, bench: _Bench) -> tuple[dict[str, Any], Tensor] | None:
    """A row that was measured before under the same conditions. Raise `InputError` if its files are damaged."""
    record, strip = folder / f"{one.name}.json", folder / f"{one.name}.png"
    if not record.exists() or not strip.exists():
        return None
    damaged = InputError(f"{record} or {strip.name} is damaged: delete it to measure the row again")
    try:
        row = json.loads(record.read_bytes())
        if not isinstance(row, dict):
            raise damaged
        if row.get("key") != bench.key(one):
            return None
        if row.pop("sha256", None) != _sha256_of_row(row):
            raise damaged
        return row, torch.cat(to_tensor(load_picture(strip)).split(64, dim=-1))
    except (ValueError, OSError, RecursionError, RuntimeError):
        # A RuntimeError is torch's for a strip that is no row of images; an InputError is a ValueError.
        raise damaged from None


def _keep(folder: Path, one: Contender, row: dict[str, Any], pictures: Tensor) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(to_pil(torch.cat(list(pictures), dim=-1)), folder / f"{one.name}.png")
    with atomic_path(folder / f"{one.name}.json") as path:
        path.write_text(json.dumps(row | {"sha256": _sha256_of_row(row)}, indent=1) + "\n")


def _sha256_of_row(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def _save(output: Path, report: dict[str, Any], text: str, pictures: dict[str, Tensor], tasks: Tasks) -> None:
    save_report(output, "methods", report, text)
    for kind in KINDS:
        rows = [row for row in report["rows"] if row["kind"] == kind]
        if rows:
            save_pareto(rows, output / f"pareto-{kind}.png", f"Pocket world, {kind}, n = {report['n']}")
        for steps in dict.fromkeys(row["steps"] for row in rows):
            shown = {
                row["method"]: pictures[row["name"]]
                for row in rows
                if row["steps"] == steps and row["name"] in pictures
            }
            if shown:
                first = {"source": tasks.source[:SHOWN]}
                if kind == "image":
                    first["style image"] = tasks.style[:SHOWN]
                columns = {**first, **shown, "ground truth": tasks.truth[:SHOWN]}
                save_sheet(columns, output / f"sheet-{kind}-{steps}.png", scale=2)


def markdown(report: dict[str, Any]) -> str:
    """Return the figures as a table. Passes are images through a network, forward + backward, per translation."""
    lines = [
        f"{report['n']} {report['seeds'].replace(' ', '-')} translations per row, with 95% intervals. Compute is a "
        "share of the paper's algorithm (`diffuseit`, official). Passes are forward + backward.",
        "",
        "| guide | method | steps | style % | SSIM | edge F1 | MAE | Fréchet | U-Net | ViT | CLIP | compute |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = row["style_success_ci"]
        cells = [row["kind"], row["method"], row["steps"]]
        cells.append(f"{100 * row['style_success']:.0f} ({100 * low:.0f} to {100 * high:.0f})")
        for name in ("ssim", "edge_f1", "mae"):
            interval = row[f"{name}_ci"]
            half = f" ±{(interval[1] - interval[0]) / 2:.3f}" if interval else ""
            cells.append(f"{row[name]:.3f}{half}")
        cells.append("-" if row["frechet"] is None else f"{row['frechet']:.2f}")
        cells += [f"{forward:.0f} + {backward:.0f}" for forward, backward in row["passes"].values()]
        cells.append(f"{row['relative_compute']:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    floor = report["rows"][0]["frechet_floor"] if report["rows"] else None
    if floor is not None:
        lines += ["", f"Fréchet distance of as many renders: {floor:.2f}."]
    return "\n".join(lines) + "\n"
