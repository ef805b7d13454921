"""The list of nodes, without a ComfyUI."""

import ast
import importlib
import sys
from types import ModuleType

import pytest
from nodes_alone import NAME, import_node_module

from tools.fake_comfyui import ROOT


def test_a_module_that_cannot_be_imported_hides_no_other(monkeypatch, caplog):
    import_node_module(monkeypatch, "comfy")
    nodes = importlib.import_module(f"{NAME}.nodes")
    good = ModuleType(f"{NAME}.nodes.good")
    good.NODES = [int, str]
    monkeypatch.setitem(sys.modules, good.__name__, good)
    monkeypatch.setattr(nodes, "MODULES", ("broken", "good"))
    assert nodes.node_classes() == (int, str)
    assert "the nodes in broken.py are missing, because" in caplog.text
    assert "No module named" in caplog.text


def test_routes_that_cannot_be_registered_hide_no_node(monkeypatch, caplog):
    """As on an older or newer server."""
    import_node_module(monkeypatch, "comfy")
    nodes = importlib.import_module(f"{NAME}.nodes")
    nodes.register_routes(object())  # without routes
    assert "the sidebar and the estimates on samplers do not work, because" in caplog.text
    assert nodes.node_classes()


INTERNALS = {"comfy", "comfy_execution", "folder_paths", "server", "nodes"}


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").glob("*.py")), ids=lambda path: path.stem)
def test_only_the_bridge_talks_to_comfyui(path):
    imported = {
        name.split(".")[0]
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in statement.names]
            if isinstance(statement, ast.Import)
            else [statement.module or ""]
            if isinstance(statement, ast.ImportFrom) and not statement.level
            else []
        )
    }
    assert not imported & INTERNALS
