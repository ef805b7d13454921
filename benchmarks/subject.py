"""One side of a comparison in a process of its own: `python -m benchmarks.subject FOLDER < {"who": ..., "task": ...}`.

It writes report.json and pictures.safetensors in FOLDER.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from . import official, ours
from .networks import SCALES
from .settings import Task


def main(folder: Path, order: dict[str, Any]) -> None:
    """Run `order` = {"who": "official" or a variant, "task", "scale", "checkout", "threads"}."""
    if order["threads"]:
        torch.set_num_threads(order["threads"])
    task, scale, estimate = Task(**order["task"]), SCALES[order["scale"]], {}
    if order["who"] == "official":
        meter, pictures = official.run(task, scale, Path(order["checkout"]), folder)
    else:
        meter, pictures, estimate = ours.run(task, scale, order["who"])
    save_file({f"{i:04}": picture for i, picture in enumerate(pictures)}, folder / "pictures.safetensors")
    report = {"who": order["who"], "threads": torch.get_num_threads(), **meter.report(), **estimate}
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), json.load(sys.stdin))
