"""What a result is worth: whether it kept the structure of its source, reached its target, and stayed in place.

Every result of this package gets a verdict, from the networks that are at hand, so that it costs little. Structure and
place are told by edges alone, which guide nothing. Whether the target is reached is told by a classifier that guides
nothing where there is one, as in the pocket world, else by the CLIP at hand, which may have guided.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.resize import resize
from ..schema import check, number, text
from .classes import Classifier
from .edges import edge_f1, edges
from .look import target_probability
from .measure import Wanted, common_size
from .registration import SMALLEST, SURE, register
from .structure import structure_distance
from .witnesses import Witnesses

LOST = 0.35
"""Confidence of the registration below which the structure counts as lost. Between it and `SURE` nothing is said.
`diffuseit benchmark pocket --task verdict` measures how often that is right."""

Finding = Literal["lost", "missed", "moved"]
"""What may be wrong: the structure is lost, the target is missed, the image moved."""


@dataclass(frozen=True)
class Verdict:
    """What one result is worth. None is what cannot be told.

    - `structure_kept`: the edges of result and source agree. `target_reached`: the target is more probable than not.
      `in_place`: nothing moved by a pixel.
    - `edge_f1`, `confidence`: of the edges, 0 to 1. `shift` in pixels and `zoom` in percent, where they are found.
    - `structure`: distance of the self-similarities of the ViT at hand; 0 is the same layout.
    - `probability`: that the result shows the target, in the eyes of `judge`. `guided`: the judge also guided the
      result, and so is no fair judge. `style_gain`: how much of the way from the source to the style image the [CLS] of
      the ViT went; 1 is all of it.
    """

    structure_kept: bool | None
    target_reached: bool | None
    in_place: bool | None
    edge_f1: float = number(low=0.0, high=1.0)
    confidence: float | None = number(None, low=0.0, high=1.0)
    shift: float | None = number(None, low=0.0)
    zoom: float | None = None
    structure: float | None = number(None, low=0.0)
    probability: float | None = number(None, low=0.0, high=1.0)
    style_gain: float | None = number(None, high=1.0)
    judge: str | None = text(None, longest=200)
    guided: bool = False

    def __post_init__(self) -> None:
        check(self)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, numbers with four digits, and the summary."""
        values = {
            entry.name: round(value, 4) if isinstance(value := getattr(self, entry.name), float) else value
            for entry in fields(self)
        }
        return {**values, "summary": self.summary()}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, the gravest first."""
        found: list[Finding] = []
        if self.structure_kept is False:
            found.append("lost")
        if self.target_reached is False:
            found.append("missed")
        if self.in_place is False and self.structure_kept:
            found.append("moved")
        return tuple(found)

    def summary(self) -> str:
        """Return the verdict in one line of English."""
        parts = [self._structure(), self._target(), self._place()]
        return ", ".join(part for part in parts if part)

    def reached_in_words(self) -> list[str]:
        """Return what is known of the target, a line each."""
        lines = []
        if self.probability is not None:
            lines.append(f"target probability: {self.probability:.3f} ({self.judge})")
        if self.style_gain is not None:
            lines.append(f"way to the style image: {100 * self.style_gain:.0f} %")
        return lines

    def _structure(self) -> str:
        if self.structure_kept is None:
            return "structure not sure"
        if not self.structure_kept:
            return "did not keep the structure"
        return "kept its source" if self.target_reached is False else "structure kept"

    def _target(self) -> str:
        if self.target_reached is None:
            return ""
        who = f" (says {self.judge}, which guided)" if self.guided else ""
        return ("target reached" if self.target_reached else "target not reached") + who

    def _place(self) -> str:
        if self.in_place:
            return "in place"
        if self.shift is None or not self.structure_kept:
            return ""
        zoom = "" if self.zoom is None or abs(self.zoom) < 0.05 else f", zoomed by {self.zoom:+.1f} %"
        return f"moved by {self.shift:.1f} px{zoom}"


@torch.no_grad()
def verdict(result: Tensor, source: Tensor, wanted: Wanted, witnesses: Witnesses) -> Verdict:
    """Return the verdict on a result [1, 3, H, W] of a source [1, 3, h, w], both in [-1, 1].

    The source is brought to the result's size. Nothing in a picture raises: what cannot be measured is None.
    """
    size, _ = common_size(result, source)
    result, source = resize(result, size), resize(source, size)
    kept = in_place = confidence = shift = zoom = None
    if min(size) >= SMALLEST:
        found = register(result, source)
        confidence = found.confidence.item()
        kept = True if confidence >= SURE else False if confidence < LOST and edges(source).any() else None
        if found.found.item():
            in_place, shift = bool(found.in_place.item()), found.distance.item()
            zoom = _finite(100 * (found.zoom.item() - 1))
    vit = witnesses.vit
    judge, probability = _target(result, source, wanted, witnesses)
    return Verdict(
        structure_kept=kept,
        target_reached=None if probability is None else probability > 0.5,
        in_place=in_place,
        edge_f1=edge_f1(result, source).item(),
        confidence=confidence,
        shift=shift,
        zoom=zoom,
        structure=None if vit is None else _finite(structure_distance(vit, result, source).item()),
        probability=probability,
        style_gain=_style_gain(result, source, wanted, witnesses),
        judge=judge,
        guided=judge is not None and any(name in witnesses.guides for name in judge.split(" + ")),
    )


def _target(
    result: Tensor, source: Tensor, wanted: Wanted, witnesses: Witnesses
) -> tuple[str | None, float | None]:
    """Who says, and how probable it is, that the result shows the target."""
    if wanted.target is not None and witnesses.classifier is not None:
        logits = witnesses.classifier(result)
        probability = _finite(logits.softmax(1)[0, wanted.target].item())
        return _name(witnesses, witnesses.classifier), probability
    if wanted.to is not None and witnesses.clips:
        found = [
            target_probability(clip, result, source, wanted.to, wanted.from_)
            for clip in witnesses.clips.values()
        ]
        return " + ".join(witnesses.clips), _finite(torch.cat(found).mean().item())
    return None, None


def _style_gain(result: Tensor, source: Tensor, wanted: Wanted, witnesses: Witnesses) -> float | None:
    if wanted.style is None or witnesses.vit is None:
        return None
    cls = F.normalize(witnesses.vit(torch.cat([result, source])).cls, dim=-1)
    after, before = (cls * wanted.style).sum(-1).tolist()
    way = wanted.style.norm().item() - before
    return _finite(min((after - before) / way, 1.0)) if way > 1e-6 else None


def _name(witnesses: Witnesses, classifier: Classifier) -> str:
    """The name of the classifier among the networks."""
    own = (classifier, classifier.network)
    return next((name for name, network in witnesses.networks.items() if network in own), "classifier")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
