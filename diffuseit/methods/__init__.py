"""Guidance methods: how a gradient moves the sample. One file each; `METHODS` is the table of all of them."""

from .base import Method, Move, State, StepRule
from .diffuseit import ddim, ddpm

METHODS: dict[str, Method] = {"diffuseit": ddpm, "diffuseit-ddim": ddim}

__all__ = ["METHODS", "Method", "Move", "State", "StepRule"]
