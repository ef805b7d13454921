"""Modules of nodes/ without a ComfyUI: the checkout as a package of any name, with a tiny fake of `comfy`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

ROOT = Path(__file__).parents[1]
NAME = "pack_of_any_name"


def import_node_module(monkeypatch, name: str, fakes: dict[str, ModuleType] | None = None) -> ModuleType:
    """`nodes.<name>`, imported afresh beside `fakes`; the test's end takes both out of `sys.modules`."""
    for loaded in [key for key in sys.modules if key == NAME or key.startswith(f"{NAME}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    for key, fake in (fakes or {}).items():
        monkeypatch.setitem(sys.modules, key, fake)
    spec = importlib.util.spec_from_file_location(
        NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, package)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{NAME}.nodes.{name}")


def fake_comfy() -> dict[str, ModuleType]:
    """As much of ComfyUI as nodes/runtime.py and nodes/types.py import; what it was asked is in `calls`."""
    management = _module(
        "comfy.model_management",
        calls=[],
        interrupted=None,
        get_torch_device=lambda: torch.device("cpu"),
        unet_offload_device=lambda: torch.device("cpu"),
        should_use_fp16=lambda device: False,
        get_total_memory=lambda device: 1000,
    )
    management.unload_all_models = lambda: management.calls.append("unload_all_models")
    management.soft_empty_cache = lambda: management.calls.append("soft_empty_cache")
    management.load_models_gpu = lambda patchers, **options: management.calls.append((patchers, options))

    def throw() -> None:
        if management.interrupted:
            raise management.interrupted

    management.throw_exception_if_processing_interrupted = throw
    utils = _module("comfy.utils", ProgressBar=_ProgressBar)
    patcher = _module("comfy.model_patcher", ModelPatcher=_Patcher)
    api = _module("comfy_api.latest", io=SimpleNamespace(Custom=lambda name: name))
    comfy = _module("comfy", model_management=management, utils=utils, model_patcher=patcher)
    modules = (comfy, management, utils, patcher, _module("comfy_api", latest=api), api)
    return {module.__name__: module for module in (*modules, _module("folder_paths"))}


class _Patcher:
    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.loaded = True

    def model_size(self) -> int:
        return 8

    def loaded_size(self) -> int:
        return 8 if self.loaded else 3

    def patch_model(self, device) -> None:
        self.loaded = True


class _ProgressBar:
    def __init__(self, total):
        self.total, self.seen = total, []

    def update_absolute(self, value, total, preview):
        self.seen.append((value, total, preview))


def _module(name: str, **contents) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module
