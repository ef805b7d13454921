"""A fake ComfyUI for tools and tests that run without it: as much of its interfaces as the nodes import.

It keeps the schemas of nodes as they are declared. Its only device is a CPU with 1000 bytes. Tests with a real ComfyUI
are in tests/comfyui.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Slot:
    """An input or output of a node. `id` is None for an output. `kind` is ComfyUI's name of the type, such as IMAGE."""

    kind: str
    id: str | None = None
    display_name: str | None = None
    tooltip: str = ""
    optional: bool = False
    default: Any = None
    min: float | None = None
    max: float | None = None
    options: Sequence[str] = ()
    template: Any = None

    def get_io_type(self) -> str:
        return self.kind


@dataclass
class Schema:
    """The part of what `define_schema` returns that tools and tests read."""

    node_id: str
    display_name: str
    description: str
    inputs: list[Slot] = field(default_factory=list)
    outputs: list[Slot] = field(default_factory=list)


def _known(kind: type, said: dict[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in said.items() if name in names}


class _Type:
    """`io.Image` and its like."""

    def __init__(self, io_type: str):
        self.io_type = io_type

    def Input(self, id: str, **said: Any) -> Slot:  # noqa: N802 (ComfyUI's name)
        return Slot(self.io_type, id, **_known(Slot, said))

    def Output(self, **said: Any) -> Slot:  # noqa: N802
        return Slot(self.io_type, None, **_known(Slot, said))


class _Autogrow(_Type):
    Type = Any

    @staticmethod
    def TemplatePrefix(input: Slot, **said: Any) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(input=input, **said)


class _ComfyNode:
    hidden = SimpleNamespace(unique_id="1", prompt=None, extra_pnginfo=None)


class _NodeOutput:
    def __init__(self, *args: Any, ui: Any = None):
        self.args, self.ui = args, ui


IO = SimpleNamespace(
    **{
        name: _Type(name.upper())
        for name in (
            *("Boolean", "Combo", "Float", "Int", "String"),
            *("Conditioning", "Image", "Mask", "Model", "Sampler", "Vae"),
        )
    },
    Autogrow=_Autogrow("AUTOGROW"),
    Custom=_Type,
    Hidden=SimpleNamespace(unique_id="unique_id", prompt="prompt", extra_pnginfo="extra_pnginfo"),
    ComfyNode=_ComfyNode,
    NodeOutput=_NodeOutput,
    Schema=lambda **said: Schema(**_known(Schema, said)),
    Input=Slot,
    Output=Slot,
    UploadType=SimpleNamespace(image="image_upload"),
)
"""`comfy_api.latest.io`."""


class _Patcher:
    def __init__(self, model: torch.nn.Module, load_device: torch.device, offload_device: torch.device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.loaded = True

    def model_size(self) -> int:
        return 8

    def loaded_size(self) -> int:
        return 8 if self.loaded else 3

    def patch_model(self, device: torch.device) -> None:
        self.loaded = True


class _ProgressBar:
    def __init__(self, total: int):
        self.total = total
        self.seen: list[tuple[int, int, Any]] = []

    def update_absolute(self, value: int, total: int, preview: Any) -> None:
        self.seen.append((value, total, preview))


class _Interruption(Exception):  # noqa: N818 (ComfyUI's; no Exception in its newer versions)
    pass


def _management() -> ModuleType:
    calls: list[Any] = []
    management = _module(
        "comfy.model_management",
        calls=calls,
        interrupted=None,
        InterruptProcessingException=_Interruption,
        get_torch_device=lambda: torch.device("cpu"),
        get_torch_device_name=str,
        unet_offload_device=lambda: torch.device("cpu"),
        intermediate_device=lambda: torch.device("cpu"),
        should_use_fp16=lambda device: False,
        get_total_memory=lambda device: 1000,
        unload_all_models=lambda: calls.append("unload_all_models"),
        soft_empty_cache=lambda: calls.append("soft_empty_cache"),
        load_models_gpu=lambda patchers, **options: calls.append((patchers, options)),
    )

    def throw() -> None:
        if management.interrupted:
            raise management.interrupted

    management.throw_exception_if_processing_interrupted = throw  # type: ignore[attr-defined]
    return management


def _folder_paths(base: Path) -> ModuleType:
    """Return `folder_paths` with the models in `base`/models/diffuseit and the user's files in `base`/user."""
    known: dict[str, tuple[list[str], set[str]]] = {}

    def add_model_folder_path(name: str, path: str) -> None:
        known.setdefault(name, ([], set()))[0].append(path)

    def files(name: str) -> list[str]:
        paths, suffixes = known.get(name, ([], set()))
        found = (entry.name for path in paths if Path(path).is_dir() for entry in Path(path).iterdir())
        return sorted(entry for entry in found if Path(entry).suffix in suffixes)

    def full_path(name: str, file: str) -> str | None:
        return next((str(found) for path in known[name][0] if (found := Path(path, file)).is_file()), None)

    def annotated(name: str) -> str:
        folder, name = ("output", name[:-9]) if name.endswith(" [output]") else ("input", name)
        return str(base / folder / name)

    def save_path(prefix: str, folder: str, width: int, height: int) -> tuple[str, str, int, str, str]:
        place = Path(folder, prefix)
        if not place.resolve().is_relative_to(Path(folder).resolve()):
            raise Exception("Saving image outside the output folder is not allowed.")
        place.parent.mkdir(parents=True, exist_ok=True)
        return str(place.parent), place.name, 1, str(Path(prefix).parent), prefix

    return _module(
        "folder_paths",
        models_dir=str(base / "models"),
        folder_names_and_paths=known,
        add_model_folder_path=add_model_folder_path,
        get_filename_list=files,
        get_full_path=full_path,
        get_folder_paths=lambda name: known[name][0],
        get_user_directory=lambda: str(base / "user"),
        get_input_directory=lambda: str(base / "input"),
        get_output_directory=lambda: str(base / "output"),
        get_annotated_filepath=annotated,
        get_save_image_path=save_path,
    )


def modules(base: Path = ROOT / "no such folder") -> dict[str, ModuleType]:
    """Return the modules by their import names, with their files in `base`.

    `comfy.model_management.calls` lists the calls that the device got.
    """
    management = _management()
    utils = _module("comfy.utils", ProgressBar=_ProgressBar)
    patcher = _module("comfy.model_patcher", ModelPatcher=_Patcher)
    sampling = _module("comfy.model_sampling", CONST=type("CONST", (), {}))
    samplers = _module("comfy.samplers", KSAMPLER=SimpleNamespace)
    wrappers = SimpleNamespace(OUTER_SAMPLE="outer", SAMPLER_SAMPLE="sampler", PREDICT_NOISE="predict")
    extension = _module("comfy.patcher_extension", WrappersMP=wrappers, add_wrapper_with_key=None)
    comfy = {"model_management": management, "utils": utils, "model_patcher": patcher, "samplers": samplers}
    api = _module(
        "comfy_api.latest",
        io=IO,
        ui=SimpleNamespace(PreviewText=str),
        ComfyExtension=object,
    )
    execution = _module("comfy_execution.utils", get_executing_context=lambda: None)
    found = [
        _module("comfy", **comfy, model_sampling=sampling, patcher_extension=extension),
        management,
        utils,
        patcher,
        sampling,
        samplers,
        extension,
        _module("comfy.sd"),
        _module("comfy.cli_args", args=SimpleNamespace(disable_metadata=False)),
        _module("comfy_api", latest=api),
        api,
        _module("comfy_execution", utils=execution),
        execution,
        _folder_paths(base),
    ]
    return {module.__name__: module for module in found}


def import_pack(name: str, keep: Callable[[str, ModuleType], Any] = sys.modules.__setitem__) -> ModuleType:
    """Import the checkout anew as a package of any name, as ComfyUI does. `keep` puts it into `sys.modules`."""
    spec = importlib.util.spec_from_file_location(
        name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    keep(name, package)
    spec.loader.exec_module(package)
    return package


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module
