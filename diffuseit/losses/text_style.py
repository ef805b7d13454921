"""Text style: crops of the image agree with a prompt in every CLIP of an ensemble (Kwon & Ye 2023, eq. 8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from ..errors import InputError
from ..schema import number, text
from .base import FeaturesOf, Label, Labels, Look, Loss, Term, weight_field
from .structure import content_factor

if TYPE_CHECKING:
    from ..models.clip import CLIP

LONGEST_PROMPT = 2000
"""Characters. CLIP reads 77 tokens of a prompt."""


def text_style_loss(embeddings: Tensor, direction: Tensor) -> Tensor:
    """Minus the inner product of the mean crop embedding [B, n, D] with the unit target [B, D]: [B]."""
    return -(embeddings.mean(dim=1) * direction).sum(dim=-1)


def target_direction(
    e_target: Tensor,
    e_source: Tensor | None,
    e_image: Tensor | None,
    lambda_s: float = 0.4,
    lambda_i: float = 0.2,
) -> Tensor:
    """normalize(E_T - lambda_s E_S + lambda_i E_I), Kwon & Ye 2023, eq. 8; a None leaves its term out.

    `e_target` and `e_source` are unit vectors [D] of prompts, `e_image` [B, D] of source images.
    """
    direction = e_target
    if e_source is not None:
        direction = direction - lambda_s * e_source
    if e_image is not None:
        direction = direction + lambda_i * e_image
    return F.normalize(direction, dim=-1)


@dataclass(frozen=True, kw_only=True)
class TextStyleLoss(Loss):
    """Pulls toward the prompt `to`; `from_` says what the source shows and may be left out.

    A tuple of prompts gives each image of a batch its own.

    The target of each network is normalize(E_to - lambda_s E_from + lambda_i E_source). Each network sees `crops`
    random crops in each step; 0 is the deterministic mode, the whole image once. The mean over the ensemble counts.
    `progressive_contrast` and `regularize_content` divide the weight by what `StructureLoss` multiplies its own
    with under these names (AGG). With `rotate` each level asks one network, in turn, so that an ensemble costs as much
    as a single CLIP: a stochastic estimate of the ensemble's mean, as a crop is of the mean over all crops.
    Raise `InputError` for an empty prompt.
    """

    needs = ("clip",)
    labels: ClassVar[Labels] = {"text_style": Label("text style", "#e8853d")}

    to: str | tuple[str, ...] | None = text(None, longest=LONGEST_PROMPT)
    from_: str | tuple[str, ...] | None = text(None, longest=LONGEST_PROMPT)
    weight: float = weight_field(2000.0)
    lambda_s: float = number(0.4, low=0.0, high=2.0)
    lambda_i: float = number(0.2, low=0.0, high=2.0)
    crops: int = number(8, low=0, high=64)
    progressive_contrast: bool = False
    regularize_content: bool = False
    rotate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.to is not None and not all(prompt.strip() for prompt in _each(self.to)):
            raise InputError(
                "the text to translate to is empty: say in a few words what the image should become"
            )
        if self.from_ is not None and not all(prompt.strip() for prompt in _each(self.from_)):
            raise InputError(
                "the text of what the source shows is empty: say it in a few words, or leave it out"
            )

    def for_item(self, index: int) -> Self:
        def pick(prompts: str | tuple[str, ...] | None) -> str | None:
            return prompts[index] if isinstance(prompts, tuple) else prompts

        return replace(self, to=pick(self.to), from_=pick(self.from_))

    def with_prompts(self, to: str | tuple[str, ...] | None, from_: str | tuple[str, ...] | None) -> Self:
        return replace(self, to=to, from_=from_)

    def terms(self, source: Tensor, inputs: Mapping[str, Any], features_of: FeaturesOf) -> Sequence[Term]:
        if self.to is None:
            raise InputError("TextStyleLoss has no prompt: say in a few words what the image should become")
        for prompts in (self.to, self.from_ or ()):
            if isinstance(prompts, tuple) and prompts and len(prompts) != len(source):
                raise InputError(
                    f"{len(prompts)} prompts for {len(source)} images: give one, or one for each"
                )
        networks = inputs["clip"]
        return [
            self._term(model, (i, len(networks)), source, features_of) for i, model in enumerate(networks)
        ]

    def _term(self, model: "CLIP", phase: tuple[int, int], source: Tensor, features_of: FeaturesOf) -> Term:
        assert self.to is not None
        share = 1.0 if self.rotate else 1 / phase[1]
        e_source = None if self.from_ is None else _embed(model, self.from_, features_of)
        e_image = features_of(model, source)
        e_target = _embed(model, self.to, features_of)
        direction = target_direction(e_target, e_source, e_image[:, 0], self.lambda_s, self.lambda_i)

        def value(look: Look) -> Tensor:
            return share * text_style_loss(look.features, direction)

        def scale(look: Look) -> Tensor:
            return 1 / content_factor(look, self.progressive_contrast, self.regularize_content)

        with torch.no_grad():
            initial = 1 / phase[1] * text_style_loss(e_image, direction)
        return Term(
            "text_style",
            self.weight,
            value,
            model,
            view="noised",
            crops=self.crops,
            phase=phase if self.rotate else (0, 1),
            scale=scale if self.progressive_contrast or self.regularize_content else None,
            initial=initial,
            mean_of_crops=True,
        )


def _each(prompts: str | tuple[str, ...]) -> tuple[str, ...]:
    return (prompts,) if isinstance(prompts, str) else prompts


def _embed(model: "CLIP", prompts: str | tuple[str, ...], features_of: FeaturesOf) -> Tensor:
    """Unit embeddings [1 or B, D]."""
    return torch.stack([features_of(model, prompt) for prompt in _each(prompts)])
