"""The guidance losses, one file each. `base.py` has their contract."""

from .anchor import AnchorLoss
from .base import BoundLoss, Loss, Term, View, bind
from .color_statistics import ColorStatisticsLoss
from .correspondence import CorrespondenceLoss
from .divergence import SemanticDivergenceLoss
from .identity import IdentityLoss
from .image_style import ImageStyleLoss
from .range import RangeLoss
from .source_anchor import SourceAnchorLoss
from .structure import StructureLoss
from .text_style import TextStyleLoss

AnyLoss = (
    AnchorLoss
    | ColorStatisticsLoss
    | CorrespondenceLoss
    | IdentityLoss
    | ImageStyleLoss
    | RangeLoss
    | SemanticDivergenceLoss
    | SourceAnchorLoss
    | StructureLoss
    | TextStyleLoss
)
"""Every loss that a recipe may name."""

__all__ = [
    "AnchorLoss",
    "AnyLoss",
    "BoundLoss",
    "ColorStatisticsLoss",
    "CorrespondenceLoss",
    "IdentityLoss",
    "ImageStyleLoss",
    "Loss",
    "RangeLoss",
    "SemanticDivergenceLoss",
    "SourceAnchorLoss",
    "StructureLoss",
    "Term",
    "TextStyleLoss",
    "View",
    "bind",
]
