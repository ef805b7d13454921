"""What a guidance method gets and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..backbones.base import Prediction
from ..schedule import Schedule


@dataclass(frozen=True)
class State:
    """One step before it moves: x_t [B, C, H, W], what the network predicts there, and standard normal noise."""

    x_t: Tensor
    prediction: Prediction
    schedule: Schedule
    index: int
    noise: Tensor


@dataclass(frozen=True)
class Move:
    """The next sample x_{t-1}, and the prediction to report (guided or not, as the method has it)."""

    sample: Tensor
    pred_xstart: Tensor


StepRule = Literal["variance", "normalized"]
Method = Callable[[State, Tensor, StepRule, float], Move]
"""function(state, gradient, step_rule, step_size); `gradient` is d(loss)/d(x_t) [B, C, H, W]."""
