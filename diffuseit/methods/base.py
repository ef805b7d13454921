"""What a guidance method says about itself, what it gets and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from ..losses.base import View
from ..models.base import Prediction
from ..models.schedule import Schedule

StepRule = Literal["variance", "normalized", "freedom"]
"""How long a gradient's step is: see `steps.py`."""

Start = Literal["noise", "inversion"]
"""Where a run starts: at the source with fresh noise, or at the source's own noise (DDIM inversion)."""

Eta = float | tuple[tuple[float, float], ...]
"""DDIM's eta in [0, 1]; or one for each part of the run, as pairs (fraction of the run where the part ends, eta)."""


@dataclass(frozen=True)
class Control:
    """The numbers that a user may set, as they hold at one step; `SamplerSettings` says what they mean."""

    step_rule: StepRule = "variance"
    step_size: float = 1.0
    eta: float = 0.0
    symmetric: bool = False
    inner_steps: int = 0
    inner_rate: float = 0.02


@dataclass(frozen=True)
class State:
    """One step before it moves: x_t [B, C, H, W], what the network predicts there, and standard normal noise."""

    x_t: Tensor
    prediction: Prediction
    schedule: Schedule
    index: int
    noise: Tensor
    control: Control


class Inner(Protocol):
    """Further evaluations of the losses in the same step, at another prediction [B, C, H, W]; no network denoises.

    The noised view mixes with the step's own x_t, by the factor of level `noised_at` (by default the step's own).
    `view` is what losses look at that do not choose for themselves (by default the run's).
    """

    def gradient(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> Tensor:
        """d(loss)/d(pred_xstart)."""
        ...

    def look(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> None:
        """Only shows the prediction to the losses, where the next step's weights depend on what they see."""
        ...


@dataclass(frozen=True)
class Move:
    """The next sample x_{t-1}, and the prediction to report (guided or not, as the method has it)."""

    sample: Tensor
    pred_xstart: Tensor


@dataclass(frozen=True)
class Method:
    """How a gradient moves the sample.

    `move(state, gradient, inner)`: `gradient` is d(loss)/d(x_t) or d(loss)/d(pred_xstart) as `gradient_at` says
    ("pred_xstart": the denoising network runs without a graph), None in a step without guidance.
    `adds_noise`: whether a step draws noise, so that visiting a level again makes sense. `needs_noise`: whether it
    guides by that noise, so that eta must be above 0.
    The others are what holds where the settings leave a value to the method.
    """

    move: Callable[[State, Tensor | None, Inner], Move]
    gradient_at: Literal["x_t", "pred_xstart"] = "x_t"
    adds_noise: bool = True
    needs_noise: bool = False
    start: Start = "noise"
    eta: Eta = 0.0
    inner_steps: int = 0
    inner_rate: float = 0.02
