"""Seconds of a step, compared with the official code and with what the machine could do.

    python -m benchmarks.speed --official PATH --mode text --steps 3 --device cpu --json

Both sides run the same steps on the same random networks with the same random numbers, one after the other.
"""

from typing import Any

import torch
from rich.table import Table

from . import floor
from .arguments import deliver, machine, parser, task_of
from .comparison import compare
from .networks import SCALES
from .ours import VARIANTS


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the command, and return the report."""
    args = parser("Time of a step, as ratios.", "default").parse_args(arguments)
    task, variants = task_of(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    flops = floor.needed_flops(task, SCALES[args.scale])
    default = torch.float16 if task.half else torch.float32
    dtypes = {name: VARIANTS[name][1] or default for name in variants} | {"official": default}
    rates = {dtype: floor.measure(args.device, dtype) for dtype in set(dtypes.values())}
    rows = compare(task, args.scale, variants, args.official, args.threads)
    for row in rows:
        rate = rates[dtypes[row["who"]]]
        _ratios(row, rows[0] if args.official else None, "", sum(flops.values()) / rate.flops)
        if args.device == "cpu" and row["threads"] == 1:
            floor_seconds = sum(flops.values()) / rate.processor_flops
            _ratios(row, rows[0] if args.official else None, "processor_", floor_seconds)
    report = {
        "task": vars(task),
        "scale": args.scale,
        "machine": machine(args.device)
        | {
            str(dtype): {"flops_per_second": r.flops, "bytes_per_second": r.bytes}
            for dtype, r in rates.items()
        },
        "needed_flops_per_step": flops,
        "rows": rows,
    }
    deliver(report, _table(report), args.json)
    return report


def _ratios(row: dict[str, Any], official: dict[str, Any] | None, kind: str, floor_seconds: float) -> None:
    """Return the ratios. `kind` is "" for wall seconds, "processor_" for processor seconds."""
    seconds = row[f"{kind}seconds_per_step"]
    row[f"{kind}floor_seconds"] = floor_seconds
    row[f"{kind}share_of_floor"] = floor_seconds / seconds
    row[f"{kind}ratio_to_official"] = official[f"{kind}seconds_per_step"] / seconds if official else None


def _table(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"{report['task']['mode']}, {report['scale']} networks, {report['machine']['device']}"
    )
    for heading in (
        "",
        "s / step",
        "official / this",
        "% of floor",
        "passes forward + backward",
        "difference",
    ):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in report["rows"]:
        for kind in ("", "processor_"):
            if f"{kind}share_of_floor" not in row:
                continue
            ratio = row[f"{kind}ratio_to_official"]
            first = f"{row['max_difference_first_step']:.1e}" if "max_difference_first_step" in row else "-"
            table.add_row(
                row["who"] if not kind else "  processor time",
                f"{row[f'{kind}seconds_per_step']:.3f}",
                "-" if ratio is None else f"{ratio:.2f}",
                f"{100 * row[f'{kind}share_of_floor']:.0f}",
                *(["", ""] if kind else [_calls(row["calls_per_step"]), first]),
            )
    return table


def _calls(calls: dict[str, list[float]]) -> str:
    """Return the passes of the U-Net, the ViT, and all CLIP networks together; "-" if they were not counted."""
    if not calls:
        return "-"
    clips = [pair for name, pair in calls.items() if name.startswith("clip")]
    shown = {
        "U": calls["unet"],
        "V": calls["vit"],
        **({"C": [sum(column) for column in zip(*clips, strict=True)]} if clips else {}),
    }
    return ", ".join(f"{name} {there:g}+{back:g}" for name, (there, back) in shown.items())


if __name__ == "__main__":
    main()
