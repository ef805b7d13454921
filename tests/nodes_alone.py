"""Modules of nodes/ without a ComfyUI: the checkout as a package of any name, beside a fake of it."""

import importlib
import sys
from types import ModuleType

import pytest

from tools import fake_comfyui

NAME = "pack_of_any_name"


def import_node_module(
    monkeypatch: pytest.MonkeyPatch, name: str, fakes: dict[str, ModuleType] | None = None
) -> ModuleType:
    """Return `nodes.<name>`, imported afresh beside `fakes`; the test's end takes all out of `sys.modules`."""
    for loaded in [key for key in sys.modules if key == NAME or key.startswith(f"{NAME}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    for key, fake in (fakes or fake_comfyui.modules()).items():
        monkeypatch.setitem(sys.modules, key, fake)
    fake_comfyui.import_pack(NAME, lambda key, package: monkeypatch.setitem(sys.modules, key, package))
    return importlib.import_module(f"{NAME}.nodes.{name}")
