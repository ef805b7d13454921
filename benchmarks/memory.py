"""Peak memory of a step beside the weights: measured, estimated, and that of the official code.

    python -m benchmarks.memory --official PATH --mode text --steps 2 --device cpu --json

On a GPU the allocator's peak; on a CPU the resident size, with glibc told to give freed memory back at once.
"""

from typing import Any

from rich.table import Table

from .arguments import deliver, machine, parser, task_of
from .comparison import compare


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the command, and return the report."""
    args = parser("Peak memory of a step, as ratios.", "default,low-memory").parse_args(arguments)
    task, variants = task_of(args)
    rows = compare(task, args.scale, variants, args.official, args.threads, count_memory=True)
    official = rows[0]["peak_bytes"] - rows[0]["base_bytes"] if args.official else None
    for row in rows:
        row["step_bytes"] = row["peak_bytes"] - row["base_bytes"]
        row["ratio_to_official"] = official / row["step_bytes"] if official else None
        row["estimated_of_measured"] = (
            row["estimated_bytes"] / row["step_bytes"] if "estimated_bytes" in row else None
        )
    report = {"task": vars(task), "scale": args.scale, "machine": machine(args.device), "rows": rows}
    deliver(report, _table(report), args.json)
    return report


def _table(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"{report['task']['mode']}, {report['scale']} networks, {report['machine']['device']}"
    )
    for heading in ("", "weights and library MiB", "step MiB", "official / this", "estimated %", "s / step"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in report["rows"]:
        ratio, estimated = row["ratio_to_official"], row["estimated_of_measured"]
        table.add_row(
            row["who"],
            f"{row['base_bytes'] / 2**20:.0f}",
            f"{row['step_bytes'] / 2**20:.0f}",
            "-" if ratio is None else f"{ratio:.2f}",
            "-" if estimated is None else f"{100 * estimated:.0f}",
            f"{row['seconds_per_step']:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
