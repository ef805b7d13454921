"""What a loss is: settings, what it needs, and the terms it adds to the guidance.

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
"""What a loss looks at: the prediction, or its mix with x_t, f pred_xstart + (1 - f) x_t, f = sqrt(1 - abar)."""

FeaturesOf = Callable[[nn.Module, Tensor | str], Any]
"""`features_of(network, picture or prompt)`: features without gradient, computed once for each pair."""

NEEDS = {
    "vit": "a ViT",
    "clip": "a CLIP ensemble",
    "style": "a style image",
    "face": "a network that embeds faces",
}
"""What losses may need, by the name under which `bind` takes it."""

LARGEST_WEIGHT = 1e6


def weight_field(default: float) -> Any:
    """A field for the weight of a term."""
    return number(default, low=0.0, high=LARGEST_WEIGHT)


@dataclass(frozen=True)
class Label:
    """How a term is shown: its name in English and a color as #rrggbb."""

    text: str
    color: str


Labels = Mapping[str, Label]
"""How the terms of a loss are shown, by their names."""


@dataclass(frozen=True)
class Look:
    """One evaluation, as a term sees it.

    `t` is the timestep of the schedule, counted from clean.
    `features` are the network's of the view (the view [B, 3, H, W] itself for terms without a network). `previous` are
    those of the evaluation before, detached; at the first one, those of the source (None if no term of the group needs
    them). `last` holds the unweighted values [B] of the evaluation before, by term name. `inversion` [B, 3, H, W] is
    the network's prediction at this level of the source's inversion (None if no term needs it).
    """

    t: int
    features: Any
    previous: Any
    last: Mapping[str, Tensor]
    inversion: Tensor | None = None


@dataclass(frozen=True)
class Term:
    """One weighted summand of the guidance loss.

    `value` gives [B]. `weight` times `scale(look)` ([B], default 1) multiplies it. `view` None leaves the choice to the
    sampler. `crops` is the number of random crops the network gets, 0 for the whole image. `initial` is what
    `Look.last` holds before the first evaluation. `mean_of_crops`: `value` is the mean of what each crop gives alone,
    so that a few crops may be evaluated at a time.

    The term acts until the share `until` of the run's levels is over. `phase` = (i, n): it acts at the timesteps t
    with t % n == i.
    A term that reads `Look.previous` sets `needs_previous`; it acts from step to step, so it has no part in inner
    steps. A term that reads `Look.inversion` sets `needs_inversion`.
    """

    name: str
    weight: float
    value: Callable[[Look], Tensor]
    network: nn.Module | None = None
    view: View | None = None
    crops: int = 0
    scale: Callable[[Look], Tensor] | None = None
    initial: Tensor | None = None
    until: float = 1.0
    phase: tuple[int, int] = (0, 1)
    needs_previous: bool = False
    needs_inversion: bool = False
    mean_of_crops: bool = False


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Base of all losses.

    `needs` and `uses` name the inputs (keys of `NEEDS`) that a loss cannot and can do without. `labels` says how its
    terms are shown, the most telling one first. Each of `schedules` multiplies the weights by a factor that changes
    over the run.
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
        """The terms for `source` [B, 3, H, W] in [-1, 1]. Raise `InputError` for settings that cannot work."""
        raise NotImplementedError

    def for_item(self, index: int) -> Self:
        """The loss of one image of a batch."""
        return self

    def with_prompts(self, to: Any, from_: Any) -> Self:
        """The loss with these prompts, if it is guided by text."""
        return self

    def factor(self, progress: float) -> float:
        """What multiplies the weights at `progress`, from 0 at the noisiest level of a run to 1 at the last."""
        factor = 1.0
        for points in self.schedules:
            factor *= factor_at(points, progress)
        return factor


@dataclass(frozen=True, eq=False)
class BoundLoss:
    """A loss with the networks and images it needs, ready to guide.

    `inputs` are by the names in `Loss.needs` and `Loss.uses`; images are [1 or B, 3, H, W] in [-1, 1]. The loss sees
    the whole image, but its gradient is multiplied by `mask` [1 or B, 1, H, W] in [0, 1]. Without `inner` it has no
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
        """The loss of one image of a batch."""

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
    """`picture` where `source` is. Raise `InputError` unless it is [1 or B, 3, H, W] for a source of B images."""
    if picture.ndim != 4 or picture.shape[1] != 3 or len(picture) not in (1, len(source)):
        raise InputError(
            f"{what} is {tuple(picture.shape)}, the source {tuple(source.shape)}: give [1, 3, H, W], or one for each"
        )
    return picture.to(source)
