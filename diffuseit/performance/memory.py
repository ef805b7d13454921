"""An estimate of the memory that a run needs beside the weights, without running it."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..losses.structure import key_contrastive_loss, self_similarity, self_similarity_loss
from ..models.base import Backbone
from ..models.clip import CLIP
from ..models.crops import draw_crops
from ..models.unet import UNet
from ..models.vit import ViT, ViTFeatures
from .options import FULL_SPEED, Execution, as_written
from .recompute import recomputed_blocks

Call = Callable[..., Any]


@dataclass(frozen=True)
class Footprint:
    """Bytes beside weights and inputs: `held` after the forward pass, `peak` at any time."""

    held: int
    peak: int


def footprint(network: nn.Module, call: Call, *inputs: Tensor, backward: bool = True) -> Footprint:
    """Return what `call(*inputs)` takes; with `backward`, its backward pass to the first input too.

    Everything runs on tensors without contents. Shapes, dtypes and the kind of attention are those of the CPU.
    """
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.inference_mode(False), as_written(network), FakeTensorMode(allow_non_fake_inputs=True):
        weights, fakes = ({k: _empty(v) for k, v in state.items()}, [_empty(value) for value in inputs])
        own = {value.untyped_storage()._cdata for value in (*weights.values(), *fakes)}
        weights = {f"network.{key}": value for key, value in weights.items()}
        result: Footprint = functional_call(_Passes(network, call, own, backward), weights, tuple(fakes))
    return result


def _empty(like: Tensor) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, device="cpu")


class _Passes(nn.Module):
    """A forward and a backward pass. It is a module so that checkpoints find the weights in the backward pass too."""

    def __init__(self, network: nn.Module, call: Call, own: set[int], backward: bool):
        super().__init__()
        self.network, self.own, self.backward_too = network, own, backward
        # A network may not be a part of this module twice.
        self.call = lambda *inputs: call(*inputs)

    def forward(self, first: Tensor, *rest: Tensor) -> Footprint:
        with LiveBytes(self.own) as live, torch.set_grad_enabled(self.backward_too):
            found = tree_leaves(self.call(first.requires_grad_(self.backward_too), *rest))
            held = live.now
            if self.backward_too:
                torch.autograd.grad([x.sum() for x in found if x.requires_grad], first)
            return Footprint(held, live.peak)


class LiveBytes(TorchDispatchMode):
    """Counts the memory of live tensors."""

    def __init__(self, apart: set[int]):
        super().__init__()
        self.now = self.peak = 0
        self._seen = set(apart)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def run_bytes(
    backbone: Backbone,
    networks: Sequence[tuple[ViT | CLIP, int]],
    batch: int,
    size: tuple[int, int],
    options: Execution = FULL_SPEED,
    backward: bool = True,
) -> int:
    """Return the peak bytes without weights: the backbone's graph plus the largest of the feature networks.

    `networks` come with the number of crops each sees per image (0: the whole image), `size` is (height, width).
    `backward`: whether the backbone ever runs a backward pass. If it never does, there is no graph.
    """
    inputs = backbone.example_inputs(batch, size)
    backbones = [
        _remembered(
            network,
            (batch, size, options.checkpoint_unet, backward),
            lambda network: _backbone_footprint(network, inputs, options.checkpoint_unet, backward),
        )
        for network in backbone.networks().values()
    ]
    graph = Footprint(sum(one.held for one in backbones), max(one.peak for one in backbones))
    return guidance_bytes(graph, networks, batch, size, options)


def guidance_bytes(
    graph: Footprint,
    networks: Sequence[tuple[ViT | CLIP, int]],
    batch: int,
    size: tuple[int, int],
    options: Execution = FULL_SPEED,
) -> int:
    """Return the peak bytes of one gradient: `graph`, which leads to the images, plus the largest feature network.

    `networks` come with the number of crops each sees per image (0: the whole image). `size` is the (height, width) of
    the images that they get.
    """
    features = [
        feature_footprint(network, batch, size, crops, options.crop_batch).peak for network, crops in networks
    ]
    return max(graph.peak, graph.held + max(features, default=0))


def decoder_footprint(decoder: nn.Module, latent: Tensor, recompute: bool = False) -> Footprint:
    """Return what decoding takes with its backward pass to the latent, the weights frozen.

    It is `decoder.decode(latent)`, or `decoder(latent)` if the decoder has no such method. Only the shape and dtype of
    `latent` matter. `recompute`: the decoder's blocks are computed again in the backward pass (`recomputed_blocks`).
    """

    def measure(decoder: nn.Module) -> Footprint:
        with recomputed_blocks(decoder) if recompute else nullcontext():
            return footprint(decoder, getattr(decoder, "decode", decoder), latent)

    return _remembered(decoder, (latent.shape, latent.dtype, recompute), measure)


def feature_footprint(
    network: ViT | CLIP, batch: int, size: tuple[int, int], crops: int, crop_batch: int | None = None
) -> Footprint:
    """Return what a feature network takes with its backward pass to images [B, 3, H, W] of `size` (height, width).

    `crops`: how many of each image it sees (0: the whole image), at most `crop_batch` of them at a time.
    """
    return _remembered(
        network,
        (batch, size, crops, crop_batch),
        lambda network: _feature_footprint(network, batch, size, crops, crop_batch),
    )


def offload_bytes(networks: Iterable[nn.Module], options: Execution = FULL_SPEED) -> int:
    """Return the bytes on the device for the weights of offloaded feature networks.

    0 if they are not offloaded. Else the weights of the largest network or, if the next one is copied ahead, of the
    largest two in a row.
    """
    if options.offload is None:
        return 0
    sizes = [
        sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        for network in dict.fromkeys(networks)
    ]
    pairs = pairwise(sizes) if options.offload.ahead else ()
    return max([*sizes, *map(sum, pairs)], default=0)


def _backbone_footprint(
    network: nn.Module, inputs: Sequence[Tensor], checkpoint_unet: bool, backward: bool
) -> Footprint:
    unets = [module for module in network.modules() if isinstance(module, UNet)]
    before = [unet.checkpoint_blocks for unet in unets]
    try:
        for unet in unets:
            unet.checkpoint_blocks = checkpoint_unet
        return footprint(network, network, *inputs, backward=backward)
    finally:
        for unet, was in zip(unets, before, strict=True):
            unet.checkpoint_blocks = was


def _feature_footprint(
    network: ViT | CLIP, batch: int, size: tuple[int, int], crops: int, crop_batch: int | None
) -> Footprint:
    picture = torch.empty(batch, 3, *size, dtype=torch.float32, device="cpu")
    if isinstance(network, ViT):
        return footprint(network, lambda view: _compared(network(view)), picture)
    if crops == 0:
        return footprint(network, network, picture)
    crops = min(crops, Execution(crop_batch=crop_batch).crops_at_once(batch))
    boxes = draw_crops([torch.Generator("cpu")] * batch, crops, size)
    return footprint(network, lambda view: network(view, boxes, crop_batch), picture)


def _compared(features: ViTFeatures) -> tuple[Tensor, ...]:
    """Return what the structure and image style losses compute from features: similarities of all pairs of keys."""
    keys, known = features.keys, features.keys.detach()
    similar = self_similarity_loss(keys, self_similarity(known))
    return similar, key_contrastive_loss(keys, known, tau=1.0), features.cls


_FOOTPRINTS: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Footprint]] = (
    weakref.WeakKeyDictionary()
)


def _remembered(network: nn.Module, key: tuple[Any, ...], measure: Callable[..., Footprint]) -> Footprint:
    """Return `measure(network)`, computed once for each key and precision of the network."""
    known = _FOOTPRINTS.setdefault(network, {})
    key = (*key, *(parameter.dtype for parameter in network.parameters()))
    if key not in known:
        known[key] = measure(network)
    return known[key]
