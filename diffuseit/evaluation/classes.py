"""How many results a classifier takes for what they should show."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError


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
