"""Estimates of a run, from earlier runs with the same models and losses on this machine.

After each run, its seconds per step, its memory, and its network calls are recorded under a key made of everything that
they depend on: model files, losses, method. The front end sends the prompt that it would queue. It gets the number of
steps and the recorded figures, or null if there was no such run, with what else is known before the run
(nodes/before_run.py).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.presets import PRESETS, TEXT_DEFAULT, Preset
from ..diffuseit.schema import shown
from .before_run import Prompt, link_of, notes, result_size
from .comfy.decoration import Decoration
from .comfy.devices import device_name
from .comfy.events import executing
from .inputs import check_inputs
from .measurements import Figures, Measured, measured
from .model_sets import SETS, preset_for
from .options import CORRESPONDENCES, DEFAULTS, READERS, make_settings, values_of
from .saved_presets import preset_by

OURS = "DiffuseIT"
TRANSLATE, PRESET = "DiffuseITTranslate", "DiffuseITPreset"
STYLE = "style_image"
"""The input that matters only by whether it is connected, since it chooses between a text and an image as the guide."""

PICTURES = ("image", "mask", STYLE, "reference")
FREE = (
    "seed",
    "part",
    "steps",
    "skip",
    "resample",
    "step_size",
    "start_color",
    "tau",
    "fit",
    "size",
    "to_text",
    "from_text",
    "scene",
    "strength",
)
"""Inputs that do not change what a step costs. Every other input is assumed to."""

IN_COMFYS_SAMPLING = ("DiffuseITGuideModel", "DiffuseITLatentSampler")
"""Nodes whose steps a sampler of ComfyUI decides."""

FOREIGN = ("model", "vae")
"""Inputs for which nodes of others matter too: the loaders of what is guided."""

WEIGHTS = (
    "weight",
    "self_similarity",
    "contrastive",
    "cls_token",
    "pixels",
    "mean",
    "covariance",
    "lambda_s",
    "lambda_i",
)
"""Inputs that matter only by whether they are 0, which leaves a network out."""


def key_of(prompt: Prompt, node: str, device: str) -> str:
    """Return a hash of everything before the sampler `node` that time and memory depend on. Images are left out."""
    parts = sorted(_costs(prompt[one]) for one in _before(prompt, node))
    return hashlib.sha256(json.dumps([device, *parts]).encode()).hexdigest()


def _before(prompt: Prompt, node: str) -> Iterator[str]:
    """Yield `node` and what it depends on, each once: nodes of this pack, and the loaders of `FOREIGN`."""
    seen, waiting = {node}, [node]
    while waiting:
        one = waiting.pop()
        yield one
        for name, value in prompt[one]["inputs"].items():
            other = None if name in PICTURES else link_of(value)
            if other is None or other not in prompt or other in seen:
                continue
            if name in FOREIGN or prompt[other]["class_type"].startswith(OURS):
                seen.add(other)
                waiting.append(other)


def _costs(node: Mapping[str, Any]) -> str:
    known: dict[str, Any] = {STYLE: True} if link_of(node["inputs"].get(STYLE)) else {}
    known |= {
        name: value != 0 if name in WEIGHTS else _plain(value)
        for name, value in node["inputs"].items()
        if name not in FREE and isinstance(value, str | bool | int | float)
    }
    return json.dumps([node["class_type"], known], sort_keys=True)


def _plain(value: Any) -> Any:
    """Return a number as a float, since the front end sends 0 where ComfyUI has 0.0."""
    return float(value) if type(value) is int and abs(value) < 2**53 else value


def steps_of(prompt: Prompt, node: str) -> int | None:
    """Return how many steps the sampler `node` will take; None if a link or another node decides it.

    With correspondences, that depends on the number of images.
    """
    if prompt[node]["class_type"] in IN_COMFYS_SAMPLING:
        return None
    if any(kind == CORRESPONDENCES for kind, _ in _option_nodes(prompt, node)):
        return None
    try:
        if prompt[node]["class_type"] == TRANSLATE:
            preset = translation(prompt, node)
            return None if preset is None else len(preset.sampler.timetable)
        settings = settings_of(prompt, node)
        return None if settings is None else len(make_settings(settings).timetable)
    except (InputError, KeyError):  # what cannot run, and nodes that lack an input
        return None


def settings_of(prompt: Prompt, node: str) -> dict[str, Any] | None:
    """Return the settings of the sampler `node`, with those of its option nodes; None if something else decides one.

    Raise `InputError` and `KeyError` for what cannot run.
    """
    widgets = prompt[node]["inputs"]
    chain = list(_option_nodes(prompt, node))
    if any(kind not in READERS and kind != PRESET for kind, _ in chain):
        return None
    values = {name: widgets[name] for name in DEFAULTS if name in widgets} | _options_of(chain)
    return None if any(isinstance(value, list) for value in values.values()) else values


def has_color_match(prompt: Prompt, node: str) -> bool:
    """Return whether a preset gives the result of the sampler `node` the colors of its style image."""
    chain = _option_nodes(prompt, node)
    return any(kind == PRESET and preset_by(inputs["preset"]).color_match for kind, inputs in chain)


def translation(prompt: Prompt, node: str) -> Preset | None:
    """Return the preset that DiffuseIT Translate, `node`, will use; None if a link decides it.

    Raise `KeyError` if an input is missing, and `InputError` for values that cannot work.
    """
    inputs = prompt[node]["inputs"]
    loader, strength = link_of(inputs["models"]), inputs["strength"]
    name = prompt[loader]["inputs"].get("set") if loader and loader in prompt else None
    if not isinstance(name, str) or name not in SETS or link_of(strength) is not None:
        return None
    return preset_for(name, STYLE in inputs, strength)


def _option_nodes(prompt: Prompt, node: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the class and the inputs of the option nodes and the preset behind a sampler, from the last one on."""
    link, seen = prompt[node]["inputs"].get("options"), set()
    while (one := link_of(link)) in prompt and one not in seen:
        assert one is not None
        seen.add(one)
        kind, inputs = prompt[one]["class_type"], prompt[one]["inputs"]
        yield kind, inputs
        link = inputs.get("previous") if kind in READERS else None


