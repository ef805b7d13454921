"""How a run uses the machine: options that cost or save time and memory and leave the algorithm alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ..errors import InputError
from ..models.unet import UNet
from .offload import Offload


@dataclass(frozen=True)
class Execution:
    """Options of a run. In float32 the defaults give the official code's images; others differ in rounding only.

    `crop_batch`: at most so many CLIP crops in memory at a time. It costs no time, except for a batch of more images
    than that, and for losses that need all crops at once, whose crops are computed again in the backward pass.
    `checkpoint_unet`: the U-Net's blocks are computed again in the backward pass. `channels_last`: convolutions use
    that memory format. `compile`: networks run through `torch.compile`; `cuda_graphs` records them too, so that a step
    is launched as a whole. `offload`: the feature networks are on the device only while they run (`offload.py`); the
    backbone stays there, since its graph needs it.
    Raise `InputError` for a `crop_batch` below 1, and for CUDA graphs of networks that are not compiled, or offloaded.
    """

    crop_batch: int | None = None
    checkpoint_unet: bool = False
    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    offload: Offload | None = None

    def __post_init__(self) -> None:
        if self.cuda_graphs and not self.compile:
            raise InputError("cuda_graphs records compiled networks: set compile too")
        if self.cuda_graphs and self.offload is not None:
            raise InputError("cuda_graphs needs networks that stay on the device: leave offload out")
        if self.crop_batch is not None and self.crop_batch < 1:
            raise InputError(f"crop_batch is {self.crop_batch}: use 1 or more")

    def crops_at_once(self, batch: int) -> int:
        """Crops per image, of `batch` images."""
        return sys.maxsize if self.crop_batch is None else max(1, self.crop_batch // batch)

    @property
    def rounding(self) -> tuple[bool, bool]:
        """The options that change the last digits of a network's results."""
        return self.channels_last, self.compile

    def prepare(self, network: nn.Module) -> None:
        """Apply the options to a network before a run, and undo those of an earlier run."""
        for module in network.modules():
            if isinstance(module, UNet):
                module.checkpoint_blocks = self.checkpoint_unet
        if self.channels_last != _CHANNELS_LAST.get(network, False):
            memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
            network.to(memory_format=memory_format)  # type: ignore[call-overload]
            _CHANNELS_LAST[network] = self.channels_last
        mode = "reduce-overhead" if self.cuda_graphs else "default"
        for part in getattr(network, "parts_to_compile", ()):
            calls = _COMPILED.setdefault(part, {})
            if self.compile and mode not in calls:
                part.compile(mode=mode)
                calls[mode] = part._compiled_call_impl
            part._compiled_call_impl = calls[mode] if self.compile else None

    def begin_step(self) -> None:
        """Allow CUDA graphs to overwrite the results of the step before."""
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()


FULL_SPEED = Execution()

BALANCED = Execution(crop_batch=4)
"""For GPUs: no slower, and the paper's networks in half precision fit 8 GB."""

LOW_MEMORY = Execution(crop_batch=2, checkpoint_unet=True)
"""For small GPUs. The U-Net takes 1.5 times as long; see docs/performance.md."""

_CHANNELS_LAST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_COMPILED: WeakKeyDictionary[nn.Module, dict[str, Any]] = WeakKeyDictionary()


@contextmanager
def as_written(network: nn.Module) -> Iterator[None]:
    """Run the network uncompiled inside the block."""
    compiled = [
        (module, module._compiled_call_impl) for module in network.modules() if module._compiled_call_impl
    ]
    try:
        for module, _ in compiled:
            module._compiled_call_impl = None
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
