"""The contract of losses: settings, what a loss needs, and the terms that it adds to the guidance.

A loss is a frozen dataclass of numbers and prompts. `bind` gives it the networks and images that it needs. For a
source image it then makes `Term`s: values [B] computed from the features of one network on one view of the
prediction. Terms that name the same network, view and crops share one forward and one backward pass.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from typing_extensions import Self

from ..errors import InputError
from ..schema import check, number
from .schedule import Points, check_points, factor_at

View = Literal["pred_xstart", "noised"]
"""An image at which losses are evaluated: the prediction, or its mix with x_t, f pred_xstart + (1 - f) x_t with
f = sqrt(1 - abar)."""

FeaturesOf = Callable[[nn.Module, Tensor | str], Any]
"""`features_of(network, image or prompt)` returns features without gradient, computed once for each pair."""

NEEDS = {
    "vit": "a ViT",
    "clip": "a CLIP ensemble",
    "style": "a style image",
    "face": "a network that embeds faces",
    "correspondence": "the correspondences of the images",
    "references": "finished images that others correspond to",
}
"""The inputs that losses may need, by the names under which `bind` takes them."""

LARGEST_WEIGHT = 1e6


def weight_field(default: float) -> Any:
    """Return a field for the weight of a term."""
    return number(default, low=0.0, high=LARGEST_WEIGHT)


@dataclass(frozen=True)
class Label:
    """How a term is shown: its name in English, and a color as #rrggbb."""

    text: str
    color: str


Labels = Mapping[str, Label]
"""Labels of terms by their names."""


@dataclass(frozen=True)
class Context:
    """What a term computes its value from, in one evaluation.

    `t` is the timestep of the schedule, counted from clean. `features` are those of the view (the view [B, 3, H, W]
    itself for terms without a network). `previous` are those of the evaluation before, detached; in the first one,
    those of the source (None if no term of the group needs them). `last` has the unweighted values [B] of the
    evaluation before, by term name. `inversion` [B, 3, H, W] is the network's prediction at this level of the source's
    inversion (None if no term needs it).
    """

    t: int
    features: Any
    previous: Any
    last: Mapping[str, Tensor]
    inversion: Tensor | None = None


@dataclass(frozen=True)
class Term:
    """One weighted summand of the guidance loss.

    `value` returns [B]. It is multiplied by `weight` and by `scale(context)` ([B], default 1). `view` None means the
    view of the run. `crops` is the number of random crops that the network gets, 0 for the whole image. `initial` is
    the value in `Context.last` before the first evaluation. `mean_of_crops`: `value` is the mean of the values of
    single crops, so that a few crops may be evaluated at a time.

    The term acts until the share `until` of the run's levels is over. `phase` = (i, n): it acts at the timesteps t with
    t % n == i. A term that reads `Context.previous` sets `needs_previous`; since it compares steps, it has no part in
    inner steps. A term that reads `Context.inversion` sets `needs_inversion`.
    """

    name: str
    weight: float
    value: Callable[[Context], Tensor]
    network: nn.Module | None = None
    view: View | None = None
    crops: int = 0
    scale: Callable[[Context], Tensor] | None = None
    initial: Tensor | None = None
    until: float = 1.0
    phase: tuple[int, int] = (0, 1)
    needs_previous: bool = False
    needs_inversion: bool = False
    mean_of_crops: bool = False


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Base of all losses.

    `needs` and `uses` name its required and its optional inputs (keys of `NEEDS`). `labels` says how its terms are
    shown, the most important one first. Each of `schedules` multiplies the weights by a factor that changes over the
    run.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[Labels] = {}

    schedules: tuple[Points, ...] = number((), low=0.0, high=LARGEST_WEIGHT, longest=64)

    def __post_init__(self) -> None:
        check(self)
        for points in self.schedules:
            check_points(points)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        """Return the terms for `source` [B, 3, H, W] in [-1, 1]. Raise `InputError` for settings that cannot work."""
        raise NotImplementedError

    def for_item(self, index: int) -> Self:
        """Return the loss of one image of a batch."""
        return self

    def with_prompts(self, to: Any, from_: Any) -> Self:
        """Return the loss with these prompts, if it is guided by text."""
        return self

    def factor(self, progress: float) -> float:
        """Return the factor of the weights at `progress`, from 0 at the noisiest level of a run to 1 at the last."""
        factor = 1.0
        for points in self.schedules:
            factor *= factor_at(points, progress)
        return factor


@dataclass(frozen=True, eq=False)
class BoundLoss:
    """A loss with the networks and images that it needs.

    `inputs` are by the names in `Loss.needs` and `Loss.uses`; images are [1 or B, 3, H, W] in [-1, 1]. The loss sees
    the whole image, and its gradient is multiplied by `mask` [1 or B, 1, H, W] in [0, 1]. Without `inner` it has no
    part in a method's inner steps. Raise `InputError` if something that the loss needs is missing.
    """

    loss: Loss
    inputs: Mapping[str, Any] = field(default_factory=dict)
    mask: Tensor | None = None
    inner: bool = True

    def __post_init__(self) -> None:
        for name in self.loss.needs:
            if self.inputs.get(name) is None:
                raise InputError(f"{type(self.loss).__name__} needs {NEEDS[name]}: give '{name}'")

    def for_item(self, index: int) -> "BoundLoss":
        """Return the loss of one image of a batch."""

        def one(value: Any) -> Any:
            return value[index : index + 1] if isinstance(value, Tensor) and len(value) > 1 else value

        inputs = {name: one(value) for name, value in self.inputs.items()}
        return dataclasses.replace(self, loss=self.loss.for_item(index), inputs=inputs, mask=one(self.mask))


def bind(losses: Iterable[Loss], **inputs: Any) -> list[BoundLoss]:
    """Give each loss the inputs that it needs or uses: `bind(losses, vit=..., clip=..., style=...)`."""
    return [
        BoundLoss(
            loss, {name: inputs[name] for name in (*loss.needs, *loss.uses) if inputs.get(name) is not None}
        )
        for loss in losses
    ]


def check_picture(picture: Tensor, source: Tensor, what: str) -> Tensor:
    """Return `picture` on the source's device. Raise `InputError` unless it is [1 or B, 3, H, W] for B sources."""
    if picture.ndim != 4 or picture.shape[1] != 3 or len(picture) not in (1, len(source)):
        raise InputError(
            f"{what} is {tuple(picture.shape)}, the source {tuple(source.shape)}: give [1, 3, H, W], or one for each"
        )
    return picture.to(source)
