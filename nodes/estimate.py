"""What a run will take, by what runs with the same models and losses took on this machine.

After each run its seconds per step, its memory and its network calls are written down under a key that holds what
they depend on: model files, losses, method. The front end sends the prompt it would queue and gets back how many
steps that is and what was measured, or null where there was no such run.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..diffuseit.errors import InputError
from ..diffuseit.images.atomic import atomic_path
from ..diffuseit.presets import PRESETS
from .settings import sampler_settings

SAMPLER = "DiffuseITSampler"
OURS = "DiffuseIT"
PICTURES = ("image", "mask", "style_image", "reference")
COSTS_OF_SAMPLER = ("method", "inner_steps", "view", "guide_from", "guide_until", "solver", "tail_steps")
COSTS_OF_LOSSES = ("crops", "preset", "applies_to", "weight_before", "weight_after", "ramp_start", "ramp_end")
LOADER = "DiffuseITLoad"
KEPT = 100

Prompt = Mapping[str, Mapping[str, Any]]
"""Nodes as ComfyUI's API has them, by id: `class_type` and `inputs`, where [id, slot] is a link."""


@dataclass(frozen=True)
class Figures:
    """Of one run. `memory`: bytes of weights and run. `size`: (width, height) of each of its `pictures`."""

    seconds_per_step: float
    memory: int
    calls: Mapping[str, float]
    pictures: int
    size: tuple[int, int]


def key_of(prompt: Prompt, node: str, device: str) -> str:
    """Everything in the graph before the sampler `node` that time and memory depend on, but for the pictures."""
    parts = sorted(_costs(prompt[one]) for one in _before(prompt, node))
    return json.dumps([device, *parts])


def _before(prompt: Prompt, node: str) -> Iterator[str]:
    """The nodes of ours that `node` gets something from, itself first, each once."""
    seen, waiting = {node}, [node]
    while waiting:
        one = waiting.pop()
        yield one
        for name, value in prompt[one]["inputs"].items():
            other = None if name in PICTURES else _link(value)
            if other in prompt and other not in seen and prompt[other]["class_type"].startswith(OURS):
                seen.add(other)
                waiting.append(other)


def _link(value: Any) -> str | None:
    return str(value[0]) if isinstance(value, list) and len(value) == 2 else None


def _costs(node: Mapping[str, Any]) -> str:
    kind, inputs = node["class_type"], node["inputs"]
    names = COSTS_OF_SAMPLER if kind == SAMPLER else COSTS_OF_LOSSES
    known = {
        name: _plain(value)
        for name, value in inputs.items()
        if _link(value) is None and (kind.startswith(LOADER) or name in names)
    }
    off = [name for name, value in inputs.items() if value == 0 and kind != SAMPLER]  # a weight, most likely
    return json.dumps([kind, known, off], sort_keys=True)


def _plain(value: Any) -> Any:
    """A number as a float: the front end sends 0 where ComfyUI then has 0.0."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def steps_of(prompt: Prompt, node: str) -> int | None:
    """How many steps the sampler `node` will take; None where a link decides that."""
    inputs = prompt[node]["inputs"]
    preset = prompt.get(_link(inputs.get("settings")) or "")
    if preset is not None:
        chosen = PRESETS.get(str(preset["inputs"].get("preset")))
        return None if chosen is None else chosen.sampler.visits
    widgets = {name: value for name, value in inputs.items() if name in COUNTING}
    if any(isinstance(value, list) for value in widgets.values()):
        return None
    try:
        return sampler_settings(**widgets).visits
    except (InputError, TypeError):
        return None


COUNTING = ("steps", "skip", "resample", "method", "guide_until", "solver", "tail_steps")


class Measured:
    """The figures of earlier runs, in a file. What is not readable there counts as not measured."""

    def __init__(self, path: Path):
        self._path = path

    def find(self, key: str) -> Figures | None:
        """Those of the last run with `key`."""
        try:
            found = self._read()[key]
            return Figures(**found | {"size": tuple(found["size"])})
        except (KeyError, TypeError):
            return None

    def note(self, key: str, figures: Figures) -> None:
        """Writes a run down, and forgets the oldest of too many."""
        known = self._read()
        known.pop(key, None)
        known[key] = asdict(figures)
        kept = dict(list(known.items())[-KEPT:])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path) as path:
            path.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def answer(prompt: Prompt, node: str, measured: Measured, device: str) -> dict[str, Any]:
    """`steps` and `measured` of the sampler `node`, null where unknown. Raises `KeyError` for a node not there."""
    figures = measured.find(key_of(prompt, node, device))
    return {"steps": steps_of(prompt, node), "measured": None if figures is None else asdict(figures)}


def register(server: Any) -> None:
    """POST /diffuseit/estimate: a prompt and the id of a sampler in it."""
    from aiohttp import web

    from . import runtime

    @server.routes.post("/diffuseit/estimate")
    async def estimate(request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            told = answer(asked["prompt"], str(asked["node"]), runtime.measured(), runtime.device_name())
        except (KeyError, TypeError, ValueError, AttributeError):
            return web.json_response({"error": "send a prompt, and the id of a sampler in it"}, status=400)
        return web.json_response(told)
