"""How much memory a run will need beside the weights, told without running it."""

import weakref
from collections.abc import Callable, Iterable, Sequence
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
from ..models.clip import CLIP
from ..models.crops import draw_crops
from ..models.ddpm import PixelDDPM
from ..models.vit import ViT, ViTFeatures
from .options import FULL_SPEED, Execution, as_written

Call = Callable[..., Any]


@dataclass(frozen=True)
class Footprint:
    """Bytes beside weights and inputs: `held` from the end of the way there on, `peak` at most at any time."""

    held: int
    peak: int


def footprint(network: nn.Module, call: Call, *inputs: Tensor, back: bool = True) -> Footprint:
    """What `call(*inputs)`, which runs `network`, and, with `back`, the way back to the first input take.

    Everything runs on tensors without contents: shapes, dtypes and which attention is chosen are those of the CPU.
    """
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.inference_mode(False), as_written(network), FakeTensorMode(allow_non_fake_inputs=True):
        weights, fakes = ({k: _empty(v) for k, v in state.items()}, [_empty(value) for value in inputs])
        own = {value.untyped_storage()._cdata for value in (*weights.values(), *fakes)}
        weights = {f"network.{key}": value for key, value in weights.items()}
        result: Footprint = functional_call(_Ways(network, call, own, back), weights, tuple(fakes))
    return result


def _empty(like: Tensor) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, device="cpu")


class _Ways(nn.Module):
    """One way there, and back; a module, so that checkpoints find the weights on their way back too."""

    def __init__(self, network: nn.Module, call: Call, own: set[int], back: bool):
        super().__init__()
        self.network, self.own, self.back = network, own, back
        self.call = lambda *inputs: call(*inputs)  # a network may not be a part of this module twice

    def forward(self, first: Tensor, *rest: Tensor) -> Footprint:
        with _LiveBytes(self.own) as live, torch.set_grad_enabled(self.back):
            found = tree_leaves(self.call(first.requires_grad_(self.back), *rest))
            held = live.now
            if self.back:
                torch.autograd.grad([x.sum() for x in found if x.requires_grad], first)
            return Footprint(held, live.peak)


class _LiveBytes(TorchDispatchMode):
    """Counts the memory of the tensors that are alive."""

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
    backbone: PixelDDPM,
    networks: Sequence[tuple[ViT | CLIP, int]],
    batch: int,
    size: tuple[int, int],
    execution: Execution = FULL_SPEED,
    back: bool = True,
) -> int:
    """Peak bytes beside the weights: the backbone's graph and, on top of it, the largest of the feature networks.

    `networks` come with the number of crops each sees per picture (0: the whole picture), `size` is (height, width).
    `back`: whether a gradient ever goes back through the backbone; where none does there is no graph.
    """
    there = _remembered(backbone, _backbone_footprint, batch, size, execution.checkpoint_unet, back)
    looks = [
        _remembered(network, _look, batch, size, crops, execution.crop_batch) for network, crops in networks
    ]
    return max(there.peak, there.held + max((look.peak for look in looks), default=0))


def offload_bytes(networks: Iterable[nn.Module], execution: Execution = FULL_SPEED) -> int:
    """Bytes on the device for the weights of feature networks that take turns there.

    0 if they stay; else those of the largest network or, if the next one is copied ahead, of the largest pair.
    """
    if execution.offload is None:
        return 0
    sizes = [
        sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        for network in dict.fromkeys(networks)
    ]
    pairs = pairwise(sizes) if execution.offload.ahead else ()
    return max([*sizes, *map(sum, pairs)], default=0)


def _backbone_footprint(
    backbone: PixelDDPM, batch: int, size: tuple[int, int], checkpoint_unet: bool, back: bool
) -> Footprint:
    unet = backbone.unet
    labels = () if backbone.num_classes is None else (torch.empty(batch, dtype=torch.long),)
    before, unet.checkpoint_blocks = unet.checkpoint_blocks, checkpoint_unet
    try:
        return footprint(unet, unet, torch.empty(batch, 3, *size), torch.empty(batch), *labels, back=back)
    finally:
        unet.checkpoint_blocks = before


def _look(
    network: ViT | CLIP, batch: int, size: tuple[int, int], crops: int, crop_batch: int | None
) -> Footprint:
    picture = torch.empty(batch, 3, *size)
    if isinstance(network, ViT):
        return footprint(network, lambda view: _compared(network(view)), picture)
    if crops == 0:
        return footprint(network, network, picture)
    crops = min(crops, Execution(crop_batch=crop_batch).crops_at_once(batch))
    boxes = draw_crops([torch.Generator()] * batch, crops, size)
    return footprint(network, lambda view: network(view, boxes, crop_batch), picture)


def _compared(features: ViTFeatures) -> tuple[Tensor, ...]:
    """What the structure and image style losses make of features: similarities of all pairs of keys."""
    keys, known = features.keys, features.keys.detach()
    similar = self_similarity_loss(keys, self_similarity(known))
    return similar, key_contrastive_loss(keys, known, tau=1.0), features.cls


_FOOTPRINTS: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Footprint]] = (
    weakref.WeakKeyDictionary()
)


def _remembered(network: nn.Module, measure: Callable[..., Footprint], *arguments: Any) -> Footprint:
    """`measure(network, *arguments)`, once for each precision of the network."""
    known = _FOOTPRINTS.setdefault(network, {})
    key = (*arguments, *(parameter.dtype for parameter in network.parameters()))
    if key not in known:
        known[key] = measure(network, *arguments)
    return known[key]