def _options_of(chain: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the settings of option nodes and of a preset, read as their nodes read them.

    A link stays a link. Other nodes have no settings.
    """
    values: dict[str, Any] = {}
    for kind, inputs in reversed(chain):
        if kind in READERS:
            values |= READERS[kind]({name: inputs[name] for name in inputs.keys() - {"previous"}})
        elif kind != PRESET:
            continue
        elif link_of(inputs["preset"]) is not None:
            values |= dict.fromkeys(values_of(PRESETS[TEXT_DEFAULT].sampler), inputs["preset"])
        else:
            values |= values_of(preset_by(inputs["preset"]).sampler)
    return values


def _preset_in(chain: Sequence[tuple[str, Mapping[str, Any]]]) -> str | None:
    """Return the name of the preset among option nodes; None if there is none, or if a link decides it."""
    names = [inputs["preset"] for kind, inputs in chain if kind == PRESET]
    return names[0] if names and link_of(names[0]) is None else None


def answer(
    asked: Any, nodes: Mapping[str, type[io.ComfyNode]], known: Measured, device: str
) -> dict[str, Any]:
    """Return what is known before a run of the node that `asked` names in a prompt.

    `steps`, `measured`, and the `size` of the result are None where unknown. `settings` are the values that options
    replace, by the names of the node's inputs, None for those that a link decides, and `preset` is where they come
    from. `notes` are warnings.

    `nodes`: the classes of the pack's nodes by their ids. Raise `InputError` if it is not a prompt, or if the nodes
    would refuse a value.
    """
    prompt, node = asked_about(asked)
    if prompt[node]["class_type"] not in nodes:
        raise InputError(f"the node {shown(node)} is none of {OURS}'s")
    check_before(prompt, node, nodes)
    own = list(_before(prompt, node))
    figures = known.find(key_of(prompt, node, device))
    try:
        chain = list(_option_nodes(prompt, node))
        options, preset = _options_of(chain), _preset_in(chain)
    except (InputError, KeyError):  # what cannot run
        options, preset = {}, None
    names = {entry.id for entry in nodes[prompt[node]["class_type"]].define_schema().inputs}
    settings = {name: None if link_of(value) else value for name, value in options.items() if name in names}
    return {
        "steps": steps_of(prompt, node),
        "measured": None if figures is None else asdict(figures),
        "size": result_size(prompt, node, options),
        "settings": settings,
        "preset": preset if settings else None,
        "notes": notes(prompt, node, own, settings),
    }


def check_before(prompt: Prompt, node: str, nodes: Mapping[str, type[io.ComfyNode]]) -> None:
    """Raise `InputError` if a node of the pack, up to `node`, would refuse one of its values."""
    for one in _before(prompt, node):
        kind, inputs = prompt[one]["class_type"], prompt[one]["inputs"]
        if kind in nodes:
            literals = {name: value for name, value in inputs.items() if link_of(value) is None}
            # A model file that is not here is no error: nothing was measured with it.
            if isinstance(literals.get("model"), str):
                del literals["model"]
            check_inputs(nodes[kind], literals)


def asked_about(asked: Any) -> tuple[Prompt, str]:
    """Return the prompt that was asked about, and the id of a node in it."""
    if not isinstance(asked, dict) or not isinstance(prompt := asked.get("prompt"), dict):
        raise InputError('send {"prompt": nodes by their ids, "node": the id of a sampler}')
    for one in prompt.values():
        inputs = one.get("inputs") if isinstance(one, dict) else None
        if not isinstance(inputs, dict) or not isinstance(one.get("class_type"), str):
            raise InputError('each node of the prompt is {"class_type": its class, "inputs": by their names}')
    node = asked.get("node")
    if not isinstance(node, str) or node not in prompt:
        raise InputError(f"there is no node {shown(node)} in the prompt")
    return prompt, node


def note(prompt: Prompt | None, figures: Figures, node: str | None = None) -> None:
    """Record what the sampler `node` took, by default the running one. Without a prompt, nothing is recorded."""
    with Decoration("a note of what the run took"):
        node = executing()[1] if node is None else node
        if prompt and node in prompt:
            measured().note(key_of(prompt, node, device_name()), figures)
