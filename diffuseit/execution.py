"""How a run uses the machine: options that cost or save time and memory and leave the algorithm alone."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from .errors import InputError
from .unet import UNet

Turn = Callable[[nn.Module], AbstractContextManager[Any]]
"""`with turn(network):` has a feature network on the device; what leaves it again afterwards, the caller decides."""


def stay(network: nn.Module) -> AbstractContextManager[Any]:
    """The turn of networks that all lie on the device."""
    return nullcontext()


@dataclass(frozen=True)
class Execution:
    """Options of a run. In float32 the defaults give the official code's pictures; others differ in rounding only.

    `crop_batch`: at most so many CLIP crops in memory at a time; free, but for a batch of more pictures than that, and
    for losses that need all crops at once, whose crops are computed once more on the way back. `checkpoint_unet`: the
    blocks of the U-Net are computed once more there. `channels_last`: convolutions in that memory format. `compile`:
    the networks through `torch.compile`. `turn`: see `Turn`; the backbone stays on the device, its graph needs it.
    Raises `InputError` for a `crop_batch` below 1.
    """

    crop_batch: int | None = None
    checkpoint_unet: bool = False
    channels_last: bool = False
    compile: bool = False
    turn: Turn = stay

    def __post_init__(self) -> None:
        if self.crop_batch is not None and self.crop_batch < 1:
            raise InputError(f"crop_batch is {self.crop_batch}: at least 1 crop has to go through at a time")

    def crops_at_once(self, batch: int) -> int:
        """Crops per picture, of `batch` pictures."""
        return sys.maxsize if self.crop_batch is None else max(1, self.crop_batch // batch)

    @property
    def rounding(self) -> tuple[bool, bool]:
        """The options that change the last digits of a network's results."""
        return self.channels_last, self.compile

    def prepare(self, network: nn.Module) -> None:
        """Puts the options on a network that the coming run uses; those of an earlier run are taken off."""
        for module in network.modules():
            if isinstance(module, UNet):
                module.checkpoint_blocks = self.checkpoint_unet
        if self.channels_last != _CHANNELS_LAST.get(network, False):
            memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
            network.to(memory_format=memory_format)  # type: ignore[call-overload]
            _CHANNELS_LAST[network] = self.channels_last
        for part in getattr(network, "parts_to_compile", ()):
            if not self.compile:
                part._compiled_call_impl = None
            elif part not in _COMPILED:
                part.compile()
                _COMPILED[part] = part._compiled_call_impl
            else:
                part._compiled_call_impl = _COMPILED[part]


FULL_SPEED = Execution()

BALANCED = Execution(crop_batch=4)
"""For GPUs: no slower, and the paper's networks in half precision fit 8 GB."""

LOW_MEMORY = Execution(crop_batch=2, checkpoint_unet=True)
"""For small cards: the U-Net takes half as long again, see docs/performance.md."""

_CHANNELS_LAST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_COMPILED: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


@contextmanager
def as_written(network: nn.Module) -> Iterator[None]:
    """The network uncompiled, for the while."""
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


def one_at_a_time(device: torch.device | str, rest: torch.device | str = "cpu") -> Turn:
    """A turn that brings each feature network to `device` and puts it back to `rest` afterwards."""

    @contextmanager
    def turn(network: nn.Module) -> Iterator[None]:
        network.to(device)
        try:
            yield
        finally:
            network.to(rest)

    return turn
