"""The work of `diffuseit translate`: a recipe and its networks, for one image or its variations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import typer
from torch import Tensor

import diffuseit

from ..errors import InputError, in_words
from ..guidance.ranking import labels
from ..images.deep import DeepPicture
from ..images.full_size import restore
from ..images.io import (
    Picture,
    level_image,
    level_tensor,
    read_mark,
    save_picture,
    to_pil,
    to_tensor,
)
from ..images.labels import Labels
from ..images.marks import SourceType, of_result
from ..images.metadata import text_options
from ..images.recipe import FileRef, Recipe
from ..images.resize import FAMILIAR_ASPECT, Fit, Size, cover, mask_at, resize
from ..images.sheet import labeled_grid
from ..images.window import WindowChoice
from . import console
from .output import Target, variations_of
from .signing import Hidden, lacking

if TYPE_CHECKING:
    from PIL import Image

    from ..evaluation.verdict import Verdict
    from ..guidance.loop import Step
    from ..models.bundle import Models
    from ..provenance.credential import Credential
    from ..provenance.sign import Signature
    from ..provenance.watermark import Encoder

AnyPicture = Picture | DeepPicture


class Made(NamedTuple):
    """What is said of a result."""

    recipe: Recipe
    verdict: Verdict | None
    signature: Signature | None
    hidden: Hidden | None = None


@dataclass(frozen=True)
class Job:
    """A recipe with the networks and images that it names. It makes any source into a result.

    A `marked` one says in its metadata that a trained model has changed it (`images/marks.py`). With a `credential`,
    results are signed. With an `encoder`, images of 8 bits get a watermark.
    """

    recipe: Recipe
    models: Models
    style: AnyPicture | None = None
    mask: Picture | None = None
    window: WindowChoice = "auto"
    marked: bool = True
    credential: Credential | None = None
    encoder: Encoder | None = None

    def one(self, source: Path, picture: AnyPicture, target: Target) -> None:
        """Translate one image."""
        recipe = self._recipe_of(source, picture, target)
        began = time.monotonic()
        with console.step_bar(source.name) as on_step:
            result, verdict = self.translated(picture, source.name, on_step)
        text = _document(recipe, verdict, target.path)
        result, hidden = self._watermarked(result)
        signature = self._signature(source, text, hidden)
        saved = target.save(result, text, self._mark_of(source), signature)
        facts = f"({result.width}x{result.height}, {time.monotonic() - began:.1f} s)"
        console.say(f"Saved {saved} {facts}{_said(verdict)}")
        _end([(saved, signature, hidden)])

    def variations(self, source: Path, picture: AnyPicture, target: Target, count: int) -> None:
        """Translate one image with `count` seeds, from the recipe's on.

        The target gets the result whose losses are lowest, OUT-2 the next, OUT-grid all of them. Each result carries
        the settings by which --again makes it alone, up to rounding.
        """
        recipe = self._recipe_of(source, picture, target)
        targets, sheet = variations_of(target, count)
        began = time.monotonic()
        fit = self.fit_of(picture, source.name)
        arguments = self.arguments(picture, fit)
        self.look_ahead(arguments["source"], source.name)
        with console.step_bar(source.name) as on_step:
            found = diffuseit.vary(count=count, on_step=on_step, **arguments)
        pictures = _as_kept(found.pictures, picture)
        verdicts = self.verdicts(pictures, arguments)
        images = [self.finished(picture, fit, result[None]) for result in pictures]
        lines, mark = [], self._mark_of(source)
        signatures: list[tuple[Path, Signature | None, Hidden | None]] = []
        made = zip(targets, images, verdicts, found.seeds, found.scores.tolist(), strict=True)
        for each, image, verdict, seed, score in made:
            text = _document(replace(recipe, seed=seed), verdict, each.path)
            image, hidden = self._watermarked(image)
            signature = self._signature(source, text, hidden)
            saved = each.save(image, text, mark, signature)
            signatures.append((saved, signature, hidden))
            lines.append(f"Saved {saved} (seed {seed}, losses {score:.4g}){_said(verdict)}")
        grid = labeled_grid(torch.cat([to_tensor(_seen(image)) for image in images]), labels(found))
        saved = sheet.save(grid, mark=mark)
        for line in (*lines, f"Saved {saved} ({time.monotonic() - began:.1f} s)"):
            console.say(line)
        _end(signatures)

    def into(self, source: Path, picture: AnyPicture, target: Path, on_step: Callable[[Step], None]) -> Made:
        """Translate `picture`, which is that of the file `source`, into a new file. Return what the file says of it.

        Raise `FileExistsError` if another file has its name.
        """
        recipe = self._with_source(source, picture, target)
        result, verdict = self.translated(picture, source.name, on_step)
        text = _document(recipe, verdict, target)
        result, hidden = self._watermarked(result)
        signature = self._signature(source, text, hidden)
        save_picture(result, target, text, mark=self._mark_of(source), finish=signature, overwrite=False)
        return Made(recipe, verdict, signature, hidden)

    def with_labels(self, labels: Labels, source: Path, size: Size, target: Path) -> list[Path]:
        """Write the labels of `source`, of `size` (height, width), for its result in `target`, and return them."""
        fit = Fit.of(size, self.models.ddpm, self.recipe.fit)
        return labels.beside(target, source, fit, self.recipe.size)

    def _mark_of(self, source: Path) -> SourceType | None:
        """Return what the result says of its making, for programs that look for it."""
        return _mark_for(source) if self.marked else None

    def _watermarked(
        self, image: Image.Image | DeepPicture
    ) -> tuple[Image.Image | DeepPicture, Hidden | None]:
        """Return the image with a watermark, if it is to have one, or why it has none."""
        if self.encoder is None:
            return image, None
        from ..provenance.watermark import new_identifier

        if isinstance(image, DeepPicture):
            return image, Hidden(failure="images of more than 8 bits get none")
        identifier = new_identifier()
        try:
            return self.encoder.mark(image, identifier), Hidden(identifier)
        except Exception as error:  # the image took long to make, and is there
            return image, Hidden(failure=in_words(error))

    def _signature(self, source: Path, text: str, hidden: Hidden | None) -> Signature | None:
        """Return what signs a result with these settings, if it is to be signed."""
        if self.credential is None:
            return None
        from ..provenance.sign import Origin, Signature

        return Signature(
            self.credential, Origin(_mark_for(source), source, text, hidden and hidden.identifier)
        )

    def _with_source(self, source: Path, picture: AnyPicture, target: Path) -> Recipe:
        """The recipe of the result in `target`. Raise `InputError`, or say so, if the file cannot hold all levels."""
        window = picture.window if isinstance(picture, DeepPicture) else None
        if isinstance(picture, DeepPicture) and (lost := picture.check_fits(target.suffix.lower())):
            console.note(lost)
        return replace(self.recipe, source=FileRef.of(source, target.parent), window=window)

    def _recipe_of(self, source: Path, picture: AnyPicture, target: Target) -> Recipe:
        """The recipe of the result in `target`, with a note if the file cannot hold it."""
        recipe = self._with_source(source, picture, target.path)
        suffix, text = target.path.suffix.lower(), recipe.to_text()
        if not text_options(suffix, text):
            size = "" if suffix == ".bmp" else f" of {len(text)} characters"
            console.note(
                f"{suffix[1:].upper()} files hold no settings{size}: --again will not work with {target.path}"
            )
        return recipe

    def translated(
        self, picture: AnyPicture, name: str, on_step: Callable[[Step], None], first: bool = True
    ) -> tuple[Image.Image | DeepPicture, Verdict | None]:
        """Return the result of a picture, and its verdict. Notes on a volume are for its `first` slice."""
        fit = self.fit_of(picture, name if first else None)
        arguments = self.arguments(picture, fit)
        if first:
            self.look_ahead(arguments["source"], name)
        result = diffuseit.translate(on_step=on_step, **arguments)
        pictures = _as_kept(result.pictures, picture)
        (verdict,) = self.verdicts(pictures, arguments)
        return self.finished(picture, fit, pictures), verdict

    def look_ahead(self, source: Tensor, name: str) -> None:
        """Say so if the text asks for more than the method can do."""
        if self.recipe.to is None:
            return
        from ..evaluation.outlook import WARNING, too_far

        for clip in self.models.clip:
            far = too_far(clip, source, self.recipe.to)
            if far is not None and far[0]:
                console.note(f"{name}: {WARNING}")

    def verdicts(self, results: Tensor, arguments: dict[str, Any]) -> list[Verdict] | list[None]:
        """The verdicts on results of one source, at the model's size; None if there is trouble, which is said."""
        try:
            from ..pocket.witnesses import verdicts_on_run

            return verdicts_on_run(
                results,
                arguments["source"],
                vit=self.models.vit,
                clips=self.models.clip,
                to=self.recipe.to,
                from_=self.recipe.from_,
                style=arguments["style"],
            )
        except Exception as error:  # a result is there, and nobody asked for its verdict
            console.note(f"there is no verdict: {in_words(error)}")
            return [None] * len(results)

    def fit_of(self, picture: AnyPicture, name: str | None = None) -> Fit:
        """Return how the image enters the model. Say so if it has an unusual shape, and a name."""
        fit = Fit.of(picture.size, self.models.ddpm, self.recipe.fit)
        if name is not None and not fit.familiar:
            console.note(
                f"{name} has one side over {FAMILIAR_ASPECT} times the other, unlike what networks are trained on: "
                "consider --fit crop"
            )
        return fit

    def arguments(self, picture: AnyPicture, fit: Fit) -> dict[str, Any]:
        """What `diffuseit.translate` is called with."""
        recipe = self.recipe
        return {
            "source": fit.apply(picture.tensor("white")),
            "to": recipe.to,
            "from_": recipe.from_,
            "style": None if self.style is None else self._fitted_style(self.style, fit),
            "models": self.models,
            "preset": recipe.preset,
            "seed": recipe.seed,
            "mask": None if self.mask is None else fit.apply(_mask(self.mask, picture)),
        }

    def _fitted_style(self, style: AnyPicture, fit: Fit) -> Tensor:
        """The style image at the model's size, stretched where the source is."""
        image = style.tensor("white")
        return resize(image, fit.canvas) if self.recipe.fit == "stretch" else cover(image, fit.canvas)

    def finished(self, picture: AnyPicture, fit: Fit, result: Tensor) -> Image.Image | DeepPicture:
        """The result [1, 3, H, W] back from the model's size, with the image's transparency."""
        mask = None if self.mask is None else _mask(self.mask, picture)
        alpha = None if picture.alpha is None else level_tensor(picture.alpha)
        if self.recipe.size == "source":
            result = restore(fit, result, picture.tensor(), mask, self.recipe.detail)
            alpha = None if alpha is None else fit.cut(alpha)
        else:
            result = fit.undo(result)
            alpha = None if alpha is None else fit.undo(fit.apply(alpha))
        transparency = None if alpha is None else level_image(alpha)
        if isinstance(picture, DeepPicture):
            protected = None if mask is None or self.recipe.size == "model" else fit.cut(mask)[0, 0] == 0
            return picture.result(result, transparency, fit.window, protected)
        image = to_pil(result)
        if transparency is not None:
            image.putalpha(transparency)
        return image


