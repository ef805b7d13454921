"""The schemas of the nodes, read without a ComfyUI."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from . import fake_comfyui
from .fake_comfyui import ROOT, Schema, Slot

__all__ = ["ROOT", "Schema", "Slot", "node_schemas"]

PACK = "diffuseit_pack"


@contextmanager
def _no_comfyui() -> Iterator[None]:
    """Put the fake modules in `sys.modules`, and remove them and the pack afterward."""
    fakes = fake_comfyui.modules()
    before = {name: sys.modules.get(name) for name in fakes}
    sys.modules.update(fakes)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
        for name in [name for name in sys.modules if name.split(".")[0] == PACK]:
            del sys.modules[name]


def node_schemas() -> dict[str, Schema]:
    """Return the schema of every node by its id, in the order of the menu. Raise if a module fails to import."""
    with _no_comfyui():
        fake_comfyui.import_pack(PACK)
        importlib.import_module(f"{PACK}.nodes.comfy.folders").register()
        modules = importlib.import_module(f"{PACK}.nodes").MODULES
        nodes = [node for name in modules for node in importlib.import_module(f"{PACK}.nodes.{name}").NODES]
        schemas = [node.define_schema() for node in nodes]
    return {schema.node_id: schema for schema in schemas}
