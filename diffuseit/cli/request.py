"""What `diffuseit translate` is asked for, but for the sources: plain values, which can go to another process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..images.choices import FitMode, SizeMode
from ..images.io import read_levels, read_picture
from ..images.medical.kinds import kind_of
from ..images.recipe import FileRef, Recipe
from ..images.window import parse_window
from ..preset_files import find_preset, presets_folder
from . import console
from .job import Job
from .networks import Choice, check_texts, choose

if TYPE_CHECKING:
    from ..provenance.credential import Credential
    from ..provenance.watermark import Encoder


@dataclass(frozen=True)
class Request:
    """The options of `diffuseit translate`, under their names. `to` may hold several texts, for a result each.

    Paths are those of the machine that makes the results.
    """

    to: str | tuple[str, ...] = ()
    from_: str | None = None
    style: Path | None = None
    mask: Path | None = None
    models: str = "pocket"
    preset: str | None = None
    seed: int = 0
    steps: int | None = None
    skip: int | None = None
    resample: int | None = None
    features: str | None = None
    cfg: float | None = None
    resolution: int | None = None
    device: str = "cpu"
    fit: FitMode = "keep"
    size: SizeMode = "model"
    detail: float = 1.0
    window: str = "auto"
    mark: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to translate to; none if there is a style image."""
        return (self.to,) if isinstance(self.to, str) else tuple(self.to)

    def jobs(
        self, folder: Path, credential: Credential | None = None, encoder: Encoder | None = None
    ) -> dict[str | None, Job]:
        """Load the networks, and return what makes results into `folder`, by text. That of None is the first one's.

        Results are signed with a `credential`, and get a watermark with an `encoder`. Raise `InputError` or
        `ModelError` for what cannot be.
        """
        window = parse_window(self.window)
        with console.notes():
            style = None if self.style is None else read_levels(self.style, window)
            # The masks of a volume belong to its slices (`stacks.py`).
            whole = self.mask is not None and kind_of(self.mask) != "NIfTI"
            mask = read_picture(self.mask) if self.mask is not None and whole else None
        preset = None if self.preset is None else find_preset(self.preset, presets_folder())
        choice = Choice(self.models, self.features, self.cfg, self.resolution, self.device)
        first = self.texts[0] if self.texts else None
        networks, settled = choose(choice, first, self.from_, preset, self.steps, self.skip, self.resample)
        for text in self.texts[1:]:
            check_texts(settled, text, self.from_)
        recipe = Recipe(
            models=networks.name,
            weights=networks.weights,
            preset=settled,
            seed=self.seed,
            to=first,
            from_=self.from_,
            style=None if self.style is None else FileRef.of(self.style, folder),
            mask=None if self.mask is None else FileRef.of(self.mask, folder),
            fit=self.fit,
            size=self.size,
            detail=self.detail if self.size == "source" else 0.0,
            versions=networks.versions,
            checkpoint=networks.checkpoint,
            own=networks.own,
            style_window=getattr(style, "window", None),
        )
        job = Job(recipe, networks.models, style, mask, window, self.mark, credential, encoder)
        return {None: job} | {
            text: replace(job, recipe=replace(recipe, to=text), models=networks.toward(text))
            for text in self.texts
        }
