"""The contract between a loss and the sampler.

A loss is a frozen dataclass of settings. Bound to a source picture it becomes `Term`s: values [B] computed from
the features of one network on one view of the current prediction. Terms that name the same network, view and
crops share one forward and one backward pass.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from ..errors import InputError

View = Literal["pred_xstart", "noised"]
"""What a loss looks at: the prediction, or its mix with x_t, f pred_xstart + (1 - f) x_t, f = sqrt(1 - abar)."""

FeaturesOf = Callable[[nn.Module, Tensor | str], Any]
"""`features_of(network, picture or prompt)`: features without gradient, computed once for each pair."""


@dataclass(frozen=True)
class Look:
    """One evaluation, as a term sees it.

    `index` is the step of the schedule, counted from clean. `features` are the network's of the view (the view
    [B, 3, H, W] itself for terms without a network), `previous` those of the evaluation before, detached; at the
    first one, those of the source (None where no term of the group needs them). `last` holds the unweighted values
    [B] of the evaluation before, by term name. `inversion` [B, 3, H, W] is what the network predicted at this level
    of the source's inversion (None where no term needs it).
    """

    index: int
    features: Any
    previous: Any
    last: Mapping[str, Tensor]
    inversion: Tensor | None = None


@dataclass(frozen=True)
class Term:
    """One weighted summand of the guidance loss.

    `value` gives [B]. `weight` times `scale(look)` ([B], default 1) multiplies it. While `active(index)` is false
    the term is not computed. `view` None leaves the choice to the sampler. `crops` is the number of random crops
    the network gets, 0 for the whole picture. `initial` is what `Look.last` holds before the first evaluation.
    `mask` [1 or B, 1, H, W] in [0, 1] multiplies the gradient at the view. A term that reads `Look.previous` says so
    with `needs_previous`, one that reads `Look.inversion` with `needs_inversion`. `mean_of_crops`: `value` is the mean
    of what each crop gives alone, so that they may come a few at a time. `fade(progress)`, at least 0, multiplies the
    weight too: progress goes from 0 at the noisiest level of the run to 1 at the last. While it is 0 the term is not
    computed.

    A method may evaluate several times in a step, at predictions it has moved on: inner evaluations. Terms with
    `inner` false or with `needs_previous`, which pull from step to step, have no part in them, and scales, which follow
    the step before, are 1 there. `Look.last` is of the latest evaluation, inner ones included.
    """

    name: str
    weight: float
    value: Callable[[Look], Tensor]
    network: nn.Module | None = None
    view: View | None = None
    crops: int = 0
    scale: Callable[[Look], Tensor] | None = None
    active: Callable[[int], bool] = lambda index: True
    initial: Tensor | None = None
    mask: Tensor | None = None
    needs_previous: bool = False
    needs_inversion: bool = False
    inner: bool = True
    mean_of_crops: bool = False
    fade: Callable[[float], float] | None = None


class Loss(Protocol):
    """What `sample` accepts: anything that binds to a source picture."""

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        """Terms for `source` [B, 3, H, W] in [-1, 1]. Raises `InputError` for settings that cannot work."""
        ...

    def item(self, index: int) -> "Loss":
        """The loss of one picture of a batch, where settings differ by picture."""
        ...


def check_finite(loss: Any) -> None:
    """Raises `InputError` if a numeric setting of the dataclass `loss` is NaN or infinite."""
    for field in fields(loss):
        value = getattr(loss, field.name)
        if isinstance(value, float | int) and not math.isfinite(value):
            raise InputError(f"{type(loss).__name__}.{field.name} is {value}: use a finite number")


def require(network: Any, loss: Any, kind: str) -> Any:
    """`network`, or an `InputError` that says which one is missing."""
    if network is None:
        raise InputError(f"{type(loss).__name__} needs {kind}")
    return network
