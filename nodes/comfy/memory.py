"""Runs that take less of the device when it is too small, or when its memory runs out."""

from collections.abc import Callable
from dataclasses import replace

import comfy.model_management as management
import torch

from ...diffuseit.performance.offload import Offload
from ...diffuseit.performance.options import BALANCED, LOW_MEMORY, Execution

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""What devices say: CUDA, ROCm, XPU and MPS the first, the CPU the others."""


OUT_OF_MEMORY = (
    "DiffuseIT ran out of memory, even in low-memory mode: use fewer images in a batch, fewer or smaller CLIP models, "
    "a ViT with patches of 16 instead of 8, or close what else uses the device"
)


def plans(needs: Callable[[Execution], int]) -> list[Execution]:
    """Return the ways to use this device, the fastest first, the one that takes the least memory last.

    `needs` gives the bytes that a plan takes, weights included. A plan that needs more than the device has is left out,
    but the last.
    """
    device = management.get_torch_device()
    every = [BALANCED, LOW_MEMORY]
    # Offloading needs other memory than the device's.
    if device.type not in (management.unet_offload_device().type, "mps"):
        every.append(replace(LOW_MEMORY, offload=Offload(device)))
    total = management.get_total_memory(device)
    return [plan for plan in every[:-1] if needs(plan) <= total] + every[-1:]


def free() -> None:
    """Give cached memory back to the device."""
    management.soft_empty_cache()


def out_of_memory(error: Exception) -> bool:
    """Return whether a device of any make, the CPU included, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
