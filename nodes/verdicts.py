"""The verdicts on the results of a run, by the networks of its losses. Nothing here ends a run."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..diffuseit.losses import BoundLoss, ImageStyleLoss, TextStyleLoss
from . import live
from .comfy.decoration import Decoration
from .comfy.events import show_text

# These bring timm and open_clip, which must not be loaded with the pack.
if TYPE_CHECKING:
    from ..diffuseit.evaluation.verdict import Verdict
    from ..diffuseit.film import Frame


def verdicts_on(results: Tensor, sources: Tensor, losses: Iterable[BoundLoss]) -> "Sequence[Verdict]":
    """Return the verdicts on those results [B, 3, H, W] of a run that the node shows, from its sources at their size.

    Both are in [-1, 1]. The networks measure where they are.
    """
    shown = results[: live.SHOWN_PICTURES]
    with Decoration("the verdict on the result"):
        from ..diffuseit.pocket.witnesses import verdicts_on_run

        return verdicts_on_run(shown, sources[: len(shown)], **_at_hand(losses))
    return ()


def tell_film(frames: Sequence["Frame"], sources: Tensor, losses: Iterable[BoundLoss]) -> None:
    """Say on the node what a film is worth, all frames of it. Their `sources` are [N, 3, H, W] in [-1, 1]."""
    with Decoration("the verdict on the film"):
        from ..diffuseit.evaluation.film_verdict import FilmVerdict
        from ..diffuseit.pocket.witnesses import verdicts_on_run

        found, at_hand = FilmVerdict(), _at_hand(losses)
        for frame in frames:
            (verdict,) = verdicts_on_run(frame.picture[None], sources[frame.index][None], **at_hand)
            found.add(frame.index, verdict, frame.warp_error)
        show_text(found.summary())


def look_ahead(sources: Tensor, losses: Iterable[BoundLoss]) -> None:
    """Say on the node if the text asks for more of a source [B, 3, H, W] in [-1, 1] than the method can do."""
    with Decoration("the look ahead"):
        from ..diffuseit.evaluation.outlook import WARNING, too_far

        found = _at_hand(losses)
        if isinstance(found["to"], str):
            for clip in found["clips"]:
                if any(too_far(clip, sources, found["to"]) or ()):
                    show_text(WARNING)


def _at_hand(losses: Iterable[BoundLoss]) -> dict[str, Any]:
    """The networks, texts and style images of losses, as `verdicts_on_run` takes them."""
    found: dict[str, Any] = {"vit": None, "clips": (), "to": None, "from_": None, "style": None}
    for bound in losses:
        if found["vit"] is None and "vit" in bound.loss.needs:
            found["vit"] = bound.inputs["vit"]
        if isinstance(bound.loss, TextStyleLoss) and found["to"] is None:
            found |= {"clips": bound.inputs["clip"], "to": bound.loss.to, "from_": bound.loss.from_}
        if isinstance(bound.loss, ImageStyleLoss) and found["style"] is None:
            found["style"] = bound.inputs["style"]
    return found
