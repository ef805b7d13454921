"""Command lines and reports of the benchmarks."""

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from diffuseit.files.atomic import atomic_path

from .networks import SCALES
from .ours import VARIANTS
from .settings import Task


def parser(description: str, variants: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of all benchmarks."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--official", type=Path, metavar="PATH", help="a checkout of cyclomon/DiffuseIT")
    result.add_argument("--mode", choices=("text", "image"), default="text")
    result.add_argument("--steps", type=int, default=3, help="evaluations; the first is not counted")
    result.add_argument("--device", default="cpu", help="cpu or cuda")
    result.add_argument(
        "--scale", choices=tuple(SCALES), default="paper", help="small: narrow networks, seconds"
    )
    result.add_argument("--crops", type=int, default=8)
    result.add_argument("--clips", type=int, help="how many of the CLIPs; all by default")
    result.add_argument("--threads", type=int, help="of the CPU")
    result.add_argument("--variants", default=variants, help=f"of ours, with commas: {', '.join(VARIANTS)}")
    result.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the report; without FILE printed"
    )
    return result


def task_of(args: argparse.Namespace) -> tuple[Task, list[str]]:
    """Return what to run, and the variants. Exit with a message if a variant does not exist."""
    variants = args.variants.split(",") if args.variants else []
    if unknown := [name for name in variants if name not in VARIANTS]:
        sys.exit(f"unknown variants {', '.join(unknown)}: use {', '.join(VARIANTS)}")
    if args.device != "cpu" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here: use --device cpu")
    half = args.device != "cpu"
    return Task(args.mode, args.steps, args.device, args.crops, args.clips, half), variants


def machine(device: str) -> dict[str, Any]:
    """Return what the figures were measured on."""
    name = platform.processor() or platform.machine()
    if device != "cpu":
        name = torch.cuda.get_device_name()
    elif (cpuinfo := Path("/proc/cpuinfo")).exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}


def deliver(report: dict[str, Any], table: Table | str, where: str | None) -> None:
    """Print the table (a text as it is), and write the report as JSON to `where`."""
    if isinstance(table, str):
        print(table, file=sys.stderr if where == "-" else sys.stdout)
    else:
        Console(stderr=where == "-", width=max(100, Console().width)).print(table)
    text = json.dumps(report, indent=1)
    if where == "-":
        print(text)
    elif where is not None:
        with atomic_path(Path(where)) as path:
            path.write_text(text + "\n")
