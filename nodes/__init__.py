"""The ComfyUI nodes. Each module lists its own in `NODES`; one that cannot be imported hides no other."""

import logging
import sys
from importlib import import_module

MODULES = (
    "loaders",
    "losses",
    "photo_losses",
    "preset",
    "sampler",
    "variations",
    "colors",
    "download",
    "examples",
)


def node_classes() -> list[type]:
    """All nodes that can be had here, in the order of the menu."""
    found: list[type] = []
    for name in MODULES:
        try:
            found += import_module(f".{name}", __name__).NODES
        except Exception:
            logging.exception("DiffuseIT: the nodes in %s.py are missing, because:", name)
    return found


ROUTES = {
    "routes": "the sidebar cannot list or fetch models",
    "estimate": "samplers cannot say what a run will take",
}
"""Modules with routes, and what is missing without them."""


def register_routes() -> None:
    """What the front end asks of ComfyUI's server, where one runs. The nodes need none of it."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None:
        return
    for name, lost in ROUTES.items():
        try:
            import_module(f".{name}", __name__).register(server)
        except Exception:
            logging.exception("DiffuseIT: %s, because:", lost)
