"""The guidance losses, one file each; `base.py` has their contract."""

from .anchor import AnchorLoss
from .base import Loss, Term, View
from .divergence import SemanticDivergenceLoss
from .image_style import ImageStyleLoss
from .masked import MaskedLoss
from .outer import OuterLoss
from .range import RangeLoss
from .structure import StructureLoss
from .text_style import TextStyleLoss

__all__ = [
    "AnchorLoss",
    "ImageStyleLoss",
    "Loss",
    "MaskedLoss",
    "OuterLoss",
    "RangeLoss",
    "SemanticDivergenceLoss",
    "StructureLoss",
    "Term",
    "TextStyleLoss",
    "View",
]
