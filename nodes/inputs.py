"""Checks of a node's inputs against its schema.

ComfyUI checks the widgets of a prompt before it runs. It does not check values that come through links, NaN, or
literals in place of links, which a script may send.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import DiffuseITError, InputError
from ..diffuseit.models.base import Backbone
from ..diffuseit.schema import LONGEST_TEXT, shown
from .types import (
    CLIP_ENSEMBLE,
    DA3_GEOMETRY,
    DDPM,
    LOSSES,
    MODELS,
    OPTICAL_FLOW,
    OPTIONS,
    VIT,
    ModelSet,
    Network,
    NodeLoss,
    Options,
)

Execute = Callable[..., io.NodeOutput]
LISTED = 20
"""How many options of a combo an error lists."""


def checked(execute: Execute) -> Execute:
    """Decorate a node's `execute`, below `@classmethod`, to raise `InputError` first if inputs break the schema."""

    @wraps(execute)
    def run(cls: type[io.ComfyNode], **inputs: Any) -> io.NodeOutput:
        check_inputs(cls, inputs)
        return execute(cls, **inputs)

    return run


def why_not(node: type[io.ComfyNode], values: Mapping[str, Any], check: Callable[[], object]) -> bool | str:
    """Return what a node's `validate_inputs` returns: True, or what is wrong with the `values` of its inputs.

    ComfyUI itself does not check a value that a node validates, so the schema is checked before `check` runs.
    None is a linked value, which is not known before the run. Then `check` does not run.
    """
    try:
        check_inputs(node, {name: value for name, value in values.items() if value is not None})
        if None not in values.values():
            check()
    except DiffuseITError as error:
        return str(error)
    return True


def check_inputs(node: type[io.ComfyNode], values: Mapping[str, Any]) -> None:
    """Raise `InputError` if a value breaks the type or the bounds of the input with its name.

    Inputs without a value and values without an input are ignored.
    """
    for entry in node.define_schema().inputs:
        if entry.id in values:
            _check(entry, values[entry.id], entry.id)


def _check(entry: Any, value: Any, name: str) -> None:
    kind = entry.get_io_type()
    if kind == io.Autogrow.io_type:
        _check_grown(entry, value, name)
    elif kind in _WIDGETS:
        _WIDGETS[kind](entry, value, name)
    elif kind in _SOCKETS and not (value is None and entry.optional):
        _SOCKETS[kind].check(value, name)


def _check_grown(entry: Any, value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name} cannot be {_described(value)}: connect its sockets")
    for own, item in value.items():
        _check(entry.template.input, item, own)


def _check_int(entry: Any, value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} cannot be {_described(value)}: it must be a whole number")
    _check_bounds(entry, value, name)


def _check_float(entry: Any, value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} cannot be {_described(value)}: it must be a number")
    # A comparison, for `math.isfinite` cannot take every whole number.
    if not -math.inf < value < math.inf:  # type: ignore[operator]
        raise InputError(f"{name} is {value}: use a finite number")
    _check_bounds(entry, value, name)


def _check_bounds(entry: Any, value: Any, name: str) -> None:
    low = -math.inf if entry.min is None else entry.min
    high = math.inf if entry.max is None else entry.max
    if not low <= value <= high:
        raise InputError(f"{name} is {_described(value)}: use {low} to {high}")


def _check_text(entry: Any, value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} cannot be {_described(value)}: it must be a text")
    if len(value) > LONGEST_TEXT:
        raise InputError(f"{name} has {len(value)} characters: at most {LONGEST_TEXT} are allowed")


def _check_boolean(entry: Any, value: Any, name: str) -> None:
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} cannot be {_described(value)}: it must be on or off")


def _check_choice(entry: Any, value: Any, name: str) -> None:
    if not isinstance(value, str) or value not in entry.options:
        listed = ", ".join([*entry.options[:LISTED], *(["..."] if entry.options[LISTED:] else [])])
        raise InputError(f"{name} is {_described(value)}: use one of {listed}")


_WIDGETS: dict[str, Callable[[Any, Any, str], None]] = {
    io.Int.io_type: _check_int,
    io.Float.io_type: _check_float,
    io.String.io_type: _check_text,
    io.Boolean.io_type: _check_boolean,
    io.Combo.io_type: _check_choice,
}


@dataclass(frozen=True)
class _Socket:
    """What a socket accepts, and what to connect to it."""

    fits: Callable[[Any], bool]
    source: str

    def check(self, value: Any, name: str) -> None:
        if value is None:
            raise InputError(f"{name} is not connected: connect {self.source} to it")
        if not self.fits(value):
            raise InputError(f"{name} cannot be {_described(value)}: connect {self.source} to it")
        if isinstance(value, Tensor) and not value.is_nested and not torch.isfinite(value).all():
            raise InputError(f"{name} has values that are not finite: check the node that it comes from")


def _is_ddpm(value: Any) -> bool:
    return isinstance(value, Network) and isinstance(value.module, Backbone)


def _is_vit(value: Any) -> bool:
    if not isinstance(value, Network):
        return False
    from ..diffuseit.models.vit import ViT  # brings timm, which must not come with the pack

    return isinstance(value.module, ViT)


def _is_clip(value: Any) -> bool:
    if not isinstance(value, Network):
        return False
    from ..diffuseit.models.clip import CLIPEnsemble  # brings open_clip

    return isinstance(value.module, CLIPEnsemble)


def _are_losses(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, NodeLoss) for one in value)


def _are_images(value: Any) -> bool:
    # A list where a batch has several sizes, which the node then says.
    return isinstance(value, Tensor) or (
        isinstance(value, list) and all(isinstance(one, Tensor) for one in value)
    )


def _is_model(value: Any) -> bool:
    return hasattr(value, "get_model_object") and hasattr(value, "add_wrapper_with_key")


_SOCKETS = {
    DDPM.io_type: _Socket(_is_ddpm, "DiffuseIT Load DDPM"),
    VIT.io_type: _Socket(_is_vit, "DiffuseIT Load ViT"),
    CLIP_ENSEMBLE.io_type: _Socket(_is_clip, "DiffuseIT Load CLIP"),
    MODELS.io_type: _Socket(lambda value: isinstance(value, ModelSet), "DiffuseIT Load Models"),
    LOSSES.io_type: _Socket(_are_losses, "a loss node, or a preset,"),
    OPTIONS.io_type: _Socket(lambda value: isinstance(value, Options), "an option node, or a preset,"),
    io.Model.io_type: _Socket(_is_model, "a model loader"),
    io.Vae.io_type: _Socket(lambda value: hasattr(value, "first_stage_model"), "Load VAE"),
    OPTICAL_FLOW.io_type: _Socket(
        lambda value: callable(getattr(value, "model", None)) and hasattr(value, "load_device"),
        "Load Optical Flow Model",
    ),
    DA3_GEOMETRY.io_type: _Socket(
        lambda value: isinstance(value, Mapping) and isinstance(value.get("depth"), Tensor),
        "Depth Anything 3",
    ),
    io.Image.io_type: _Socket(_are_images, "an image"),
    io.Mask.io_type: _Socket(lambda value: isinstance(value, Tensor), "a mask"),
    # By the method that is used: older versions of ComfyUI do not have the type.
    "CURVE": _Socket(lambda value: callable(getattr(value, "interp", None)), "a Curve Editor"),
}


def _described(value: Any) -> str:
    """Return how to show a value in an error: a literal as it is, another object by its class."""
    plain = isinstance(value, str | bool | Real | list | tuple | dict) or value is None
    return shown(value) if plain else f"of the type {type(value).__name__}"
