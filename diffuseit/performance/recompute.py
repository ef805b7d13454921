"""Gradient checkpointing of networks that have no option for it, such as the decoders of latent models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@contextmanager
def recomputed_blocks(network: nn.Module) -> Iterator[None]:
    """Let forward passes keep only the inputs of the network's blocks. The backward pass computes the blocks again.

    It holds for forward passes inside the `with` block; their backward passes may come later. Results and gradients
    do not change. A block must write neither to its inputs nor to anything that its next pass reads. A video decoder
    that passes features from frame to frame does, unless there is only one frame.
    """
    blocks = blocks_of(network)
    before = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.__dict__["forward"] = _recomputed(block.forward)
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            del block.__dict__["forward"]
            if own is not None:
                block.__dict__["forward"] = own


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the smallest modules that join layers: of a KL decoder, its residual, attention, and upsampling blocks.

    Layers by themselves, and containers such as `nn.Sequential`, are not blocks. A module with a single layer (an
    upsampling block) is one unless a larger block contains it.
    """
    found = []
    for child in network.children():
        if _is_layer(child):
            continue
        if isinstance(child, _CONTAINERS) or any(
            _joins_layers(module) for module in child.modules() if module is not child
        ):
            found += blocks_of(child)
        else:
            found.append(child)
    return found


def _is_layer(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _joins_layers(module: nn.Module) -> bool:
    if isinstance(module, _CONTAINERS):
        return False
    layers = [
        part for part in module.modules() if _is_layer(part) and next(part.parameters(), None) is not None
    ]
    return len(layers) > 1


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return recomputed
