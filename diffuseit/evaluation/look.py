"""Look reached: how near a result is to a text, by CLIP, or to a style picture, by a ViT's [CLS].

Measure with networks that did not guide: a guided result agrees with its guide even where it deceives it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.clip import CLIP, normalize
from ..models.vit import ViT


@dataclass(frozen=True)
class TextMatch:
    """Cosines [N] of results with the text they should show (`target`) and with that of the source, if given."""

    target: Tensor
    source: Tensor | None = None

    @property
    def reached(self) -> Tensor | None:
        """[N] bool: whether the target is nearer than the source."""
        return None if self.source is None else self.target > self.source


@torch.no_grad()
def text_match(
    clip: CLIP, results: Tensor, to: str, from_: str | None = None, *, templates: bool = False
) -> TextMatch:
    """Return how well pictures [N, 3, H, W] in [-1, 1] match the texts.

    The texts are embedded as they are, as CLIPScore and PIE-Bench do, or as means over the 79 `templates` of the
    losses. PIE-Bench publishes 100 times the cosine.
    """
    pictures = clip.encode_image(results)[:, 0]

    def cosine(text: str) -> Tensor:
        embedding = clip.encode_prompt(text) if templates else normalize(clip.encode_text([text]))[0]
        return pictures @ embedding

    return TextMatch(cosine(to), None if from_ is None else cosine(from_))


@torch.no_grad()
def style_match(vit: ViT, results: Tensor, styles: Tensor) -> Tensor:
    """Return the cosines [N] of the [CLS] of pictures and of style pictures [1 or N, 3, H, W], in [-1, 1]."""
    return F.cosine_similarity(vit(results).cls, vit(styles).cls, dim=-1)


@torch.no_grad()
def target_probability(
    clip: CLIP, results: Tensor, sources: Tensor, to: str, from_: str | None = None
) -> Tensor:
    """Return how probable a CLIP finds it [N] that results show the target, by its own temperature.

    With `from_` the alternative is the source text (zero-shot classification, Radford et al. 2021). Without it, the
    alternative is that the target text belongs to the source picture instead. An unchanged source has 0.5 then.
    """
    scale = clip.model.logit_scale.exp().float()
    match = text_match(clip, results, to, from_)
    other = match.source if match.source is not None else text_match(clip, sources, to).target
    return torch.sigmoid(scale * (match.target - other))
