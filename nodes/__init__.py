"""The ComfyUI nodes. Each module lists its own in `NODES`; one that cannot be imported hides no other."""

import logging
from importlib import import_module

MODULES = ("loaders", "losses", "photo_losses", "preset", "sampler", "colours", "download", "examples")


def node_classes() -> list[type]:
    """All nodes that can be had here, in the order of the menu."""
    found: list[type] = []
    for name in MODULES:
        try:
            found += import_module(f".{name}", __name__).NODES
        except Exception:
            logging.exception("DiffuseIT: the nodes in %s.py are missing, because:", name)
    return found
