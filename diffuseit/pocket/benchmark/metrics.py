"""What the benchmark measures: style reached, structure kept, realism. The figures are those of `evaluation`."""

from ...evaluation.edges import edge_f1, edges, luminance
from ...evaluation.pixels import mae, ssim, structural_similarity
from ...evaluation.sets import frechet_distance
from ...evaluation.statistics import Interval, mean_interval, wilson_interval

__all__ = [
    "Interval",
    "edge_f1",
    "edges",
    "frechet_distance",
    "luminance",
    "mae",
    "mean_interval",
    "ssim",
    "structural_similarity",
    "wilson_interval",
]
