"""Guidance methods: how a gradient moves the sample. One file each; `METHODS` is the table of all of them.

`SOLVERS` take the steps after guidance has ended.
"""

from ..guidance.solvers import SOLVERS, Solver, SolverName
from . import agg, dsg, mpgd
from .base import Control, Eta, Inner, Method, Move, Start, State, StepRule
from .diffuseit import ddim, ddpm

METHODS: dict[str, Method] = {
    "diffuseit": ddpm,
    "diffuseit-ddim": ddim,
    "agg": agg.agg,
    "agg-official": agg.official,
    "mpgd": mpgd.mpgd,
    "dsg": dsg.dsg,
}

__all__ = [
    "METHODS",
    "SOLVERS",
    "Control",
    "Eta",
    "Inner",
    "Method",
    "Move",
    "Solver",
    "SolverName",
    "Start",
    "State",
    "StepRule",
]
