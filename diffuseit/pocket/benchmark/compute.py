"""What a translation costs on any machine: passes of each network, counted as they happen, times its multiply-adds."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...models.bundle import Models
from ...models.ddpm import PixelDDPM


@dataclass
class Passes:
    """Images that passed each network forward and backward. A crop counts as an image."""

    forward: Counter[str]
    backward: Counter[str]


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one image: its forward pass, and the backward pass to that image."""

    forward: int
    backward: int


def _networks(models: Models) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(models.ddpm, PixelDDPM):
        raise TypeError("passes are counted of U-Nets in pixel space only")
    yield "unet", models.ddpm.unet
    yield "vit", models.vit
    for number, clip in enumerate(models.clip):
        yield "clip" if len(models.clip) == 1 else f"clip {number}", clip.model.visual


@contextmanager
def counted(models: Models) -> Iterator[Passes]:
    """Counts the passes inside the block. Prompts, which are read once per text, are not among them."""
    passes = Passes(Counter(), Counter())

    def watch(name: str, network: nn.Module) -> Any:
        def hook(_network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            picture = inputs[0]
            passes.forward[name] += len(picture)
            if picture.requires_grad and torch.is_grad_enabled():
                picture = picture.view_as(picture)  # of this pass alone
                picture.register_hook(lambda gradient: passes.backward.update({name: len(gradient)}))
            return picture, *inputs[1:]

        return network.register_forward_pre_hook(hook)

    handles = [watch(name, network) for name, network in _networks(models)]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


def costs(models: Models, size: int = 64) -> dict[str, Cost]:
    """Of each network, for images of `size` x `size` pixels, as `torch.utils.flop_counter` counts them."""
    found = {}
    for name, network in _networks(models):
        shape = (size, size)
        if name.startswith("clip"):
            side: Any = network.image_size
            shape = (side, side) if isinstance(side, int) else side
        inputs = [torch.zeros(1, 3, *shape)]
        if name == "unet":
            inputs.append(torch.zeros(1))
        found[name] = _cost(network, *inputs)
    return found


def _cost(network: nn.Module, picture: Tensor, *rest: Tensor) -> Cost:
    picture = picture.requires_grad_() + 0  # the counter wants no leaf
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():  # the CPU's own attention is not counted
        with FlopCounterMode(display=False) as there:
            result = network(picture, *rest)
        parts = [result] if isinstance(result, Tensor) else list(vars(result).values())
        with FlopCounterMode(display=False) as back:
            torch.autograd.grad([part.sum() for part in parts], picture)
    return Cost(there.get_total_flops() // 2, back.get_total_flops() // 2)


def multiply_adds(passes: Passes, cost: dict[str, Cost]) -> int:
    """Of all the passes together."""
    return sum(
        passes.forward[name] * one.forward + passes.backward[name] * one.backward
        for name, one in cost.items()
    )
