"""Optical flow by the network of ComfyUI's Load Optical Flow Model."""

from typing import Any

import comfy.model_management as management
from torch import Tensor

from ...diffuseit.correspondence.raft import network_flow
from .events import Progress


def flow_of(patcher: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flow of images [N, 3, H, W] in [-1, 1], forward and backward, each [N - 1, 2, H, W] on the CPU.

    `patcher` is the value of an OPTICAL_FLOW. Raise ComfyUI's interruption if the user asks for it.
    """
    management.load_models_gpu([patcher])
    progress = Progress(max(1, len(images) - 1))
    return network_flow(patcher.model, images, patcher.load_device, progress.update)
