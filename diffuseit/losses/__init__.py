"""The guidance losses, one file each; `base.py` has their contract."""

from .anchor import AnchorLoss
from .base import Loss, Term, View
from .color_statistics import ColourStatisticsLoss
from .divergence import SemanticDivergenceLoss
from .identity import IdentityLoss
from .image_style import ImageStyleLoss
from .masked import MaskedLoss
from .outer import OuterLoss
from .range import RangeLoss
from .scheduled import ScheduledLoss
from .source_anchor import SourceAnchorLoss
from .structure import StructureLoss
from .text_style import TextStyleLoss

__all__ = [
    "AnchorLoss",
    "ColourStatisticsLoss",
    "IdentityLoss",
    "ImageStyleLoss",
    "Loss",
    "MaskedLoss",
    "OuterLoss",
    "RangeLoss",
    "ScheduledLoss",
    "SemanticDivergenceLoss",
    "SourceAnchorLoss",
    "StructureLoss",
    "Term",
    "TextStyleLoss",
    "View",
]
