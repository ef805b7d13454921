"""The memory plan of the paper's setup, estimated in a minute without using that memory.

    python -m benchmarks.plan --json

Estimates weights and step in both precisions, for every way to save memory. Nothing is measured.
"""

import argparse
from typing import Any

import torch
from rich.table import Table
from torch import nn

from diffuseit.models.clip import CLIP
from diffuseit.models.ddpm import PixelDDPM
from diffuseit.models.unet import UNet
from diffuseit.models.vit import ViT
from diffuseit.performance.memory import offload_bytes, run_bytes
from diffuseit.performance.offload import Offload
from diffuseit.performance.options import BALANCED, FULL_SPEED, LOW_MEMORY, Execution

from .arguments import deliver
from .networks import DIFFUSION, SCALES, clip_without_weights, vit_without_weights

WAYS = {
    "default": FULL_SPEED,
    "balanced": BALANCED,
    "2 crops at a time": Execution(crop_batch=2),
    "U-Net checkpointed": Execution(checkpoint_unet=True),
    "low memory": LOW_MEMORY,
}
OFFLOADED = Execution(offload=Offload("cuda"))
ONE_AT_A_TIME = Execution(offload=Offload("cuda", ahead=False))
NO_BACKWARD = "no backward pass of the U-Net"
"""The sampler's `backward_until` 0, and the method `mpgd`."""


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the command, and return the report."""
    parser = argparse.ArgumentParser(description="Estimated peak memory of the paper's setup.")
    parser.add_argument("--scale", choices=tuple(SCALES), default="paper")
    parser.add_argument("--crops", type=int, default=8)
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE")
    args = parser.parse_args(arguments)
    rows = []
    for dtype in (torch.float32, torch.float16):
        ddpm, vit, clips = _networks(args.scale, dtype)
        weights = {"unet": _bytes(ddpm), "vit": _bytes(vit), "clips": sum(map(_bytes, clips))}
        for mode in ("text", "image"):
            crops = [(vit, 0), *((clip, args.crops) for clip in clips if mode == "text")]
            ways = WAYS if mode == "text" else {"default": FULL_SPEED}
            for way, execution in {**ways, NO_BACKWARD: BALANCED}.items():
                step = run_bytes(ddpm, crops, 1, (256, 256), execution, backward=way != NO_BACKWARD)
                held = weights["unet"] + weights["vit"] + (weights["clips"] if mode == "text" else 0)
                feature_networks = [network for network, _ in crops]
                rows.append(
                    {
                        "mode": mode,
                        "dtype": str(dtype).removeprefix("torch."),
                        "way": way,
                        "weight_bytes": held,
                        "step_bytes": step,
                        "total_bytes": held + step,
                        "total_bytes_offloaded": weights["unet"]
                        + offload_bytes(feature_networks, OFFLOADED)
                        + step,
                        "total_bytes_one_at_a_time": weights["unet"]
                        + offload_bytes(feature_networks, ONE_AT_A_TIME)
                        + step,
                    }
                )
    report = {"scale": args.scale, "crops": args.crops, "rows": rows}
    deliver(report, _table(rows), args.json)
    return report


def _networks(scale: str, dtype: torch.dtype) -> tuple[PixelDDPM, ViT, list[CLIP]]:
    """Return networks on the meta device."""
    shapes = SCALES[scale]
    with torch.device("meta"):
        ddpm = PixelDDPM(UNet(shapes.unet), DIFFUSION).to(dtype).eval().requires_grad_(False)
    clips = [clip_without_weights(name, config, dtype) for name, config in shapes.clips.items()]
    return ddpm, vit_without_weights(shapes.vit, dtype), clips


def _bytes(network: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in network.parameters())


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="Estimated, GB = 1e9 bytes. 'offloaded': one feature network on the device, and the next one. "
        "'one at a time': without the next one"
    )
    for heading in ("", "", "", "weights", "step", "total", "offloaded", "one at a time"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = [row[f"{name}_bytes"] for name in ("weight", "step", "total")]
        figures += [row["total_bytes_offloaded"], row["total_bytes_one_at_a_time"]]
        table.add_row(row["mode"], row["dtype"], row["way"], *(f"{figure / 1e9:.2f}" for figure in figures))
    return table


if __name__ == "__main__":
    main()
