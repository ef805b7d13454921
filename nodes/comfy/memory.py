"""Runs that take less of the device when it is too small, or when its memory runs out."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import comfy.model_management as management
import torch

from ...diffuseit.performance.offload import OneAtATime
from ...diffuseit.performance.options import BALANCED, LOW_MEMORY, Execution

Result = TypeVar("Result")

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""What devices say: CUDA, ROCm, XPU and MPS the first, the CPU the others."""


def plans() -> list[Execution]:
    """Return the ways to use this device: the fastest first, the one that takes the least memory last."""
    device = management.get_torch_device()
    # Networks that take turns must wait in other memory than the device's.
    if device.type in (management.unet_offload_device().type, "mps"):
        return [BALANCED, LOW_MEMORY]
    return [BALANCED, LOW_MEMORY, replace(LOW_MEMORY, turn=OneAtATime(device))]


def with_less_memory(
    attempt: Callable[[Execution], Result], needs: Callable[[Execution], int] = lambda plan: 0
) -> Result:
    """Return `attempt(plan)` of the first plan whose `needs` the device has; if memory runs out, of the next.

    `needs` are bytes, weights included. Raise a `RuntimeError` that says what to change if the last plan fails too.
    """
    *before, last = plans()
    total = management.get_total_memory(management.get_torch_device())
    for plan in before:
        if needs(plan) > total:
            continue
        try:
            return attempt(plan)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Outside of the handler: the exception keeps the tensors of the attempt.
        logging.warning("DiffuseIT: out of memory; trying again, slower and with less")
        management.soft_empty_cache()
    try:
        return attempt(last)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise RuntimeError(
            "DiffuseIT ran out of memory, also in low-memory mode: use fewer pictures in a batch, fewer or "
            "smaller CLIP models, a ViT with patches of 16 instead of 8, or close what else uses the device"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Return whether a device of any make, the CPU included, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
