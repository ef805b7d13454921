"""The rates of the machine, and the operations that a step needs at least."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diffuseit.models.unet import UNet
from diffuseit.models.vit import ViTConfig

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


@dataclass(frozen=True)
class Passes:
    """Floating-point operations of a forward pass and of a backward pass to the input. A multiply-add counts as two."""

    forward: float
    backward: float

    @property
    def both(self) -> float:
        return self.forward + self.backward


def needed_flops(task: Task, scale: Scale) -> dict[str, float]:
    """Return the operations of one step by network: one forward pass, and one backward pass to its input."""
    with torch.device("meta"):
        picture, time_ = torch.empty(1, 3, 256, 256), torch.empty(1)
        unet = UNet(scale.unet)
    flops = {"unet": passes(unet, unet, picture, time_).both, "vit": vit_passes(scale.vit).both}
    for name in list(scale.clips)[: task.clips] if task.mode == "text" else ():
        flops[f"clip {name}"] = clip_passes(scale.clips[name], task.crops).both
    return flops


def vit_passes(config: ViTConfig) -> Passes:
    """Return the operations for one image of the network's input size."""
    with torch.device("meta"):
        vit = config.build()
        return passes(vit, vit, torch.empty(1, 3, config.input_size, config.input_size))


def clip_passes(config: Mapping[str, Any], crops: int) -> Passes:
    """Return the operations of the image tower of open_clip's `model_cfg` for the crops of one image."""
    with torch.device("meta"):
        visual = open_clip.CLIP(**config).visual
        side = config["vision_cfg"]["image_size"]
        return passes(visual, visual, torch.empty(crops, 3, side, side))


def passes(network: nn.Module, call: Callable[..., Tensor], *inputs: Tensor) -> Passes:
    """Return the operations of `call(*inputs)` and of its backward pass to the first input, all on the meta device."""
    network.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        result = call(inputs[0].requires_grad_() + 0, *inputs[1:])  # the counter wants no leaf
        forward = counter.get_total_flops()
        torch.autograd.grad(result.sum(), inputs[0])
    return Passes(forward, counter.get_total_flops() - forward)
