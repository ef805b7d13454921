"""What the nodes say of themselves, read where there is no ComfyUI: a stand-in for its `io` takes it down."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

ROOT = Path(__file__).resolve().parents[1]
PACK = "diffuseit_pack"
COMFYUI = (
    "comfy",
    "comfy.model_management",
    "comfy.model_patcher",
    "comfy.utils",
    "comfy_api",
    "comfy_api.latest",
    "folder_paths",
)
"""The modules of ComfyUI that nodes import."""


@dataclass
class Slot:
    """An input or output. `id` is None for an output; `kind` is ComfyUI's name of the type, as in IMAGE."""

    kind: str
    id: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def tooltip(self) -> str:
        return self.options.get("tooltip", "")


@dataclass
class Schema:
    """What `define_schema` gives, as far as there are words in it."""

    node_id: str
    display_name: str
    description: str
    inputs: list[Slot]
    outputs: list[Slot]


class _Kind:
    """`io.Image` and its like."""

    Type = Any

    def __init__(self, name: str):
        self.name = name

    def Input(self, id: str, **options: Any) -> Slot:  # noqa: N802 (ComfyUI's name)
        return Slot(self.name, id, options)

    def Output(self, **options: Any) -> Slot:  # noqa: N802
        return Slot(self.name, None, options)

    def TemplatePrefix(self, *arguments: Any, **options: Any) -> None:  # noqa: N802
        """Of `io.Autogrow`: how its slots look, which no text names."""


class _IO(ModuleType):
    """`comfy_api.latest.io`."""

    ComfyNode = NodeOutput = Input = Output = object
    Hidden = MagicMock()
    Custom = _Kind

    @staticmethod
    def Schema(**said: Any) -> Schema:  # noqa: N802
        known = {entry.name for entry in fields(Schema)}
        return Schema(**{name: value for name, value in said.items() if name in known})

    def __getattr__(self, name: str) -> _Kind:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Kind(name.upper())


@contextmanager
def _stand_in() -> Iterator[None]:
    """Puts the stand-in where ComfyUI's modules are imported from, and takes it away again."""
    before = {name: sys.modules.get(name) for name in COMFYUI}
    sys.modules.update({name: MagicMock(name=name) for name in COMFYUI})
    sys.modules["comfy_api.latest"].io = _IO("io")  # type: ignore[attr-defined]
    sys.modules["folder_paths"].get_filename_list = lambda folder: []  # type: ignore[attr-defined]
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
    """The schema of every node by its id, in the order of the menu. A module that cannot be imported raises."""
    spec = importlib.util.spec_from_file_location(
        PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec and spec.loader
    with _stand_in():
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = package
        spec.loader.exec_module(package)
        modules = importlib.import_module(f"{PACK}.nodes").MODULES
        nodes = [node for name in modules for node in importlib.import_module(f"{PACK}.nodes.{name}").NODES]
        schemas = [node.define_schema() for node in nodes]
    return {schema.node_id: schema for schema in schemas}
