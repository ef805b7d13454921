"""A saved workflow as the prompt that the front end makes of it, for graphs without subgraphs."""

import json
from pathlib import Path
from typing import Any

from comfyui.server import Prompt

EXAMPLES = Path(__file__).resolve().parents[2] / "example_workflows"
CONTROLS = ("fixed", "increment", "decrement", "randomize")
"""Values of the widget behind a seed, which the server does not know."""

ONLY_FOR_EYES = ("MarkdownNote", "Note")
MUTED = 2


def as_prompt(workflow: dict[str, Any]) -> Prompt:
    """Nodes by id, with the links and the widgets' values of their inputs; outputs are asked for what they show."""
    origins = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    return {
        str(node["id"]): (node["type"], _inputs(node, origins))
        for node in workflow["nodes"]
        if node["type"] not in ONLY_FOR_EYES and node["mode"] != MUTED
    }


def example(name: str) -> Prompt:
    """The prompt of an example workflow."""
    return as_prompt(json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8")))


def _inputs(node: dict[str, Any], origins: dict[int, list[Any]]) -> dict[str, Any]:
    values = iter(_widgets_values(node))
    found: dict[str, Any] = {}
    for socket in node["inputs"]:
        if "widget" in socket:
            found[socket["name"]] = next(values)
        if socket.get("link") is not None:
            found[socket["name"]] = origins[socket["link"]]
    return found


def _widgets_values(node: dict[str, Any]) -> list[Any]:
    """Without what only the front end uses."""
    values = list(node.get("widgets_values") or [])
    names = [socket["name"] for socket in node["inputs"] if "widget" in socket]
    if "seed" in names and values[(after := names.index("seed") + 1) : after + 1] in [[c] for c in CONTROLS]:
        del values[after]
    return values
