"""Plot the report of `benchmarks.growth`: the cost of each axis, against linear growth.

python -m benchmarks.plot growth.json docs/growth.png
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from diffuseit.files.atomic import atomic_path

matplotlib.use("Agg")
LABELS = {"size": "side in pixels", "clips": "CLIPs"}
MEASURES = {"processor_seconds": ("time", "#3b6fb5"), "estimated_bytes": ("memory", "#c4622d")}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a PNG with a panel for each axis, both measures relative to the first value of the axis."""
    axes = list(dict.fromkeys(row["of"] for row in rows))
    figure, panels = plt.subplots(
        1, len(axes), figsize=(2.4 * len(axes), 2.6), squeeze=False, layout="constrained"
    )
    for panel, axis in zip(panels[0], axes, strict=True):
        points = [row for row in rows if row["of"] == axis]
        units = [(row["value"] / points[0]["value"]) ** (2 if axis == "size" else 1) for row in points]
        panel.plot(units, units, color="0.75", linewidth=1, linestyle="--", label="linear")
        for key, (name, color) in MEASURES.items():
            panel.plot(
                units, [row[key] / points[0][key] for row in points], "o-", color=color, ms=4, label=name
            )
        panel.set(xscale="log", yscale="log", title=LABELS.get(axis, axis))
        panel.set_xticks(units, [str(row["value"]) for row in points], minor=False)
        panel.minorticks_off()
        panel.set_yticks(ticks := [2**n for n in range(5)], [f"×{tick}" for tick in ticks])
    panels[0][0].legend(frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["rows"], Path(sys.argv[2]))
