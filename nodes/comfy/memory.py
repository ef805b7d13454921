"""Plans that need less memory of the device, for when it is too small or runs out of memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management as management
import torch

from ...diffuseit.performance.offload import Offload
from ...diffuseit.performance.options import BALANCED, LOW_MEMORY, Execution

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""What devices say when they have no memory left: CUDA, ROCm, XPU, and MPS the first, the CPU the others."""


OUT_OF_MEMORY = (
    "DiffuseIT ran out of memory, even in low-memory mode: use fewer images in a batch, fewer or smaller CLIP models, "
    "a ViT with patches of 16 instead of 8, or close what else uses the device"
)


LATENTS_OUT_OF_MEMORY = (
    "DiffuseIT ran out of memory, even in low-memory mode: connect a tiny VAE (taesd, taesdxl, taef1), lower "
    "view_size, leave gradient at prediction, or use fewer images in a batch and fewer or smaller CLIP models"
)


def plans(needs: Callable[[Execution], int]) -> list[Execution]:
    """Return the ways to use this device, from the fastest to the one that needs the least memory.

    `needs` returns the bytes that a plan needs, weights included. A plan that needs more than the device has is left
    out, except for the last.
    """
    device = management.get_torch_device()
    every = [BALANCED, LOW_MEMORY]
    # Offloading needs other memory than the device's.
    if device.type not in (management.unet_offload_device().type, "mps"):
        every.append(replace(LOW_MEMORY, offload=Offload(device)))
    total = management.get_total_memory(device)
    return [plan for plan in every[:-1] if needs(plan) <= total] + every[-1:]


@dataclass(frozen=True)
class LatentPlan:
    """How guidance of latents uses the device: the `options` of feature networks, and what the decoder saves.

    `recompute`: its blocks are computed again in the backward pass. `shrink` divides the sides of the latents before.
    """

    options: Execution = BALANCED
    recompute: bool = False
    shrink: int = 1


def latent_plans(needs: Callable[[LatentPlan], int], model: Any, shrink: int) -> list[LatentPlan]:
    """Return the ways to guide latents of a MODEL, from the fastest to the one that needs the least memory.

    `needs` returns the bytes of a plan beside the MODEL. A plan is left out if it leaves no room for the MODEL, or for
    half the device where that is less, which ComfyUI then streams; the last plan never is. `shrink`: how much smaller
    latents may get.
    """
    device = management.get_torch_device()
    every = [LatentPlan(), LatentPlan(LOW_MEMORY, recompute=True)]
    if device.type not in (management.unet_offload_device().type, "mps"):
        every.append(LatentPlan(replace(LOW_MEMORY, offload=Offload(device)), recompute=True))
    if shrink > 1:
        every.append(replace(every[-1], shrink=shrink))
    total = management.get_total_memory(device)
    room = total - min(model.model_size(), total // 2)
    return [plan for plan in every[:-1] if needs(plan) <= room] + every[-1:]


def free() -> None:
    """Give cached memory back to the device."""
    management.soft_empty_cache()


def out_of_memory(error: Exception) -> bool:
    """Return whether `error` says that a device of any kind, CPUs included, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
