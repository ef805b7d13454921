"""Guidance methods, which decide how a gradient moves the sample. One file each; `METHODS` has all by name."""

from .agg import AGG, OfficialAGG
from .base import Inner, Method, Move, State, StepRule
from .diffuseit import DiffuseIT, DiffuseITDDIM
from .dsg import DSG
from .mpgd import MPGD

AnyMethod = DiffuseIT | DiffuseITDDIM | AGG | OfficialAGG | MPGD | DSG
"""Every method that a recipe may name."""

METHODS: dict[str, type[AnyMethod]] = {
    "diffuseit": DiffuseIT,
    "diffuseit-ddim": DiffuseITDDIM,
    "agg": AGG,
    "agg-official": OfficialAGG,
    "mpgd": MPGD,
    "dsg": DSG,
}
"""The methods by the names that users choose from."""

__all__ = [
    "AGG",
    "DSG",
    "METHODS",
    "MPGD",
    "AnyMethod",
    "DiffuseIT",
    "DiffuseITDDIM",
    "Inner",
    "Method",
    "Move",
    "OfficialAGG",
    "State",
    "StepRule",
]
