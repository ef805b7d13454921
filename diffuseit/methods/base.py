"""The contract of guidance methods, which decide how a gradient moves the sample in one step."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from ..errors import InputError
from ..losses.base import View
from ..models.base import Prediction
from ..models.schedule import Schedule
from ..schema import check, number

StepRule = Literal["variance", "normalized", "freedom"]
"""How the length of a gradient's step is chosen: see `steps.py`."""

Start = Literal["noise", "inversion"]
"""Where a run starts: at the source with new noise, or at the source's own noise (DDIM inversion)."""

Eta = float | tuple[tuple[float, float], ...]
"""DDIM's eta in [0, 1]; or one for each part of the run, as pairs (fraction of the run where the part ends, eta)."""


@dataclass(frozen=True)
class State:
    """The state before a step: x_t [B, C, H, W], the prediction there, and standard normal noise, at timestep `t`.

    `level` counts the `levels` of the run from 0.
    """

    x_t: Tensor
    prediction: Prediction
    schedule: Schedule
    t: int
    noise: Tensor
    level: int = 0
    levels: int = 1


class Inner(Protocol):
    """Further evaluations of the losses in the same step, at another prediction [B, C, H, W].

    The diffusion network does not run. The noised view mixes with the x_t of the step, by the factor of timestep
    `noised_at` (by default that of the step). `view` is for losses without a view of their own (by default the run's).
    """

    def gradient(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> Tensor:
        """Return d(loss)/d(pred_xstart)."""
        ...

    def observe(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> None:
        """Evaluate the losses at the prediction, for those whose next weights depend on their values."""
        ...


@dataclass(frozen=True)
class Move:
    """The next sample x_{t-1}, and the prediction to report, which may be guided or not."""

    sample: Tensor
    pred_xstart: Tensor


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all methods. The fields are the settings of a method.

    `gradient_at`: where the method takes the gradient. With "pred_xstart" the diffusion network runs without a graph.
    `adds_noise`: whether a step adds noise, so that repeating a level makes sense.
    """

    gradient_at: ClassVar[Literal["x_t", "pred_xstart"]] = "x_t"
    adds_noise: ClassVar[bool] = True

    step_size: float = number(1.0, low=0.0, high=100.0)

    def __post_init__(self) -> None:
        check(self)

    @property
    def start_at(self) -> Start:
        """Return where the run starts."""
        return "noise"

    def eta_at(self, state: State) -> float:
        """Return DDIM's eta in this step, which a solver uses too."""
        return 0.0

    def step(self, state: State, gradient: Tensor | None, inner: Inner) -> Move:
        """Take a step by d(loss)/d(x_t) or d(loss)/d(pred_xstart), see `gradient_at`; None without guidance."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class DDIMMethod(Method):
    """Base of the methods on DDIM steps. Raise `InputError` for an `eta` outside [`lowest_eta`, 1]."""

    lowest_eta: ClassVar[float] = 0.0

    eta: Eta = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        name, parts = type(self).__name__, self._parts()
        if any(not (self.lowest_eta <= eta <= 1 and 0 <= end <= 1) for end, eta in parts):
            raise InputError(
                f"{name}.eta is {self.eta}: use {self.lowest_eta:g} to 1, or pairs (fraction of the run, eta)"
            )
        if not parts or parts[-1][0] < 1:
            raise InputError(f"{name}.eta is {self.eta}: its last part must end at fraction 1")

    def _parts(self) -> tuple[tuple[float, float], ...]:
        return self.eta if isinstance(self.eta, tuple) else ((1.0, self.eta),)

    def eta_at(self, state: State) -> float:
        return next(eta for end, eta in self._parts() if state.level < round(end * state.levels))
