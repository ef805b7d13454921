"""How good the translations get as the U-Net learns: the benchmark's text row at each snapshot of a training run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...api import load_models
from ...errors import InputError
from ...files.atomic import atomic_path
from ...models.ddpm import PixelDDPM
from ..benchmark.run import run_benchmark
from ..world.seeds import TUNING
from . import unet

FIGURES = ("frechet", "style_success", "ssim", "edge_f1", "mae")


def snapshot_images(path: Path) -> int:
    """Images seen, from the name of a snapshot, `unet-<images>.pt`."""
    return int(path.stem.partition("-")[2])


def measure_curve(out: Path, n: int, to: Path) -> dict[str, Any]:
    """Figures of n text-guided translations of tuning seeds for every snapshot in `out`, as JSON in `to`.

    Snapshots that `to` already has with the same n are not measured again. Raises `InputError` if there is none.
    """
    snapshots = sorted(out.glob("unet-*.pt"), key=snapshot_images)
    if not snapshots:
        raise InputError(f"there are no snapshots unet-<images>.pt in {out}: train the U-Net first")
    report = json.loads(to.read_text()) if to.exists() else {}
    known = {point["images"]: point for point in report.get("points", ()) if report.get("n") == n}
    models = load_models("pocket")
    for path in snapshots:
        images = snapshot_images(path)
        if images in known:
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = unet.build()
        network.load_state_dict({key: value.float() for key, value in state.items()})
        ddpm = PixelDDPM(network.eval().requires_grad_(False), unet.DIFFUSION)
        (row,) = run_benchmark(n, rows=("text",), seeds=TUNING, models=replace(models, ddpm=ddpm))["rows"]
        known[images] = {"images": images, **{name: row[name] for name in FIGURES}}
        floor = {"frechet_floor": row["frechet_floor"]}
        report = {"n": n, **floor, "points": [known[key] for key in sorted(known)]}
        with atomic_path(to) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")
    return report
