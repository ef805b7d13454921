"""Correspondences between the images of a batch: where the pixels of one image lie in another.

They come from optical flow (film), from depth and camera poses (views of a scene), or are the identity (slices of a
volume). A result keeps the geometry of its source, so the correspondences of the sources hold for the results too.
"""

from .agreement import Agreement, LatentAgreement
from .flow import estimate_flow, from_flow, link_estimated, scene_cuts
from .geometry import from_geometry
from .links import Correspondence, neighbors
from .warp import consensus, warp

__all__ = [
    "Agreement",
    "Correspondence",
    "LatentAgreement",
    "consensus",
    "estimate_flow",
    "from_flow",
    "from_geometry",
    "link_estimated",
    "neighbors",
    "scene_cuts",
    "warp",
]
