"""The nodes that do together what DiffuseIT Translate does alone, as a part of a prompt."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.losses import Loss
from ..diffuseit.presets import Preset
from ..diffuseit.schema import shown
from .before_run import link_of
from .estimate import STYLE, TRANSLATE, asked_about, check_before, translation
from .options import DEFAULTS, WIDGETS, values_of

NODES_OWN = {"cls": "cls_token"}
"""Widgets of loss nodes with another name than the field of the loss."""

STYLE_SOCKETS = ("style_image", "reference")
"""What loss nodes call the input that a loss calls `style`."""

NAME = "new {}"
"""The ids of new nodes. The ids that ComfyUI gives consist of digits and colons."""

Nodes = dict[str, dict[str, Any]]
"""Nodes by id, in the format of a prompt."""


def expanded(asked: Any, nodes: Mapping[str, type[io.ComfyNode]]) -> dict[str, Any]:
    """Return what can replace DiffuseIT Translate, the node that `asked` names in a prompt.

    `nodes` are the new nodes by id; their links lead to each other and to nodes of the prompt. `columns` are their ids
    as a person would arrange them, from left to right. `output` is the [id, slot] of the image. The argument `nodes`:
    the classes of the pack's nodes by id. Raise `InputError` if that cannot be known from the prompt.
    """
    prompt, node = asked_about(asked)
    if prompt[node]["class_type"] != TRANSLATE:
        raise InputError(f"the node {shown(node)} is not DiffuseIT Translate")
    check_before(prompt, node, nodes)
    try:
        preset, inputs = translation(prompt, node), prompt[node]["inputs"]
        if preset is None:
            raise InputError("a link decides the set of models or the strength: set them on the nodes")
        return _graph(preset, inputs, nodes)
    except KeyError as error:
        raise InputError(f"{error.args[0]} is not connected or not set") from None


def _graph(preset: Preset, inputs: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, Any]:
    values = values_of(preset.sampler)
    losses, options = _losses(preset, inputs, nodes), _options(values)
    sampler = {name: values[name] for name in ("steps", "skip", "resample", "method", "step_size")}
    links: dict[str, Any] = {"ddpm": [link_of(inputs["models"]), 0], "losses": [list(losses)[-1], 0]}
    links |= {name: inputs[name] for name in ("image", "seed", "size", "mask") if name in inputs}
    if options:
        links["options"] = [list(options)[-1], 0]
    last = {NAME.format("sampler"): {"class_type": "DiffuseITSampler", "inputs": sampler | links}}
    if preset.color_match:
        colors = {"image": [list(last)[-1], 0], "reference": inputs[STYLE], "strength": 1.0}
        last[NAME.format("colors")] = {"class_type": "DiffuseITMatchColors", "inputs": colors}
    half = (len(losses) + 1) // 2
    columns = [list(losses)[:half], list(losses)[half:], list(options), list(last)]
    return {
        "nodes": losses | options | last,
        "columns": [column for column in columns if column],
        "output": [list(last)[-1], 0],
    }


def _losses(preset: Preset, inputs: Mapping[str, Any], nodes: Mapping[str, Any]) -> Nodes:
    """Return a chain of loss nodes."""
    chain: Nodes = {}
    for number, loss in enumerate(preset.losses):
        kind = f"DiffuseIT{type(loss).__name__}"
        names = {slot.id for slot in nodes[kind].define_schema().inputs}
        settings = _settings(loss, inputs) | _sockets(loss, inputs)
        own = {name: value for name, value in settings.items() if name in names}
        if chain:
            own["previous"] = [list(chain)[-1], 0]
        chain[NAME.format(number)] = {"class_type": kind, "inputs": own}
    return chain


def _settings(loss: Loss, inputs: Mapping[str, Any]) -> dict[str, Any]:
    settings = {NODES_OWN.get(entry.name, entry.name): getattr(loss, entry.name) for entry in fields(loss)}
    return settings | {name: inputs[name] for name in ("to_text", "from_text")}


def _sockets(loss: Loss, inputs: Mapping[str, Any]) -> dict[str, Any]:
    models = link_of(inputs["models"])
    found: dict[str, Any] = {"vit": [models, 1]} if "vit" in loss.needs else {}
    if "clip" in loss.needs:
        found["clip"] = [models, 2]
    if STYLE in inputs:
        found |= dict.fromkeys(STYLE_SOCKETS, inputs[STYLE])
    return found


def _options(values: Mapping[str, Any]) -> Nodes:
    """Return a chain of those option nodes that a sampler without options lacks."""
    chain: Nodes = {}
    for kind, widgets in WIDGETS.items():
        wanted = widgets(values)
        if wanted != widgets(DEFAULTS):
            previous = {"previous": [list(chain)[-1], 0]} if chain else {}
            chain[NAME.format(kind)] = {"class_type": kind, "inputs": wanted | previous}
    return chain
