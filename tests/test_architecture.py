"""Imports point one way: cli and nodes use the interface, that the guidance, and the guidance the networks.

What counts is every import that is written anywhere in `diffuseit/`, also inside functions and for type checkers.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "diffuseit"
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "server"}

MAY_IMPORT = {
    "errors": (),
    "schema": ("errors",),
    "files": ("errors",),
    "shards": ("errors", "schema"),
    "models": ("errors", "schema", "files"),
    "correspondence": ("errors", "schema", "models"),
    "losses": ("errors", "schema", "models", "correspondence"),
    "methods": ("errors", "schema", "models", "losses.base"),
    "performance": ("errors", "schema", "models", "losses"),
    "guidance": ("errors", "schema", "models", "losses", "methods", "performance"),
    "frames": ("errors", "schema", "files", "images", "correspondence"),
    "evaluation": ("errors", "schema", "shards", "files", "models", "losses", "images"),
    "inspection": ("errors", "schema", "files", "models", "losses", "images"),
    "presets": ("errors", "schema", "models", "losses", "methods", "guidance"),
}
"""What a part of the package may import beside itself; the parts that are not named stand above all of these."""


def module_of(path):
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in (ROOT / PACKAGE).rglob("*.py")}


def imports_of(source, package, modules):
    """The names of all modules that `source`, a file of `package`, imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                found.add(inside if inside in modules else base)
    return found


@pytest.fixture(scope="module")
def imports():
    """The modules that each module of the package imports."""
    found = {}
    for module, path in FILES.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found[module] = imports_of(path.read_text(encoding="utf-8"), package, FILES)
    return found


def part_of(module):
    """ "guidance.loop" of "diffuseit.guidance.loop"."""
    return module.removeprefix(f"{PACKAGE}.")


def within(module, parts):
    return any(module == part or module.startswith(f"{part}.") for part in parts)


def test_imports_are_found_wherever_they_are_written():
    source = """
import a.b
from typing import TYPE_CHECKING
from . import near
from .. import errors
from ..models import vit, load as load_it
from ..models.vit import ViT
if TYPE_CHECKING:
    from ..api import Models
def later():
    from .deep.down import thing
"""
    modules = {"p.errors", "p.models", "p.models.vit", "p.losses.near", "p.api", "p.losses.deep.down"}
    found = imports_of(source, "p.losses", modules)
    assert found == {"a.b", "typing", "p.models", *modules}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_lies_below_it(imports, part):
    assert any(within(part_of(module), [part]) for module in FILES), (
        "the table names a part that is not there"
    )
    allowed = (part, *MAY_IMPORT[part])
    wrong = {
        f"{module} imports {target}"
        for module, targets in imports.items()
        if within(part_of(module), [part])
        for target in targets & FILES.keys()
        if not within(part_of(target), allowed)
    }
    assert not wrong


def test_nothing_imports_nodes_or_comfyui(imports):
    wrong = {
        f"{module} imports {target}"
        for module, targets in imports.items()
        for target in targets
        if target.partition(".")[0] in COMFYUI or target.startswith(".") or not target
    }
    assert not wrong


def test_no_import_comes_back(imports):
    """To import a module also runs the packages that it lies in."""

    def runs(module, target):
        parents = [target.rsplit(".", up)[0] for up in range(1, target.count(".") + 1)]
        return {target, *(parent for parent in parents if not within(module, [parent]))}

    graph = {
        module: set().union(*(runs(module, target) for target in targets & FILES.keys()))
        for module, targets in imports.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' <- '.join(error.args[1])}")
