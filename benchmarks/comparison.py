"""Run both sides of a comparison, each in its own process, one after the other on an idle machine."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from diffuseit.errors import InputError

from .settings import Task

ROOT = Path(__file__).resolve().parents[1]


def compare(
    task: Task,
    scale: str,
    variants: Sequence[str],
    checkout: Path | None,
    threads: int | None = None,
    count_memory: bool = False,
) -> list[dict[str, Any]]:
    """Return the reports of the official code (if there is a `checkout`) and of each variant of ours.

    Ours include the distance of their images from the official ones, which is 0 up to rounding. On a GPU, where the
    official code draws other random numbers, it is the distance from the first variant. `count_memory`: glibc returns
    freed memory at once, so that the resident size is the memory in use; this costs time. Raise `InputError` if the
    folder is not a checkout, and `RuntimeError` with what a side printed.
    """
    if checkout is not None and not (checkout / "optimization" / "image_editor.py").is_file():
        raise InputError(
            f"{checkout} is no checkout of cyclomon/DiffuseIT: optimization/image_editor.py is missing"
        )
    sides = ([] if checkout is None else ["official"]) + list(variants)
    reports, reference = [], None
    for who in sides:
        with tempfile.TemporaryDirectory() as folder:
            order = {"who": who, "task": asdict(task), "scale": scale, "threads": threads}
            order["count_memory"] = count_memory
            report = _run(
                {**order, "checkout": None if checkout is None else str(checkout.resolve())}, folder
            )
            pictures = load_file(Path(folder, "pictures.safetensors"))
        if reference is None:
            reference = pictures if who != "official" or task.device == "cpu" else None
        else:
            distances = [(pictures[key] - reference[key]).abs().max().item() for key in sorted(reference)]
            report["max_difference_first_step"] = distances[0]
            report["max_difference_last_step"] = distances[-1]
        reports.append(report)
        # Paid machines end runs without asking: what is measured is said at once.
        seconds, gigabytes = report["seconds_per_step"], report["peak_bytes"] / 1e9
        print(f"{who}: {seconds:.3f} s a step, peak {gigabytes:.2f} GB", file=sys.stderr, flush=True)
    return reports


def _run(order: dict[str, Any], folder: str) -> dict[str, Any]:
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if order["task"]["device"] == "cpu" else {}
    malloc = {"MALLOC_MMAP_THRESHOLD_": "65536"} if order["count_memory"] else {}
    threads = {"OMP_NUM_THREADS": str(order["threads"])} if order["threads"] else {}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.subject", folder],
        input=json.dumps(order),
        text=True,
        capture_output=True,
        env={**os.environ, **hidden, **malloc, **threads, "PYTHONPATH": path},
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(f"{order['who']} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(Path(folder, "report.json").read_text())
