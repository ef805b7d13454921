"""Gradients through networks of half precision: scaled by a power of two on their way, so that none vanishes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def plain_defaults() -> Iterator[None]:
    """float32 on the CPU for what libraries make without saying so, whatever other code has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 if it is of half precision, else as it is."""
    return x.float() if x.dtype.itemsize < 4 else x


def gradient_through(
    network: nn.Module | None, total: Tensor, features: Any, start: Tensor, keep_graph: bool = False
) -> Tensor:
    """d(total)/d(start), where `features` [a tensor or an object of tensors] are the network's of `start`.

    The part from `total` to the features is float32; the way on through a float16 network is `pull_back`'s. After
    `keep_graph` the way can be gone again.
    """
    if network is None or not _is_half(network):
        return torch.autograd.grad(total, start, retain_graph=keep_graph)[0]
    parts = [features] if isinstance(features, Tensor) else list(vars(features).values())
    found = torch.autograd.grad(total, parts, allow_unused=True, retain_graph=keep_graph)
    used = [(part, gradient) for part, gradient in zip(parts, found, strict=True) if gradient is not None]
    outputs, gradients = [part for part, _ in used], [gradient for _, gradient in used]
    return pull_back([network], outputs, start, gradients, keep_graph)


def pull_back(
    networks: Iterable[nn.Module],
    outputs: Sequence[Tensor],
    start: Tensor,
    gradients: Sequence[Tensor],
    keep_graph: bool = False,
) -> Tensor:
    """The vector-Jacobian product from `outputs` to `start`; through float16 the largest entry is about 1."""
    if not any(_is_half(network) for network in networks):
        return torch.autograd.grad(outputs, start, gradients, retain_graph=keep_graph)[0]
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    scale = (
        2.0 ** -torch.frexp(torch.tensor(largest, dtype=torch.float32, device="cpu")).exponent.item()
        if 0 < largest < float("inf")
        else 1.0
    )
    scaled = [gradient * scale for gradient in gradients]
    return torch.autograd.grad(outputs, start, scaled, retain_graph=keep_graph)[0] / scale


def _is_half(network: nn.Module) -> bool:
    return any(parameter.dtype == torch.float16 for parameter in network.parameters())
