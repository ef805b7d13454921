"""The sheets of the gallery: one image translated in several ways, each result with its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from ..api import translate
from ..evaluation.edges import edge_f1
from ..evaluation.registration import register
from ..guidance.loop import Step
from ..images.sheet import labeled_grid
from ..models.bundle import Models
from ..presets import PRESETS, Kind, Preset, preset_named
from .knobs import KNOBS

_OFFICIAL, _LATENT = "official-", "latent-"


@dataclass(frozen=True)
class Subject:
    """An image to translate, [1, 3, H, W] in [-1, 1] at a size of the model, and what may guide it."""

    source: Tensor
    to: str
    from_: str | None = None
    style: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True)
class Sheet:
    """One picture of the gallery: in each row a subject, and under captions the presets that translate it."""

    name: str
    kind: Kind
    title: str
    about: str
    rows: tuple[tuple[Subject, Mapping[str, Preset]], ...]

    @property
    def count(self) -> int:
        """Return how many translations it takes."""
        return sum(len(ways) for _, ways in self.rows)


def presets_for(models: Models) -> list[Preset]:
    """Return the presets that suit these networks: those of their kinds, or all of the paper's and AGG's."""
    own = (models.text_preset, models.image_preset)
    official = all(name.startswith(_OFFICIAL) for name in own)
    return [
        preset
        for name, preset in PRESETS.items()
        if name.startswith(_OFFICIAL) == official and not name.startswith(_LATENT)
    ]


def plan(subjects: Sequence[Subject], presets: Sequence[Preset], models: Models) -> list[Sheet]:
    """Return the sheets of some presets, and of the knobs of the networks' own preset for each kind of guide.

    Presets that are guided by an image take the subjects that have a style image. A sheet without any is left out.
    """
    sheets = []
    guides: tuple[tuple[Kind, str, str], ...] = (
        ("text", "a text", models.text_preset),
        ("image", "a style image", models.image_preset),
    )
    for kind, guide, own in guides:
        able = [one for one in subjects if kind == "text" or one.style is not None]
        shown = {preset.name: preset for preset in presets if preset.kind == kind}
        if not able:
            continue
        if shown:
            about = "\n".join(f"- `{preset.name}`: {preset.description}." for preset in shown.values())
            rows = tuple((subject, shown) for subject in able)
            sheets.append(Sheet(f"presets-{kind}", kind, f"Presets guided by {guide}", about, rows))
        preset = preset_named(own)
        for number, knob in enumerate(knob for knob in KNOBS if knob.moves(preset)):
            sheets.append(
                Sheet(
                    f"{knob.name.replace(' ', '-').replace('_', '-')}-{kind}",
                    kind,
                    f"{knob.name}, guided by {guide}",
                    f"{knob.about} The preset is `{preset.name}`.",
                    ((able[number % len(able)], knob.ways(preset)),),
                )
            )
    return sheets


def draw(sheet: Sheet, models: Models, on_step: Callable[[int, Step | None], None]) -> Image.Image:
    """Return the sheet, made by `models`.

    `on_step` gets the number of finished translations and a step of the next one, or None after each.
    """
    tiles: list[tuple[Tensor, str]] = []
    done = 0
    for subject, ways in sheet.rows:
        if sheet.kind == "text":
            tiles.append((subject.source, f"to: {subject.to}"))
        elif subject.style is not None:
            tiles += [(subject.source, "source"), (subject.style, "style")]
        for caption, preset in ways.items():
            result = _translated(subject, preset, models, partial(on_step, done))
            tiles.append((result, f"{caption}\n{figures(result, subject.source)}"))
            done += 1
            on_step(done, None)
    pictures, labels = zip(*tiles, strict=True)
    return labeled_grid(torch.cat(pictures), labels, columns=len(tiles) // len(sheet.rows))


def figures(result: Tensor, source: Tensor) -> str:
    """Return how well the result [1, 3, H, W] lies on its source, in a few words. It needs no network."""
    place = "in place" if register(result, source).in_place.item() else "place not sure"
    return f"edges {edge_f1(result, source).item():.2f}, {place}"


def _translated(subject: Subject, preset: Preset, models: Models, on_step: Callable[[Step], None]) -> Tensor:
    text = preset.kind == "text"
    return translate(
        subject.source,
        to=subject.to if text else None,
        from_=subject.from_ if text else None,
        style=None if text else subject.style,
        models=models,
        preset=preset,
        seed=subject.seed,
        on_step=on_step,
    ).pictures.clamp(-1, 1)
