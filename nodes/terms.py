"""The terms of each loss: what the front end calls them, and the color of their curves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """`label` is English, `color` is "#rrggbb"."""

    label: str
    color: str


TERMS = {
    "TextStyleLoss": {"text_style": Term("text style", "#e8853d")},
    "ImageStyleLoss": {
        "style_cls": Term("style", "#e8853d"),
        "style_pixels": Term("style colors", "#d65a7f"),
    },
    "StructureLoss": {
        "self_similarity": Term("self-similarity", "#4c8df0"),
        "contrastive": Term("contrastive", "#2aa7a0"),
    },
    "SemanticDivergenceLoss": {"divergence": Term("divergence", "#a274e0")},
    "RangeLoss": {"range": Term("range", "#8f9aa8")},
    "IdentityLoss": {"identity": Term("identity", "#b8912a")},
    "AnchorLoss": {"anchor": Term("anchor", "#b8912a")},
    "SourceAnchorLoss": {"source_anchor": Term("source anchor", "#4fa34f")},
    "ColourStatisticsLoss": {
        "colour_mean": Term("mean color", "#d65a7f"),
        "colour_covariance": Term("color spread", "#b8912a"),
    },
}
"""By the name of the loss's class. The first term stands for the loss on its node."""
