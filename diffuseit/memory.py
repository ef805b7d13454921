"""How much memory a run will need beside the weights, told without running it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .backbones.pixel import PixelDDPM
from .features.clip import CLIP
from .features.vit import ViT


def saved_bytes(network: nn.Module, *inputs: Tensor, method: str = "forward") -> int:
    """Bytes that autograd keeps between forward and backward of `network.method(*inputs)`, weights left out.

    Runs on the meta device: only shapes and dtypes count, no memory is touched.
    """
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    meta = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    weights = {value.untyped_storage()._cdata for value in meta.values()}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    first, *rest = (tensor.to("meta") for tensor in inputs)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        result = functional_call(
            _Method(network, method),
            {f"network.{k}": v for k, v in meta.items()},
            (first.requires_grad_(), *rest),
        )
        total = sum(storage.nbytes() for storage in kept.values())
        del result
    return total


class _Method(nn.Module):
    """A method of a network as the forward of a module."""

    def __init__(self, network: nn.Module, name: str):
        super().__init__()
        self.network, self.name = network, name

    def forward(self, *inputs: Tensor) -> Any:
        return getattr(self.network, self.name)(*inputs)


def run_bytes(
    backbone: PixelDDPM,
    networks: Sequence[tuple[ViT | CLIP, int]],
    batch: int,
    size: tuple[int, int],
    crop_batch: int | None = None,
) -> int:
    """Peak bytes beside the weights: the backbone's graph and, on top of it, the largest of the feature networks.

    `networks` come with the number of crops each sees per picture (0: the whole picture), `size` is (height, width).
    """
    picture = torch.empty(batch, 3, *size, device="meta")
    time = torch.empty(batch, device="meta")
    labels = () if backbone.num_classes is None else (torch.empty(batch, dtype=torch.long, device="meta"),)
    largest = 0
    for network, crops in networks:
        if isinstance(network, CLIP):
            count = batch * max(1, crops)
            count = count if crop_batch is None else min(count, crop_batch)
            dtype = network.model.logit_scale.dtype
            pixels = torch.empty(count, 3, network.image_size, network.image_size, dtype=dtype)
            largest = max(largest, saved_bytes(network.model, pixels, method="encode_image"))
        else:
            largest = max(largest, saved_bytes(network, picture))
    return saved_bytes(backbone.unet, picture, time, *labels) + largest
