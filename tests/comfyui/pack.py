"""The pack inside ComfyUI's process, for tests that call its nodes without a server (`inside.call_inside`)."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def pack() -> ModuleType:
    """The pack as ComfyUI imports it, under a name that modules of ComfyUI do not have."""
    if "diffuseit_pack" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "diffuseit_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules["diffuseit_pack"] = module
        spec.loader.exec_module(module)
        importlib.import_module("diffuseit_pack.nodes.comfy.folders").register()
    return sys.modules["diffuseit_pack"]


def part(name: str) -> ModuleType:
    """A module of the pack, such as "nodes.guide_model"."""
    pack()
    return importlib.import_module(f"diffuseit_pack.{name}")
