"""Volumes and medical files: slice by slice, each with the same noise, into a file of the kind of the source."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files.atomic import atomic_path
from ..files.claim import claim, claimed
from ..images.choices import SizeMode
from ..images.decode import reason
from ..images.deep import DeepPicture
from ..images.io import Picture
from ..images.medical.cut import Cut
from ..images.medical.files import open_stack
from ..images.medical.grid import Grid
from ..images.medical.kinds import kind_of, suffix_of
from ..images.medical.parts import Parts
from ..images.medical.stack import About, Stack
from . import console

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluation.verdict import Verdict
    from ..guidance.loop import Step
    from ..images.recipe import Recipe
    from ..images.window import WindowChoice
    from .command import Command
    from .job import AnyPicture, Job
    from .output import Target

_REACH = 1
"""Slices on each side that a slice agrees with. With more, what moves from slice to slice is smeared."""
_OnSlice = Callable[[int, str, "Step | None"], None]


@dataclass(frozen=True)
class StackOptions:
    """What medical files have options of their own for. `size` is "source" unless a user asks for another.

    Where `masks` of a volume are 0, its levels survive exactly. `consensus` is `Cut.together`.
    """

    cut: Cut = Cut()  # noqa: RUF009
    size: SizeMode = "source"
    detail: float = 1.0
    keep_identity: bool = False
    masks: Stack | None = None
    consensus: float = 0.0
    at_once: int | None = None

    @classmethod
    def of(cls, command: Command) -> StackOptions:
        """Return those of the command line."""
        return cls(
            command.cut,
            command.size or cls.size,
            command.detail,
            command.keep_identity,
            consensus=command.film.consensus or 0.0,
            at_once=command.film.at_once,
        )

    def masked(self, mask: Path | None, stack: Stack | None) -> StackOptions:
        """Return the options with the masks of the slices of `stack`, if `mask` is a NIfTI file.

        Raise `InputError` unless it has the voxels of the volume, and for anything else to translate.
        """
        if mask is None or kind_of(mask) != "NIfTI":
            return self
        return replace(self, masks=_open_masks(mask, stack))


@dataclass
class _Tally:
    """What the verdicts of the slices say, of those that were made now."""

    verdicts: list[Verdict]

    def __str__(self) -> str:
        if not self.verdicts:
            return ""
        if len(self.verdicts) == 1:
            return f": {self.verdicts[0].summary()}"
        kept = sum(verdict.structure_kept is True for verdict in self.verdicts)
        return f": structure kept in {kept} of {len(self.verdicts)} slices"


def open_source(path: Path, choice: WindowChoice, options: StackOptions) -> Stack:
    """Return the slices of a medical file. Say which window they have. Raise `InputError` for a segmentation."""
    with console.notes():
        stack = open_stack(path, choice, options.cut)
        if stack.is_mask:
            raise InputError(
                f"{stack.name} is a segmentation, which is no image: give it with --mask, and the image that it is of"
            )
        return stack


def _open_masks(mask: Path, stack: Stack | None) -> Stack:
    from ..images.medical.nifti import NiftiStack

    if not isinstance(stack, NiftiStack):
        raise InputError(f"{mask} is a mask in NIfTI, which is for one NIfTI volume: give an image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = NiftiStack(mask, "auto", replace(stack.cut, volume=None))
    if not found.fits(stack):
        raise InputError(f"{mask} has another shape or affine than {stack.name}: resample it to its voxels")
    return found


def only_picture(stack: Stack) -> AnyPicture:
    """Return the one slice of a stack, for a result that is a picture. Raise `InputError` if there are more."""
    if len(stack) > 1:
        raise InputError(
            f"{stack.name} has {len(stack)} {stack.noun}s: choose one with --slices N, or leave out the other extension"
        )
    return _picture(stack.picture(0))


def translate_stack(job: Job, source: Path, stack: Stack, target: Target, options: StackOptions) -> None:
    """Translate a medical file into `target`. Several processes may share the work on a volume."""
    began = time.monotonic()
    maker = _Maker(job, source, stack, target.path, options)
    if len(stack) == 1:
        with console.step_bar(source.name) as on_step:
            pixels, tally = maker.single(on_step)
        saved = target.put(partial(maker.save, lambda _: pixels))
    else:
        with console.pictures_bar(len(stack)) as show:
            parts, tally = maker.made(show)
        with claim(target.path) as mine:
            if not mine or not parts.folder.exists():
                console.say(f"{target.path} is written by another process")
                return
            saved = target.put(partial(maker.save, parts.reader(maker.grid.size)))
            parts.remove()
    height, width = maker.grid.size
    count = "" if len(stack) == 1 else f"{len(stack)} {stack.noun}s of "
    console.say(f"Saved {saved} ({count}{width}x{height}, {time.monotonic() - began:.1f} s){tally}")


def translate_into(
    job: Job, source: Path, target: Path, options: StackOptions, on_step: Callable[[Step], None]
) -> tuple[Recipe, Verdict | None]:
    """Translate a medical file of a folder into a new file, which this process has claimed.

    Return the recipe, and the verdict if there is one slice. Raise `FileExistsError` if another file has the name.
    """
    stack = open_source(source, job.window, options)
    maker = _Maker(job, source, stack, target, options)
    if len(stack) == 1:
        pixels, tally = maker.single(on_step)
        maker.save(lambda _: pixels, target, overwrite=False)
        return maker.recipe, next(iter(tally.verdicts), None)

    def show(_number: int, _name: str, step: Step | None) -> None:
        if step is not None:
            on_step(step)

    parts, _ = maker.made(show, claimed_by_us=True)
    maker.save(parts.reader(maker.grid.size), target, overwrite=False)
    parts.remove()
    return maker.recipe, None


class _Maker:
    """The slices of one source, made by one recipe. What can go wrong is found before the first one."""

    def __init__(self, job: Job, source: Path, stack: Stack, target: Path, options: StackOptions) -> None:
        from ..images.recipe import FileRef
        from ..images.resize import Fit

        if job.credential is not None:
            raise InputError(
                f"{stack.name}: results in DICOM and NIfTI cannot be signed, so leave out --sign"
            )
        self.stack, self.target = stack, target
        together = 0.0 if len(stack) == 1 else options.consensus
        self.cut = replace(stack.cut, together=together, at_once=options.at_once if together else None)
        self.recipe = replace(
            job.recipe,
            source=FileRef.of(source, target.parent),
            window=stack.window,
            cut=self.cut,
            size=options.size,
            detail=options.detail if options.size == "source" else 0.0,
        )
        self.job = replace(job, recipe=self.recipe)
        fit = Fit.of(stack.size, job.models.ddpm, self.recipe.fit)
        self.grid = Grid.of(fit, self.recipe.size)
        self._name = source.name
        self._options = options
        stack.check_writable(self.grid, self._about(self.recipe.to_text()))

    def single(self, on_step: Callable[[Step], None]) -> tuple[np.ndarray, _Tally]:
        """Return the pixels of the only slice."""
        pixels, verdict = self._slice(0, on_step)
        return pixels, _Tally([] if verdict is None else [verdict])

    def made(self, show: _OnSlice, claimed_by_us: bool = False) -> tuple[Parts, _Tally]:
        """Make the slices that are not there yet, and return the place where all are."""
        if self.cut.together == 0:
            return self._alone(show)
        parts, tally = Parts(self.target, self.recipe.to_text()), _Tally([])
        with nullcontext(True) if claimed_by_us else claim(self.target) as mine:
            if not mine:
                raise InputError(f"another process makes {self.target}: wait for it")
            self._agree(parts, tally, show)
        return parts, tally

    def _alone(self, show: _OnSlice) -> tuple[Parts, _Tally]:
        """Each slice for itself. Several processes may do this."""
        parts, tally = Parts(self.target, self.recipe.to_text()), _Tally([])
        queue = claimed(range(len(self.stack)), parts.file, _say_waiting)
        with closing(queue):
            for number, index in queue:
                name = f"{self._name} {self.stack.noun} {self.stack.numbers[index]}"
                show(number, name, None)
                pixels, verdict = self._slice(index, _on_step(show, number, name))
                parts.save(index, pixels)
                if verdict is not None:
                    tally.verdicts.append(verdict)
        show(len(self.stack), self._name, None)
        return parts, tally

    def save(self, pixels: Callable[[int], np.ndarray], target: Path, overwrite: bool) -> None:
        """Write the result, whole or not at all. Raise `FileExistsError` as `save_picture` does."""
        about = self._about(self.recipe.to_text())
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target, overwrite=overwrite) as temporary:
                self.stack.write(temporary, suffix_of(target), pixels, self.grid, about)
        except FileExistsError:
            raise
        except OSError as error:
            raise InputError(f"{target} cannot be written: {reason(error)}") from None

    def _agree(self, parts: Parts, tally: _Tally, show: _OnSlice) -> None:
        """The slices in order, some at a time, with predictions that go to the mean of their neighbors."""
        import torch

        from ..correspondence import neighbors
        from ..film import FilmSettings, translate_sequence

        count, preset, cut = len(self.stack), self.recipe.preset, self.cut
        missing = next((index for index in range(count) if parts.canvas(index) is None), None)
        if missing is None:
            return
        settings = FilmSettings(during=cut.together, consensus=0.0, reach=_REACH)
        settings = settings if cut.at_once is None else replace(settings, window=cut.at_once)
        # What is finished before it matters as far as the slices hold together.
        first = max(0, missing - settings.reach)
        picture = _picture(self.stack.picture(first))
        fit = self.job.fit_of(picture, self._name)
        arguments = self.job.arguments(picture, fit)
        self.job.look_ahead(arguments["source"], self._name)
        style = arguments["style"]

        def canvases() -> Iterator[Tensor]:
            for index in range(first, count):
                yield fit.apply(_picture(self.stack.picture(index)).tensor("white"))[0]

        def finished(index: int) -> Tensor | None:
            found = parts.canvas(index)
            return None if found is None else torch.from_numpy(found)

        done = missing
        show(done, self._name, None)
        results = translate_sequence(
            self.job.models.ddpm,
            canvases(),
            preset.build(self.job.models, self.recipe.to, self.recipe.from_, style),
            replace(preset.sampler, restart_above=None, shared_noise=True),
            self.recipe.seed,
            film=settings,
            link=lambda indices, frames: neighbors(len(frames), fit.canvas),
            first=first,
            finished=finished,
            mask=arguments["mask"],
            colors=style if preset.color_match else None,
            on_step=lambda step: show(done, self._name, step),
        )
        for result in results:
            picture, job = self._prepared(result.index)
            canvas = result.picture[None]
            if job is None:
                parts.save(result.index, _levels(picture))
            else:
                about = {"source": fit.apply(picture.tensor("white")), "style": style}
                tally.verdicts += [verdict for verdict in job.verdicts(canvas, about) if verdict is not None]
                parts.save(result.index, _levels(job.finished(picture, fit, canvas)))
            parts.keep_canvas(result.index, canvas[0].numpy())
            done = result.index + 1
            show(done, self._name, None)

    def _slice(self, index: int, on_step: Callable[[Step], None]) -> tuple[np.ndarray, Verdict | None]:
        picture, job = self._prepared(index)
        if job is None:
            return _levels(picture), None
        made, verdict = job.translated(picture, self._name, on_step, first=index == 0)
        return _levels(made), verdict

    def _prepared(self, index: int) -> tuple[AnyPicture, Job | None]:
        """A slice, and what translates it; None if it is protected as a whole."""
        picture = _picture(self.stack.picture(index))
        if self._options.masks is None:
            return picture, self.job
        masked = self._options.masks.picture(index)
        assert isinstance(masked, DeepPicture)
        if not (masked.levels > 0).any() and self.recipe.size == "source":
            return picture, None
        white = Image.fromarray((masked.levels > 0).astype(np.uint8) * 255)
        return picture, replace(self.job, mask=Picture(white.convert("RGB")))

    def _about(self, settings: str) -> About:
        from ..images.recipe import own_version

        # The window is each slice's own where nobody gives one.
        series = replace(self.recipe, source=None, window=None, cut=None).to_text()
        to = self.recipe.to or "the style of an image"
        return About(settings, to, own_version(), series, self._options.keep_identity)


def _picture(found: Image.Image | DeepPicture) -> AnyPicture:
    return found if isinstance(found, DeepPicture) else Picture(found)


def _levels(made: Image.Image | DeepPicture | Picture) -> np.ndarray:
    """Levels, or colors of 8 bits."""
    if isinstance(made, DeepPicture):
        return made.levels
    return np.asarray((made.rgb if isinstance(made, Picture) else made).convert("RGB"))


def _say_waiting(count: int) -> None:
    console.inform(f"Waiting for {count} slice{'' if count == 1 else 's'} of another process")


def _on_step(show: _OnSlice, number: int, name: str) -> Callable[[Step], None]:
    return lambda step: show(number, name, step)
