"""Whether a text asks for more than the method can do, before a run: the paper's building to tiger.

A picture that has little to do with the target text loses its structure, or keeps it and misses the target. How little
is too little depends on the CLIP: cosines of two CLIP models have nothing in common. So only those are asked whose
threshold was measured.
"""

import torch
from torch import Tensor

from ..models.clip import CLIP
from .look import text_match

FAR = {"pocket": 0.1}
"""By the name of a CLIP: the cosine of source and target text below which the target is too far. Of 400 tuning
requests within a domain 7 lie below it, of 400 from a landscape to an animal or back 394."""

WARNING = "the target text is far from what this image shows: expect the result to lose its structure"


@torch.no_grad()
def too_far(clip: CLIP, sources: Tensor, to: str) -> list[bool] | None:
    """Return for each source [N, 3, H, W] in [-1, 1] whether the target text is too far; None for an unknown CLIP."""
    threshold = FAR.get(clip.name)
    if threshold is None:
        return None
    return (text_match(clip, sources.to(clip.mean.device), to).target < threshold).tolist()
