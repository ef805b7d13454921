"""Optical flow by a network of RAFT's kind (Teed & Deng 2020, arXiv 2003.12039), such as torchvision's."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelError
from ..models.checkpoint import misfit, read_checkpoint, require_numbers, signature
from ..models.precision import plain_defaults
from ..schema import printable

Estimator = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""From two images [1, 3, H, W] in [-1, 1], better and better flows [1, 2, H, W] in pixels."""

MULTIPLE, SMALLEST = 8, 128
"""What the sides of the images must be a multiple of, and their least length."""


def load_raft(path: str | os.PathLike[str]) -> nn.Module:
    """Return torchvision's large RAFT with the weights at `path`, frozen, on the CPU.

    Raise `ModelError` without torchvision, which timm brings, or if the file is not that network.
    """
    try:
        from torchvision.models.optical_flow import raft_large
    except ImportError as error:
        raise ModelError(f"RAFT needs torchvision: run `pip install torchvision` ({error})") from None
    source = printable(str(path))
    state, _ = read_checkpoint(path)
    with plain_defaults():
        model: nn.Module = raft_large(weights=None)
    expected = model.state_dict()
    if faults := misfit(signature(state), signature(expected)):
        raise ModelError(f"{source} is not torchvision's raft_large: {faults}")
    require_numbers(state, expected, source)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def network_flow(
    estimate: Estimator,
    frames: Tensor,
    device: torch.device,
    on_pair: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tensor, Tensor]:
    """Return the flow of images [N, 3, H, W] in [-1, 1], forward and backward, each [N - 1, 2, H, W] on the CPU.

    Images are resized for the network, which runs on `device`. `on_pair` gets the number of pairs that are done, and
    of all, after each.
    """
    height, width = frames.shape[-2:]
    size = [max(SMALLEST, round(side / MULTIPLE) * MULTIPLE) for side in (height, width)]
    scale = frames.new_tensor([width / size[1], height / size[0]]).view(1, 2, 1, 1)

    def prepared(frame: Tensor) -> Tensor:
        return F.interpolate(frame[None].float(), size, mode="bilinear", align_corners=False).to(device)

    def between(start: Tensor, end: Tensor) -> Tensor:
        flow = estimate(start, end)[-1].float().cpu()
        return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False) * scale.cpu()

    forward, backward = [], []
    pairs = list(pairwise(range(len(frames))))
    after = prepared(frames[0]) if pairs else None
    for number, (_, second) in enumerate(pairs):
        before, after = after, prepared(frames[second])
        assert before is not None
        forward.append(between(before, after))
        backward.append(between(after, before))
        on_pair(number + 1, len(pairs))
    empty = torch.zeros(0, 2, height, width)
    return torch.cat(forward or [empty]), torch.cat(backward or [empty])
