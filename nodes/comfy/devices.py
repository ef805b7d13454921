"""Networks on ComfyUI's devices: load them, unload them, and prepare them for a backward pass."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management as management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...diffuseit.errors import InputError
from ..types import Network


@contextmanager
def gradients() -> Iterator[None]:
    """Leave the inference mode that ComfyUI runs nodes in, so that autograd accepts tensors made inside the block."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def backward_through_models() -> Iterator[None]:
    """Let autograd pass through ComfyUI's diffusion models; forward and backward pass are inside the block.

    Their fused kernels have no backward pass and are off while ComfyUI trains. Their blocks add in place to what is
    saved.
    """
    before, management.in_training = management.in_training, True
    try:
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            yield
    finally:
        management.in_training = before


class _Managed(nn.Module):
    """A network inside a module on which `ModelPatcher` may set attributes, such as `device`."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


def manage(network: nn.Module) -> ModelPatcher:
    """Return ComfyUI's handle on a network that is on the CPU.

    It is a plain `ModelPatcher`: the dynamic one streams weights in on demand, which a backward pass cannot use.
    """
    # ComfyUI's log shows the name of the class.
    named = type(type(network).__name__, (_Managed,), {})
    return ModelPatcher(
        named(network),
        load_device=management.get_torch_device(),
        offload_device=management.unet_offload_device(),
    )


def choose_dtype(name: str) -> torch.dtype:
    """Return the dtype of a loader's option. "auto" is half precision if ComfyUI finds the device good at it."""
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    return torch.float16 if management.should_use_fp16(management.get_torch_device()) else torch.float32


def load(networks: Sequence[Network], memory_required: int) -> torch.device:
    """Bring whole networks to the device, with room for `memory_required` bytes beside them."""
    patchers = _patchers(networks)
    management.load_models_gpu(patchers, memory_required=memory_required, force_full_load=True)
    hold(networks)
    return current_device()


def load_beside(model: Any, networks: Sequence[Network], memory_required: int) -> None:
    """Bring whole networks to the device beside a MODEL, which gets what room they and `memory_required` leave."""
    management.load_models_gpu([model, *_patchers(networks)], memory_required=memory_required)
    hold(networks)


def unload_others(model: Any, networks: Iterable[Network]) -> None:
    """Leave nothing on the device but the MODEL and the networks."""
    keep = [management.LoadedModel(patcher) for patcher in (model, *_patchers(networks))]
    management.free_memory(1e30, management.get_torch_device(), keep_loaded=keep)


def hold(networks: Iterable[Network]) -> None:
    """Make networks that ComfyUI loaded, or moved since then, fit for a backward pass."""
    for patcher in _patchers(networks):
        # With --novram it is loaded in part, and half a network cannot be differentiated.
        if patcher.loaded_size() < patcher.model_size():
            patcher.patch_model(patcher.load_device)
        thaw(patcher.model)


def static(patcher: Any) -> Any:
    """Return a patcher whose weights stay where they are between a forward and a backward pass.

    A dynamic one is replaced by a plain one with the weights of its file, or with a copy of its own.
    """
    if not patcher.is_dynamic():
        return patcher
    try:
        return patcher.clone(disable_dynamic=True)
    except (RuntimeError, TypeError):  # it came from no file; an older ComfyUI has no such option
        model = copy.deepcopy(patcher.model)
        return ModelPatcher(model, load_device=patcher.load_device, offload_device=patcher.offload_device)


def prepare_backward(model: Any) -> None:
    """Make a loaded MODEL fit for a backward pass. Raise `InputError` if it cannot be."""
    advice = "leave 'gradient' at 'prediction', which needs no backward pass of the model"
    if model.is_dynamic():
        raise InputError(f"ComfyUI streams the weights of this model (dynamic VRAM): {advice}")
    if any(type(weight) not in _PLAIN or not weight.is_floating_point() for weight in _weights(model)):
        raise InputError(f"the weights of this model are quantized: {advice}")
    if model.loaded_size() < model.model_size():
        raise InputError(f"this model is not on the device as a whole: {advice}")
    thaw(model.model)


_PLAIN = (nn.Parameter, Tensor)


def _weights(model: Any) -> Iterator[Tensor]:
    yield from model.model.diffusion_model.parameters()


def load_offloaded(backbone: Network, features: Iterable[Network], memory_required: int) -> None:
    """Bring the diffusion model to the device; the feature networks stay offloaded, where ComfyUI unloads to."""
    management.unload_all_models()
    rest(features)
    load([backbone], memory_required)


def rest(features: Iterable[Network]) -> None:
    """Make networks that ComfyUI has unloaded fit for being copied to the device while they run."""
    for patcher in _patchers(features):
        thaw(patcher.model)


def _patchers(networks: Iterable[Network]) -> list[ModelPatcher]:
    return list(dict.fromkeys(patcher for network in networks for patcher in network.patchers))


def thaw(module: nn.Module) -> None:
    """Replace weights that ComfyUI moved under inference mode by ones that autograd accepts."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_inference():
                part.register_parameter(name, nn.Parameter(parameter.clone(), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_inference():
                part.register_buffer(name, buffer.clone(), name not in part._non_persistent_buffers_set)


def weights_bytes(networks: Iterable[Network]) -> int:
    """Return the bytes of the networks' weights, each network counted once."""
    return sum(patcher.model_size() for patcher in _patchers(networks))


def current_device() -> torch.device:
    """Return the device that ComfyUI computes on."""
    device: torch.device = management.get_torch_device()
    return device


def device_name() -> str:
    """Return ComfyUI's name of the device."""
    return str(management.get_torch_device_name(management.get_torch_device()))


def to_output(tensor: Tensor) -> Tensor:
    """Return `tensor` on the device where ComfyUI keeps values between nodes."""
    return tensor.to(management.intermediate_device())
