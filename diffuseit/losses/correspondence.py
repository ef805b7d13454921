"""Correspondence: pixels of the images of a batch that show the same point look alike (film, views, volumes).

Training-free correspondence guidance of several views is due to Bengtson et al. (2025, arXiv 2511.22228).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from ..correspondence.links import Correspondence
from ..correspondence.warp import check_images, sampled
from ..errors import InputError
from .base import Context, FeaturesOf, Label, Labels, Loss, Term, weight_field


def correspondence_loss(images: Tensor, correspondence: Correspondence, count: int) -> Tensor:
    """Return how much each of the first `count` of images [N, 3, H, W] differs from those that it is linked to: [B].

    The squared differences of corresponding pixels are weighted by certainty, and averaged over the pixels of an
    image and over its links. An image without links has 0.
    """
    image = torch.tensor(correspondence.image, device=images.device)
    seen = sampled(images[list(correspondence.other)], correspondence.position)
    difference = (images[image] - seen).square() * correspondence.certainty
    links = torch.bincount(image, minlength=count).clamp_min(1).to(images)
    return images.new_zeros(count).index_add(0, image, difference.mean((1, 2, 3))) / links


@dataclass(frozen=True, kw_only=True)
class CorrespondenceLoss(Loss):
    """Keeps corresponding pixels of pred_xstart alike in all images of the batch.

    The input `correspondence` links the images of the batch. Images that are finished come as `references`
    [R, 3, H, W], and a link to number B + r leads to reference r.
    """

    needs = ("correspondence",)
    uses = ("references",)
    labels: ClassVar[Labels] = {"correspondence": Label("correspondence", "#7a6fd0")}

    weight: float = weight_field(1.0)

    def for_item(self, index: int) -> Self:
        raise InputError(
            "restarts translate each image alone, without its correspondences: use restart_above None"
        )

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        correspondence, references = inputs["correspondence"], inputs.get("references")
        if not isinstance(correspondence, Correspondence):
            raise InputError(
                f"the correspondence is a {type(correspondence).__name__}: make one by from_flow"
            )
        count = len(source)
        fixed = source[:0] if references is None else references.to(source)
        correspondence = correspondence.resized((source.shape[-2], source.shape[-1])).to(source)
        check_images(torch.cat([source, fixed]), correspondence)
        if any(image >= count for image in correspondence.image):
            raise InputError("a correspondence starts at a reference: only links to references make sense")

        def value(context: Context) -> Tensor:
            return correspondence_loss(torch.cat([context.features, fixed]), correspondence, count)

        return [Term("correspondence", self.weight, value, view="pred_xstart")]
