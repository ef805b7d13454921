"""What the gallery turns: settings of a preset, to a low and to a high value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..losses import ColorStatisticsLoss, ImageStyleLoss, Loss, StructureLoss, TextStyleLoss
from ..presets import Kind, Preset, at_strength

Turn = Callable[[Preset, float], Preset]
"""Returns the preset with the knob at a value."""


@dataclass(frozen=True)
class Knob:
    """A setting of presets of the kinds `kinds`. `values` by their captions; the preset's own lies between them."""

    name: str
    about: str
    turn: Turn
    low: tuple[str, float]
    high: tuple[str, float]
    kinds: tuple[Kind, ...] = ("text", "image")

    def ways(self, preset: Preset) -> dict[str, Preset]:
        """Return the preset with the knob low, as it is, and high, by captions. An end that it is at is left out."""
        turned = [(caption, self.turn(preset, value)) for caption, value in (self.low, self.high)]
        low, high = ({caption: one} if one != preset else {} for caption, one in turned)
        return low | {"as it is": preset} | high

    def moves(self, preset: Preset) -> bool:
        """Return whether the knob changes the preset."""
        return preset.kind in self.kinds and len(self.ways(preset)) > 1


def _times(kind: type[Loss]) -> Turn:
    """Return a knob that multiplies the weights of the losses of a kind."""

    def turn(preset: Preset, factor: float) -> Preset:
        return replace(
            preset,
            losses=tuple(
                replace(loss, schedules=(*loss.schedules, ((0.0, factor),)))
                if isinstance(loss, kind)
                else loss
                for loss in preset.losses
            ),
        )

    return turn


def _resampled(preset: Preset, factor: float) -> Preset:
    visits = max(1, round(preset.sampler.resample * factor))
    return replace(preset, sampler=replace(preset.sampler, resample=visits))


def _start_color(preset: Preset, share: float) -> Preset:
    return replace(preset, sampler=replace(preset.sampler, start_color=share))


KNOBS = (
    Knob(
        "strength",
        "How much of the diffusion process runs. Turned up, the result departs further from the source.",
        at_strength,
        ("strength 0", 0.0),
        ("strength 1", 1.0),
    ),
    Knob(
        "text style weight",
        "Turned up, the result follows the text more, at the cost of the edges of the source.",
        _times(TextStyleLoss),
        ("weight x 0.1", 0.1),
        ("weight x 10", 10.0),
        ("text",),
    ),
    Knob(
        "image style weight",
        "Turned up, the result takes more of the style image, at the cost of the edges of the source.",
        _times(ImageStyleLoss),
        ("weight x 0.1", 0.1),
        ("weight x 10", 10.0),
        ("image",),
    ),
    Knob(
        "structure weight",
        "Turned up, the layout of the source is kept more strictly, at the cost of the style.",
        _times(StructureLoss),
        ("weight 0", 0.0),
        ("weight x 10", 10.0),
    ),
    Knob(
        "color weight",
        "Turned up, the colors come nearer to those of the reference: the style image, or for a text the source.",
        _times(ColorStatisticsLoss),
        ("weight 0", 0.0),
        ("weight x 10", 10.0),
    ),
    Knob(
        "resample",
        "Visits of the first level. More visits settle large forms and colors.",
        _resampled,
        ("1 visit", 0.0),
        ("visits x 2", 2.0),
    ),
    Knob(
        "start_color",
        "How much of the mean color of the source the run begins with. At 0 the losses decide on it.",
        _start_color,
        ("start_color 0", 0.0),
        ("start_color 1", 1.0),
    ),
)
"""In the order of the page."""
