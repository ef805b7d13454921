"""Seconds, network calls and peak memory of a loop's steps."""

import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Measures `seconds` and `processor_seconds` of each step, calls, `peak_bytes`, and `base_bytes` before the steps.

    Processor seconds, on one thread, hardly depend on what else the machine does.
    """

    def __init__(self, device: str):
        self.device = torch.device(device)
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self.base_bytes = self.peak_bytes = 0

    def count(self, name: str, first_layer: nn.Module) -> None:
        """Count the forward and backward passes of the network that begins with `first_layer`."""

        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.forward[name] += 1
            if inputs[0].requires_grad and torch.is_grad_enabled():
                inputs[0].register_hook(lambda _gradient: self.backward.update([name]))

        first_layer.register_forward_pre_hook(hook)

    def steps(self, items: Iterable[Item], count: int) -> Iterator[Item]:
        """Yield the first `count` items, and measure each."""
        iterator = iter(items)
        self.forward.clear()
        self.backward.clear()
        self.base_bytes = self._reset_peak()
        for _ in range(count):
            began, worked = self._now(), time.process_time()
            item = next(iterator)
            self.seconds.append(self._now() - began)
            self.processor_seconds.append(time.process_time() - worked)
            self.peak_bytes = self._peak()
            yield item

    def report(self) -> dict[str, Any]:
        """Return plain values. The first step warms up, and the median leaves it out if there are others."""
        steps = max(1, len(self.seconds))
        return {
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "seconds_per_step": _median(self.seconds),
            "processor_seconds_per_step": _median(self.processor_seconds),
            "calls_per_step": {
                name: [self.forward[name] / steps, self.backward[name] / steps] for name in self.forward
            },
            "base_bytes": self.base_bytes,
            "peak_bytes": self.peak_bytes,
        }

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _reset_peak(self) -> int:
        """Reset the peak, and return the bytes in use."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated()
        if sys.platform != "linux":
            return _status("VmRSS")
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")  # sets VmHWM back
        return _status("VmRSS")

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return _status("VmHWM")


def _median(values: list[float]) -> float:
    """Return the median without the first value. Recording CUDA graphs slows down the second step too."""
    counted = values[1:] or values
    return statistics.median(counted) if counted else 0.0


def _status(name: str) -> int:
    """Return a memory figure of the process; outside Linux, its maximum so far."""
    if not STATUS.exists():
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
