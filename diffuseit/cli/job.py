"""The work of `diffuseit translate`: a recipe and its networks, for one image, its variations, or a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

import diffuseit

from ..errors import DiffuseITError, InputError
from ..files.claim import ABANDONED_AFTER, claimed
from ..guidance.ranking import labels
from ..images.full_size import restore
from ..images.io import (
    Picture,
    check_writable,
    level_image,
    level_tensor,
    read_mark,
    read_picture,
    save_picture,
    to_pil,
    to_tensor,
)
from ..images.marks import SourceType, of_result
from ..images.metadata import text_options
from ..images.recipe import FileRef, Recipe
from ..images.resize import FAMILIAR_ASPECT, Fit, cover, mask_at, resize
from ..images.sheet import labeled_grid
from . import console
from .output import Target, variations_of

if TYPE_CHECKING:
    from ..guidance.loop import Step
    from ..models.bundle import Models


@dataclass(frozen=True)
class Job:
    """A recipe with the networks and images that it names. It makes any source into a result.

    A `marked` one says in its metadata that a trained model has changed it (`images/marks.py`).
    """

    recipe: Recipe
    models: Models
    style: Picture | None = None
    mask: Picture | None = None
    marked: bool = True

    def one(self, source: Path, picture: Picture, target: Target) -> None:
        """Translate one image."""
        text = self._recipe_of(source, target).to_text()
        began = time.monotonic()
        with console.step_bar(source.name) as on_step:
            result = self._translated(picture, source.name, on_step)
        saved = target.save(result, text, self._mark_of(source))
        console.say(f"Saved {saved} ({result.width}x{result.height}, {time.monotonic() - began:.1f} s)")

    def variations(self, source: Path, picture: Picture, target: Target, count: int) -> None:
        """Translate one image with `count` seeds, from the recipe's on.

        The target gets the result whose losses are lowest, OUT-2 the next, OUT-grid all of them. Each result carries
        the settings by which --again makes it alone, up to rounding.
        """
        recipe = self._recipe_of(source, target)
        targets, sheet = variations_of(target, count)
        began = time.monotonic()
        fit = self._fit(picture, source.name)
        with console.step_bar(source.name) as on_step:
            found = diffuseit.vary(count=count, on_step=on_step, **self._arguments(picture, fit))
        images = [self._finished(picture, fit, result[None]) for result in found.pictures]
        lines, mark = [], self._mark_of(source)
        for each, image, seed, score in zip(targets, images, found.seeds, found.scores.tolist(), strict=True):
            one = replace(recipe, seed=seed)
            lines.append(f"Saved {each.save(image, one.to_text(), mark)} (seed {seed}, losses {score:.4g})")
        grid = labeled_grid(torch.cat([to_tensor(image) for image in images]), labels(found))
        saved = sheet.save(grid, mark=mark)
        for line in (*lines, f"Saved {saved} ({time.monotonic() - began:.1f} s)"):
            console.say(line)

    def folder(self, pairs: list[tuple[Path, Path]]) -> tuple[int, dict[Path, str]]:
        """Translate each source into its target. Return how many were saved, and why the others failed.

        A target that another process makes is left alone and counts as neither.
        """
        done, failures = 0, {}
        with console.pictures_bar(len(pairs)) as show, closing(claimed(pairs, _say_waiting)) as queue:
            for number, source, target in queue:
                show(number, source.name, None)
                try:
                    check_writable(target)
                    with console.notes():
                        picture = read_picture(source)
                    self.into(source, picture, target, _on_step(show, number, source.name))
                    done += 1
                except FileExistsError:
                    pass
                except DiffuseITError as error:
                    failures[source] = str(error)
                except Exception as error:  # one image's trouble, memory for one, is not the next one's
                    failures[source] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            show(len(pairs), "", None)
        return done, failures

    def into(self, source: Path, picture: Picture, target: Path, on_step: Callable[[Step], None]) -> None:
        """Translate `picture`, which is that of the file `source`, into a new file.

        Raise `FileExistsError` if another file has its name.
        """
        recipe = replace(self.recipe, source=FileRef.of(source, target.parent))
        result = self._translated(picture, source.name, on_step)
        save_picture(result, target, recipe.to_text(), mark=self._mark_of(source), overwrite=False)

    def _mark_of(self, source: Path) -> SourceType | None:
        """Return what the result says of its making, for programs that look for it."""
        return of_result(read_mark(source)) if self.marked else None

    def _recipe_of(self, source: Path, target: Target) -> Recipe:
        """The recipe of the result in `target`, with a note if the file cannot hold it."""
        recipe = replace(self.recipe, source=FileRef.of(source, target.path.parent))
        suffix, text = target.path.suffix.lower(), recipe.to_text()
        if not text_options(suffix, text):
            size = "" if suffix == ".bmp" else f" of {len(text)} characters"
            console.note(
                f"{suffix[1:].upper()} files hold no settings{size}: --again will not work with {target.path}"
            )
        return recipe

    def _translated(self, picture: Picture, name: str, on_step: Callable[[Step], None]) -> Image.Image:
        fit = self._fit(picture, name)
        result = diffuseit.translate(on_step=on_step, **self._arguments(picture, fit))
        return self._finished(picture, fit, result.pictures)

    def _fit(self, picture: Picture, name: str) -> Fit:
        fit = Fit.of(picture.size, self.models.ddpm, self.recipe.fit)
        if not fit.familiar:
            console.note(
                f"{name} has one side over {FAMILIAR_ASPECT} times the other, unlike what networks are trained on: "
                "consider --fit crop"
            )
        return fit

    def _arguments(self, picture: Picture, fit: Fit) -> dict[str, Any]:
        """What `diffuseit.translate` is called with."""
        recipe = self.recipe
        return {
            "source": fit.apply(to_tensor(picture.over("white"))),
            "to": recipe.to,
            "from_": recipe.from_,
            "style": None if self.style is None else self._fitted_style(self.style, fit),
            "models": self.models,
            "preset": recipe.preset,
            "seed": recipe.seed,
            "mask": None if self.mask is None else fit.apply(_mask(self.mask, picture)),
        }

    def _fitted_style(self, style: Picture, fit: Fit) -> Tensor:
        """The style image at the model's size, stretched where the source is."""
        image = to_tensor(style.over("white"))
        return resize(image, fit.canvas) if self.recipe.fit == "stretch" else cover(image, fit.canvas)

    def _finished(self, picture: Picture, fit: Fit, result: Tensor) -> Image.Image:
        """The result [1, 3, H, W] back from the model's size, with the image's transparency."""
        mask = None if self.mask is None else _mask(self.mask, picture)
        alpha = None if picture.alpha is None else level_tensor(picture.alpha)
        if self.recipe.size == "source":
            result = restore(fit, result, to_tensor(picture.rgb), mask, self.recipe.detail)
            alpha = None if alpha is None else fit.cut(alpha)
        else:
            result = fit.undo(result)
            alpha = None if alpha is None else fit.undo(fit.apply(alpha))
        image = to_pil(result)
        if alpha is not None:
            image.putalpha(level_image(alpha))
        return image


def _say_waiting(count: int) -> None:
    images = "1 image that another process translates" if count == 1 else f"{count} images of other processes"
    console.inform(
        f"Waiting for {images}. Those of a process that has died are taken over after {ABANDONED_AFTER:.0f} s"
    )


def _on_step(show: Callable[[int, str, Step | None], None], number: int, name: str) -> Callable[[Step], None]:
    return lambda step: show(number, name, step)


def _mask(mask: Picture, picture: Picture) -> Tensor:
    """[1, 1, H, W] in [0, 1] of the image's size. Raise `InputError` for a mask that does not fit it."""
    levels = mask_at(picture.size, level_tensor(mask.over("black").convert("L")))
    if not levels.any():
        raise InputError("The mask is black everywhere, so nothing may change: paint white where it may")
    return levels
