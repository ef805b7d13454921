"""Networks on ComfyUI's devices: loaded, unloaded, and made fit for a backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import comfy.model_management as management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..types import Network


@contextmanager
def gradients() -> Iterator[None]:
    """Undo the inference mode that ComfyUI runs nodes under: tensors made inside can take part in autograd."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class _Managed(nn.Module):
    """A network as `ModelPatcher` wants it: with room for the attributes it writes, `device` among them."""

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
    """Return the dtype of a loader's option; "auto" is half precision if ComfyUI finds the device good at it."""
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    return torch.float16 if management.should_use_fp16(management.get_torch_device()) else torch.float32


def load(networks: Iterable[Network], memory_required: int) -> torch.device:
    """Bring whole networks to the device, with room for `memory_required` bytes beside them."""
    patchers = _patchers(networks)
    management.load_models_gpu(patchers, memory_required=memory_required, force_full_load=True)
    for patcher in patchers:
        # With --novram it is loaded in part, and half a network cannot be differentiated.
        if patcher.loaded_size() < patcher.model_size():
            patcher.patch_model(patcher.load_device)
        thaw(patcher.model)
    return current_device()


def load_offloaded(backbone: Network, features: Iterable[Network], memory_required: int) -> None:
    """Bring the diffusion model to the device; the feature networks stay offloaded, where ComfyUI unloads to."""
    management.unload_all_models()
    for patcher in _patchers(features):
        thaw(patcher.model)
    load([backbone], memory_required)


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
    """Return `tensor` on the device where ComfyUI keeps what travels between nodes."""
    return tensor.to(management.intermediate_device())
