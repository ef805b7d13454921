"""How time and memory of the pocket world grow with steps, batch, size, CLIP models, and crops.

    python -m benchmarks.growth --json growth.json

Time is processor seconds of a whole run on one thread, without its setup, which hardly depend on other load. Memory is
the estimate of the memory plan, which `benchmarks.memory` verifies.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table

from diffuseit import Models, load_models
from diffuseit.guidance.guidance import Guidance
from diffuseit.guidance.loop import sample
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import TextStyleLoss
from diffuseit.models.clip import CLIPEnsemble
from diffuseit.performance.memory import run_bytes
from diffuseit.pocket.models import pocket_clip
from diffuseit.presets import PRESETS

from .arguments import deliver, machine

AXES: dict[str, tuple[int, ...]] = {
    "steps": (2, 4, 8, 16),
    "batch": (1, 2, 4, 8),
    "size": (64, 128, 192, 256),
    "clips": (1, 2, 3, 5),
    "crops": (1, 2, 4, 8),
}
REPEATS = 3


@dataclass(frozen=True)
class Point:
    """A run. Each axis changes one field."""

    steps: int = 3
    batch: int = 1
    size: int = 64
    clips: int = 1
    crops: int = 3


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command, and return the report."""
    parser = argparse.ArgumentParser(description="Growth of time and memory in the pocket world.")
    parser.add_argument("--only", choices=tuple(AXES))
    parser.add_argument("--values", help="of that axis, with commas")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    models = load_models("pocket")
    rows = []
    for axis in [args.only] if args.only else AXES:
        values = [int(value) for value in args.values.split(",")] if args.values else AXES[axis]
        rows += [{"of": axis, "value": value, **_measure(models, Point(**{axis: value}))} for value in values]
    report = {"machine": machine("cpu"), "rows": rows}
    deliver(report, _table(rows), args.json)
    return report


def _measure(models: Models, point: Point) -> dict[str, float]:
    """Return the best of a few runs."""
    clips = [*models.clip, *(pocket_clip().models[0] for _ in range(point.clips - 1))]
    models = replace(models, clip=CLIPEnsemble(clips))
    preset = PRESETS["pocket-text"]
    own = (replace(x, crops=point.crops) if isinstance(x, TextStyleLoss) else x for x in preset.losses)
    preset = replace(preset, losses=tuple(own))
    losses = preset.build(models, to="winter landscape", from_="summer landscape")
    settings = replace(preset.sampler, steps=40, skip=40 - point.steps, resample=1)
    size = (point.size, point.size)
    source = torch.linspace(-1, 1, 3 * point.size**2).view(1, 3, *size).repeat(point.batch, 1, 1, 1)
    # What is computed once for a source is in the cache after this.
    Guidance(losses, source, models.ddpm, settings, Seeded(0, point.batch))
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        list(sample(models.ddpm, source, losses, settings, 0))
        seconds.append(time.process_time() - began)
    crops = [(models.vit, 0), *((clip, point.crops) for clip in clips)]
    return {
        "processor_seconds": min(seconds),
        "estimated_bytes": run_bytes(models.ddpm, crops, point.batch, size),
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Pocket world, text guided")
    for heading in ("", "", "s", "MiB", "s per unit", "MiB per unit"):
        table.add_column(heading, justify="right")
    for row in rows:
        mebibytes = row["estimated_bytes"] / 2**20
        units = row["value"] ** 2 / 64**2 if row["of"] == "size" else row["value"]
        figures = (row["processor_seconds"], mebibytes, row["processor_seconds"] / units, mebibytes / units)
        table.add_row(row["of"], str(row["value"]), *(f"{figure:.3g}" for figure in figures))
    return table


if __name__ == "__main__":
    main()
