"""The rates of the machine, and the operations that a step needs at least."""

import time
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from diffuseit.models.unet import UNet

from .networks import Scale
from .settings import Task


@dataclass(frozen=True)
class Machine:
    """Measured rates: floating-point operations (a multiply-add counts as two) and bytes moved per second.

    `processor_flops` are per processor second, for a CPU with one thread.
    """

    flops: float
    bytes: float
    processor_flops: float


def measure(device: str, dtype: torch.dtype) -> Machine:
    """Return the best of a few square matrix products, and of a few copies (counting reads and writes)."""
    gpu = torch.device(device).type != "cpu"
    side, length = (8192, 2**28) if gpu else (2048, 2**26)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(length, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    products = [_seconds(lambda: a @ b, device) for _ in range(7)]
    copies = [_seconds(lambda: target.copy_(source), device) for _ in range(7)]
    wall, processor = (min(column) for column in zip(*products, strict=True))
    return Machine(2 * side**3 / wall, 2 * source.nbytes / min(copies)[0], 2 * side**3 / max(processor, 1e-9))


def _seconds(call: Any, device: str) -> tuple[float, float]:
    """Return (wall, processor) seconds."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    began, worked = time.perf_counter(), time.process_time()
    call()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - worked


def needed_flops(task: Task, scale: Scale) -> dict[str, float]:
    """Return the operations of one step by network: one forward pass, and one backward pass to its input."""
    with torch.device("meta"):
        picture, time_ = torch.empty(1, 3, 256, 256), torch.empty(1)
        seen = torch.empty(1, 3, scale.vit.input_size, scale.vit.input_size)
        flops = {
            "unet": _forward_and_backward(UNet(scale.unet), picture, time_),
            "vit": _forward_and_backward(scale.vit.build(), seen),
        }
        for name in list(scale.clips)[: task.clips] if task.mode == "text" else ():
            visual = open_clip.CLIP(**scale.clips[name]).visual
            side = scale.clips[name]["vision_cfg"]["image_size"]
            flops[f"clip {name}"] = _forward_and_backward(visual, torch.empty(task.crops, 3, side, side))
    return flops


def _forward_and_backward(network: nn.Module, *inputs: torch.Tensor) -> float:
    network.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        result = network(inputs[0].requires_grad_() + 0, *inputs[1:])  # the counter wants no leaf
        torch.autograd.grad(result.sum(), inputs[0])
    return float(counter.get_total_flops())
