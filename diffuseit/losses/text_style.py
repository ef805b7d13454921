"""Text style: crops of the picture agree with a prompt in every CLIP of an ensemble (Kwon & Ye 2023, eq. 8)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..features.clip import CLIP, CLIPEnsemble, target_direction
from .base import FeaturesOf, Look, Term, check_finite, require


def text_style_loss(embeddings: Tensor, direction: Tensor) -> Tensor:
    """Minus the inner product of the mean crop embedding [B, n, D] with the unit target [B, D]: [B]."""
    return -(embeddings.mean(dim=1) * direction).sum(dim=-1)


@dataclass(frozen=True, kw_only=True)
class TextStyleLoss:
    """Pulls towards the prompt `to`; `from_` says what the source shows and may be left out.

    The target of each network is normalise(E_to - lambda_s E_from + lambda_i E_source). `crops` random crops are
    seen per network and step; 0 is the deterministic mode, the whole picture once. The ensemble's mean counts.
    Raises `InputError` for an empty prompt, a negative number of crops or settings that are not finite.
    """

    clip: CLIPEnsemble | None = None
    to: str | None = None
    from_: str | None = None
    weight: float = 2000.0
    lambda_s: float = 0.4
    lambda_i: float = 0.2
    crops: int = 8

    def __post_init__(self) -> None:
        check_finite(self)
        if self.crops < 0:
            raise InputError(f"TextStyleLoss.crops is {self.crops}: use 0 (no crops) or more")
        for name, prompt in (("to", self.to), ("from", self.from_)):
            if prompt is not None and not prompt.strip():
                raise InputError(f"the prompt '{name}' is empty: say in words what you want, or leave it out")

    def bind(self, source: Tensor, features_of: FeaturesOf) -> Sequence[Term]:
        clip = require(self.clip, self, "a CLIP ensemble")
        prompt: str = require(self.to, self, "the prompt 'to'")
        return [self._term(model, prompt, source, features_of, 1 / len(clip)) for model in clip]

    def _term(self, model: CLIP, prompt: str, source: Tensor, features_of: FeaturesOf, share: float) -> Term:
        e_source = None if self.from_ is None else model.encode_prompt(self.from_)
        e_image = features_of(model, source)
        direction = target_direction(
            model.encode_prompt(prompt), e_source, e_image[:, 0], self.lambda_s, self.lambda_i
        )

        def value(look: Look) -> Tensor:
            return share * text_style_loss(look.features, direction)

        with torch.no_grad():
            initial = share * text_style_loss(e_image, direction)
        return Term("text_style", self.weight, value, model, view="noised", crops=self.crops, initial=initial)
