"""The bridge to ComfyUI's devices, memory and progress: the only file that talks to `comfy`."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import comfy.model_management as management
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image
from torch import Tensor, nn

from ..diffuseit.performance.offload import OneAtATime
from ..diffuseit.performance.options import BALANCED, LOW_MEMORY, Execution
from .estimate import Measured
from .types import Network

FOLDER = "diffuseit"
SUFFIXES = {".safetensors", ".pt", ".pth", ".bin"}
PREVIEW_SIZE = 512

Result = TypeVar("Result")


def register_folder() -> None:
    """`models/diffuseit`, beside what `extra_model_paths.yaml` may already name."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir, FOLDER)))
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, SUFFIXES)


def model_files() -> list[str]:
    """The names of the files in the folder, as loaders list them."""
    return folder_paths.get_filename_list(FOLDER)


def model_path(name: str) -> str:
    """The file of a listed name."""
    return folder_paths.get_full_path_or_raise(FOLDER, name)


def download_folder() -> str:
    """Where downloaded models go."""
    return folder_paths.get_folder_paths(FOLDER)[0]


@contextmanager
def gradients() -> Iterator[None]:
    """Undoes the inference mode that ComfyUI runs nodes under: tensors made inside can take part in autograd."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class _Managed(nn.Module):
    """A network as `ModelPatcher` wants it: with room for the attributes it writes, `device` among them."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


def manage(network: nn.Module) -> ModelPatcher:
    """ComfyUI's handle on a network that lies on the CPU.

    A plain `ModelPatcher`: the dynamic one streams weights in on demand, which a backward pass cannot use.
    """
    named = type(type(network).__name__, (_Managed,), {})  # ComfyUI's log shows the name of the class
    return ModelPatcher(
        named(network),
        load_device=management.get_torch_device(),
        offload_device=management.unet_offload_device(),
    )


def choose_dtype(name: str) -> torch.dtype:
    """The dtype of a loader's option; "auto" is half precision where ComfyUI finds this device good at it."""
    if name != "auto":
        return getattr(torch, name)
    return torch.float16 if management.should_use_fp16(management.get_torch_device()) else torch.float32


def load(networks: Iterable[Network], memory_required: int) -> torch.device:
    """Brings networks to the device, whole, with room for `memory_required` bytes beside them."""
    patchers = _patchers(networks)
    management.load_models_gpu(patchers, memory_required=memory_required, force_full_load=True)
    for patcher in patchers:
        if patcher.loaded_size() < patcher.model_size():  # --novram: half a network cannot be differentiated
            patcher.patch_model(patcher.load_device)
        thaw(patcher.model)
    return management.get_torch_device()


def load_in_turns(resident: Network, guests: Iterable[Network], memory_required: int) -> None:
    """Brings one network to the device; the others are left to wait for their turns where ComfyUI unloads to."""
    management.unload_all_models()
    for patcher in _patchers(guests):
        thaw(patcher.model)
    load([resident], memory_required)


def _patchers(networks: Iterable[Network]) -> list[ModelPatcher]:
    return list(dict.fromkeys(patcher for network in networks for patcher in network.patchers))


def thaw(module: nn.Module) -> None:
    """Replaces weights that ComfyUI moved under inference mode by ones that autograd takes."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_inference():
                part.register_parameter(name, nn.Parameter(parameter.clone(), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_inference():
                part.register_buffer(name, buffer.clone(), name not in part._non_persistent_buffers_set)


def ways() -> list[Execution]:
    """How a run may use this device: the fastest way first, the one that takes the least memory last."""
    device = management.get_torch_device()
    if device.type in (management.unet_offload_device().type, "mps"):  # the same memory to wait in
        return [BALANCED, LOW_MEMORY]
    return [BALANCED, LOW_MEMORY, replace(LOW_MEMORY, turn=OneAtATime(device))]


def with_less_memory(
    attempt: Callable[[Execution], Result], needs: Callable[[Execution], int] = lambda way: 0
) -> Result:
    """`attempt` the first of `ways` whose `needs` in bytes the device has, and if it runs out, the next.

    `needs` include the weights. Raises a `RuntimeError` that says what to change if the last was not enough.
    """
    *before, last = ways()
    total = management.get_total_memory(management.get_torch_device())
    for way in before:
        if needs(way) > total:
            continue
        try:
            return attempt(way)
        except Exception as error:
            if not out_of_memory(error):
                raise
        logging.warning("DiffuseIT: out of memory; trying again, slower and with less")
        management.soft_empty_cache()
    try:
        return attempt(last)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise RuntimeError(
            "DiffuseIT ran out of memory, also in low-memory mode: use fewer pictures in a batch, fewer or "
            "smaller CLIP models, a ViT with patches of 16 instead of 8, or close what else uses the device"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Whether a device, of whatever make, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )


class Progress:
    """The bar and the preview on the running node; also the place where an interruption is answered."""

    def __init__(self, total: int):
        self._bar = comfy.utils.ProgressBar(total)

    def update(self, done: int, total: int, picture: Tensor | None = None) -> None:
        """`done` of `total` is over; `picture` [3, H, W] in [-1, 1] is shown. Raises ComfyUI's interruption."""
        preview = None
        if picture is not None:
            pixels = picture.detach().add(1).mul(127.5).clamp(0, 255).byte().movedim(0, -1).cpu().numpy()
            preview = ("JPEG", Image.fromarray(pixels), PREVIEW_SIZE)
        self._bar.update_absolute(done, total, preview)
        management.throw_exception_if_processing_interrupted()


def executing() -> tuple[str, str]:
    """What runs now, by the ids that the server's events give them: (prompt, node); empty where nothing does."""
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    return ("", "") if context is None else (str(context.prompt_id), str(context.node_id))


def tell(event: str, data: dict[str, Any]) -> None:
    """An event for the front end that queued the running prompt; does not wait for its way there.

    Nobody is told of a prompt that came without a client's id: the server would tell every page that is open.
    """
    from server import PromptServer

    server = PromptServer.instance
    if server.client_id is not None:
        server.send_sync(event, data, server.client_id)


def show_text(text: str) -> None:
    """Show a line of text on the running node, and in ComfyUI's log."""
    from server import PromptServer

    logging.info("DiffuseIT: %s", text)
    PromptServer.instance.send_progress_text(text, executing()[1])


def setting(name: str, default: Any) -> Any:
    """What the user chose in ComfyUI's settings, `default` where nothing."""
    path = Path(folder_paths.get_user_directory(), "default", "comfy.settings.json")
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(name, default)
    except (OSError, ValueError):
        return default


def measured() -> Measured:
    """The figures of earlier runs on this machine."""
    return Measured(Path(folder_paths.get_user_directory(), "default", "diffuseit_runs.json"))


def device_name() -> str:
    """What ComfyUI calls the device."""
    return management.get_torch_device_name(management.get_torch_device())


def weights_bytes(networks: Iterable[Network]) -> int:
    """What networks take of the device, each counted once."""
    return sum(patcher.model_size() for patcher in _patchers(networks))


def check_interruption() -> None:
    """Raises ComfyUI's interruption if the user asked for it."""
    management.throw_exception_if_processing_interrupted()


@contextmanager
def interruptible(backbone: nn.Module) -> Iterator[None]:
    """Answers an interruption before each call of the diffusion model: the inversion's have no step to answer in."""
    hooks = [
        network.register_forward_pre_hook(lambda *_: check_interruption()) for network in backbone.children()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def to_output(tensor: Tensor) -> Tensor:
    """Where ComfyUI keeps what travels between nodes."""
    return tensor.to(management.intermediate_device())