def _mark_for(source: Path) -> SourceType:
    with warnings.catch_warnings():
        # Damaged metadata were told when the pixels were read.
        warnings.simplefilter("ignore")
        return of_result(read_mark(source))


def _end(signatures: Sequence[tuple[Path, Signature | None, Hidden | None]]) -> None:
    """End the command with exit code 1 if a saved result lacks a signature or a watermark that it was to have."""
    failures = [lacking(*each) for each in signatures]
    for failure in filter(None, failures):
        console.complain(failure)
    if any(failures):
        raise typer.Exit(1)


def _as_kept(pictures: Tensor, source: AnyPicture) -> Tensor:
    """Results [B, 3, H, W] without the colors that the files of a gray source's results do not have."""
    gray = isinstance(source, DeepPicture) and source.levels.ndim == 2
    return pictures.mean(1, keepdim=True).expand_as(pictures) if gray else pictures


def _seen(image: Image.Image | DeepPicture) -> Image.Image:
    return image.shown() if isinstance(image, DeepPicture) else image


def _said(verdict: Verdict | None) -> str:
    """The end of the line about a saved result."""
    return "" if verdict is None else f": {verdict.summary()}"


def _document(recipe: Recipe, verdict: Verdict | None, path: Path) -> str:
    """The text for the file of a result: the recipe, and the verdict if it fits in too."""
    if verdict is not None:
        text = recipe.to_text(verdict.to_json())
        if text_options(path.suffix.lower(), text):
            return text
    return recipe.to_text()


def _mask(mask: Picture, picture: AnyPicture) -> Tensor:
    """[1, 1, H, W] in [0, 1] of the image's size. Raise `InputError` for a mask that does not fit it."""
    levels = mask_at(picture.size, level_tensor(mask.over("black").convert("L")))
    if not levels.any():
        raise InputError("The mask is black everywhere, so nothing may change: paint white where it may")
    return levels
