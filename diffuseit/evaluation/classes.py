"""How many results a classifier takes for what they should show."""

import os
from collections.abc import Sequence
from functools import partial

import timm
import torch
from open_clip import IMAGENET_CLASSNAMES
from torch import Tensor, nn

from ..errors import InputError
from ..models.checkpoint import build_from, read_checkpoint
from ..models.resize import center_crop, resize_shorter
from ..models.vit import IMAGENET_MEAN, IMAGENET_STD
from ..schema import printable, shown


class Classifier(nn.Module):
    """A frozen classifier with the names of its classes. `side` is None where it takes pictures of any size."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        side: int | None = None,
        *,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.classes = tuple(classes)
        self.side = side
        for name, values in (("mean", mean), ("std", std)):
            plain = torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)
            self.register_buffer(name, plain, persistent=False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits [N, C] of pictures [N, 3, H, W] in [-1, 1]: the middle of each at the network's size."""
        pixels = pictures.add(1).div(2)
        if self.side is not None:
            pixels = center_crop(resize_shorter(pixels, self.side, antialias=True), self.side)
        return self.network((pixels - self.mean) / self.std)

    def without_normalization(self) -> "Classifier":
        """Return the same network, which sees colors of 0 to 1 as they are."""
        return Classifier(self.network, self.classes, self.side, mean=(0, 0, 0), std=(1, 1, 1))

    def index(self, name: str) -> int:
        """Return the number of a class, which may be given as that number. Raise `InputError` for another text."""
        text = name.strip()
        if text.isascii() and text.isdigit() and len(text) < 6 and int(text) < len(self.classes):
            return int(text)
        matches = [number for number, known in enumerate(self.classes) if known.lower() == text.lower()]
        if len(matches) != 1:
            few = "several classes have this name" if matches else "the classifier has no such class"
            last = len(self.classes) - 1
            raise InputError(f"the class {shown(name)} is not known: {few}; give a number from 0 to {last}")
        return matches[0]


def load_deit(path: str | os.PathLike[str]) -> Classifier:
    """Return DeiT-B, distilled, of 384 pixels, which FlexIT measures with; its logits are the mean of its two heads.

    FlexIT's own code prepares the normalization by ImageNet's colors and never applies it: its published figures are
    those of `without_normalization`. Raise `ModelError` if the file is not that network.
    """
    build = partial(timm.create_model, "deit_base_distilled_patch16_384", pretrained=False)
    state, _ = read_checkpoint(path)
    network = build_from(build, state, printable(str(path)), "the DeiT")
    return Classifier(network, IMAGENET_CLASSNAMES, 384, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def class_accuracy(logits: Tensor, targets: Sequence[int], among: Sequence[int] | None = None) -> Tensor:
    """Return [N] bool: whether the largest of the logits [N, C] is that of the target class.

    With `among`, only these classes compete, as in FlexIT, where they are those that any request names. Raise
    `InputError` for a target that is not among them.
    """
    wanted = torch.as_tensor(targets, device=logits.device)
    classes = torch.arange(logits.shape[1]) if among is None else torch.as_tensor(sorted(set(among)))
    if missing := sorted(set(wanted.tolist()) - set(classes.tolist())):
        raise InputError(f"the target classes {missing} are not among those that compete")
    classes = classes.to(logits.device)
    return classes[logits[:, classes].argmax(1)] == wanted
