"""The list of nodes, without a ComfyUI."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

from nodes_alone import NAME, fake_comfy, import_node_module


def test_a_module_that_cannot_be_imported_hides_no_other(monkeypatch, caplog):
    import_node_module(monkeypatch, "runtime", fake_comfy())
    nodes = importlib.import_module(f"{NAME}.nodes")
    good = ModuleType(f"{NAME}.nodes.good")
    good.NODES = [int, str]
    monkeypatch.setitem(sys.modules, good.__name__, good)
    monkeypatch.setattr(nodes, "MODULES", ("broken", "good"))
    assert nodes.node_classes() == [int, str]
    assert "the nodes in broken.py are missing, because" in caplog.text
    assert "No module named" in caplog.text


def test_routes_that_cannot_be_registered_hide_no_node(monkeypatch, caplog):
    """An older or newer server, or none as under a tool that only lists the nodes."""
    import_node_module(monkeypatch, "runtime", fake_comfy())
    nodes = importlib.import_module(f"{NAME}.nodes")
    monkeypatch.delitem(sys.modules, "server", raising=False)
    nodes.register_routes()
    assert not caplog.text
    server = ModuleType("server")
    server.PromptServer = SimpleNamespace(instance=object())  # without routes
    monkeypatch.setitem(sys.modules, "server", server)
    nodes.register_routes()
    assert "the sidebar cannot list or fetch models, because" in caplog.text
