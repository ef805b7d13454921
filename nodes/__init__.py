"""The ComfyUI nodes. Each module lists its own in `NODES`. A module that fails to import hides no other."""

import logging
from functools import cache
from importlib import import_module
from typing import Any

MODULES = (
    "loaders",
    "pocket",
    "losses",
    "schedule",
    "options",
    "correspondences",
    "load_flow",
    "preset",
    "save_preset",
    "sampler",
    "translate",
    "guide_model",
    "latent_sampler",
    "model_options",
    "variations",
    "part_of_batch",
    "color",
    "evaluate",
    "full_size",
    "consensus",
    "save_signed",
    "verify",
    "inspect",
    "download",
    "examples",
)


@cache
def node_classes() -> tuple[Any, ...]:
    """Return all nodes that can be imported, in the order of the menu."""
    found: list[Any] = []
    for name in MODULES:
        try:
            found += import_module(f".{name}", __name__).NODES
        except Exception:
            logging.exception("DiffuseIT: the nodes in %s.py are missing, because:", name)
    return tuple(found)


def register_routes(server: Any) -> None:
    """Add the routes that the front end uses to ComfyUI's server. The nodes need none of them."""
    try:
        import_module(".routes", __name__).register(server)
    except Exception:
        logging.exception("DiffuseIT: the sidebar and the estimates on samplers do not work, because:")
