"""Features of sources, targets and prompts, kept from run to run for as long as their network lives."""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

LIMIT_BYTES = 64 * 2**20
"""Of each network, in the memory of the CPU; what was used longest ago goes first."""

Key = tuple[Any, ...]


@dataclass
class _Shelf:
    """The features of one network in one state."""

    state: list[tuple[Tensor, int]]
    features: OrderedDict[Key, Any] = field(default_factory=OrderedDict)


_SHELVES: WeakKeyDictionary[nn.Module, _Shelf] = WeakKeyDictionary()


def clear() -> None:
    """Forgets everything."""
    _SHELVES.clear()


@torch.no_grad()
def features(network: Any, subject: Tensor | str, how: Hashable = None) -> Any:
    """`network(picture)` or `network.encode_prompt(prompt)` without gradient: computed, or remembered by content.

    `how` they are computed, where that decides the rounding, is part of what they are remembered by.

    A network whose weights or settings have changed since starts anew. Features come on the image's device; those
    of a prompt on the network's.
    """
    key = (how, _digest(subject), *_settings(network))
    shelf = _shelf(network)
    device = subject.device if isinstance(subject, Tensor) else _device(network)
    if key in shelf.features:
        shelf.features.move_to_end(key)
        return _moved(shelf.features[key], device)
    result = network.encode_prompt(subject) if isinstance(subject, str) else network(subject)
    shelf.features[key] = _moved(result, torch.device("cpu"), compact=True)
    while sum(map(_bytes, shelf.features.values())) > LIMIT_BYTES:
        shelf.features.popitem(last=False)
    return result


def _shelf(network: nn.Module) -> _Shelf:
    state = [(tensor, _version(tensor)) for tensor in (*network.parameters(), *network.buffers())]
    shelf = _SHELVES.get(network)
    same = shelf is not None and len(shelf.state) == len(state)
    if shelf is None or not (
        same and all(a is b and v == w for (a, v), (b, w) in zip(shelf.state, state, strict=True))
    ):
        shelf = _SHELVES[network] = _Shelf(state)
    return shelf


def _version(tensor: Tensor) -> int:
    """Counts the changes in place."""
    return -1 if tensor.is_inference() else tensor._version


def _settings(network: nn.Module) -> Key:
    """Plain attributes, such as the layer of a ViT, and the precision of the weights."""
    plain = {k: v for k, v in vars(network).items() if isinstance(v, int | float | str | None)}
    return (
        *sorted((k, str(v)) for k, v in plain.items()),
        *{tensor.dtype for tensor in network.parameters()},
    )


def _digest(subject: Tensor | str) -> Key:
    if isinstance(subject, str):
        return ("prompt", subject)
    data = subject.detach().cpu().contiguous()
    digest = hashlib.sha256(data.view(torch.uint8).numpy().tobytes()).hexdigest()
    return ("picture", str(data.dtype), tuple(data.shape), digest)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _moved(value: Any, device: torch.device, compact: bool = False) -> Any:
    """On `device`; `compact`: as a tensor of its own where it was a part of a larger one."""
    if isinstance(value, Tensor):
        return value.to(device).contiguous() if compact else value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _moved(part, device, compact) for name, part in vars(value).items()})
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.untyped_storage().nbytes()
    return sum(_bytes(part) for part in vars(value).values()) if is_dataclass(value) else 0
