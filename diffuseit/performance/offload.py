"""Offload of feature networks: one computes on the device while the next one is copied there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Offload:
    """Keeps feature networks off `device`, and copies each there while it runs: `with offload(network): ...`.

    The original weights stay where they are, so nothing is copied back. With `ahead`, the network that is expected next
    is copied while the present one computes (on CUDA, ROCm, and XPU). This takes the memory of both.
    """

    def __init__(self, device: torch.device | str, ahead: bool = True):
        self._device = torch.device(device)
        self.ahead = ahead
        self._present: nn.Module | None = None
        self._coming: _Copy | None = None

    @contextmanager
    def __call__(self, network: nn.Module, then: nn.Module | None = None) -> Iterator[None]:
        coming, self._coming = self._coming, None
        if coming is None or coming.network is not network:
            # The memory of a wrong guess is freed before more is asked for.
            coming = None
            coming = _Copy(network, self._device)
        before, self._present = self._present, network
        coming.arrive()
        if then is not None:
            self.expect(then)
        try:
            yield
        finally:
            coming.leave()
            self._present = before

    def expect(self, network: nn.Module) -> None:
        """Start copying the network that runs next."""
        if not self.ahead or network is self._present:
            return
        if self._coming is None or self._coming.network is not network:
            self._coming = None
            self._coming = _Copy(network, self._device)


class _Copy:
    """A copy of the weights of a network on a device, or on its way there."""

    def __init__(self, network: nn.Module, device: torch.device):
        self.network = network
        self._tensors = [*network.parameters(), *network.buffers()]
        self._there, self._arrival = _fetched(self._tensors, device)
        self._rest = [tensor.data for tensor in self._tensors]

    def arrive(self) -> None:
        """Let the network compute with the copy, once it is complete."""
        if self._arrival is not None:
            torch.get_device_module(self._there[0].device).current_stream().wait_event(self._arrival)
        for tensor, there in zip(self._tensors, self._there, strict=True):
            tensor.data = there

    def leave(self) -> None:
        for tensor, rest in zip(self._tensors, self._rest, strict=True):
            tensor.data = rest
        self._there = []


def _fetched(tensors: list[nn.Parameter | Tensor], device: torch.device) -> tuple[list[Tensor], Any]:
    """Return copies on `device`, and an event after which they are complete; None if they already are."""
    if device.type not in ("cuda", "xpu"):
        return [tensor.data.to(device) for tensor in tensors], None
    module = torch.get_device_module(device)
    aside, present = module.Stream(device), module.current_stream(device)
    for tensor in tensors:
        if tensor.device.type == "cpu" and not tensor.is_pinned():
            # Else the copy would wait for the device, and the CPU for the copy.
            tensor.data = tensor.data.pin_memory()
    copies = [torch.empty_like(tensor.data, device=device) for tensor in tensors]
    aside.wait_stream(present)  # which may still use the memory that the copies have been given
    with module.stream(aside):
        for copy, tensor in zip(copies, tensors, strict=True):
            copy.copy_(tensor.data, non_blocking=True)
            copy.record_stream(aside)
    return copies, aside.record_event()
