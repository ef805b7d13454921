"""Asymmetric Gradient Guidance (Kwon & Ye 2023, "Improving Diffusion-based Image Translation using Asymmetric
Gradient Guidance", arXiv 2306.04396).

One gradient through the network moves the prediction, optimiser steps on the prediction alone move it on, and the
DDIM step then takes the guided prediction but the network's own noise: the asymmetry. The run starts from the
DDIM inversion of the source; an `AnchorLoss` holds it there.
"""

from torch import Tensor

from .base import Inner, Method, Move, State
from .inner import adamw
from .steps import ddim_step, guided_noise, predicted_noise


def _finish(state: State, pred_xstart: Tensor, eps: Tensor) -> Move:
    if state.control.symmetric:
        eps = state.schedule.eps_from_xstart(state.x_t, pred_xstart, state.index)
    return Move(ddim_step(state, pred_xstart, eps), pred_xstart)


def _first_gradient(state: State, eps: Tensor, gradient: Tensor) -> Tensor:
    """The prediction that belongs to the guided noise: with rule "variance", pred - (1 - abar)/sqrt(abar) gradient."""
    return state.schedule.xstart_from_eps(state.x_t, guided_noise(state, eps, gradient), state.index)


def move(state: State, gradient: Tensor | None, inner: Inner) -> Move:
    """As the paper has it: all `inner_steps` count, and the losses see in them what they see outside."""
    eps, pred_xstart = predicted_noise(state), state.prediction.pred_xstart
    if gradient is not None:
        pred_xstart = _first_gradient(state, eps, gradient)
        control = state.control
        if control.inner_steps:
            pred_xstart = adamw(pred_xstart, inner.gradient, control.inner_steps, control.inner_rate)
    return _finish(state, pred_xstart, eps)


def official_move(state: State, gradient: Tensor | None, inner: Inner) -> Move:
    """As the published code computes it, for comparison with it.

    The last of the `inner_steps` is thrown away (only the losses see where it starts), losses that do not choose
    their view see pred_xstart in them, and the noised view mixes by the factor of level floor(index * N / 1000).
    """
    eps, pred_xstart = predicted_noise(state), state.prediction.pred_xstart
    if gradient is not None:
        pred_xstart = _first_gradient(state, eps, gradient)
        control = state.control
        noised_at = state.index * len(state.schedule) // 1000
        if control.inner_steps:
            pred_xstart = adamw(
                pred_xstart,
                lambda y: inner.gradient(y, noised_at, "pred_xstart"),
                control.inner_steps - 1,
                control.inner_rate,
            )
            inner.look(pred_xstart, noised_at, "pred_xstart")
    return _finish(state, pred_xstart, eps)


OFFICIAL_ETA = ((19 / 60, 0.7), (39 / 60, 0.7), (1.0, 1.0))
"""Of 60 levels, 19 are guided, and the last 21 take the noisiest steps."""

agg = Method(move, start="inversion", eta=OFFICIAL_ETA, inner_steps=3)
official = Method(official_move, start="inversion", eta=OFFICIAL_ETA, inner_steps=1)
