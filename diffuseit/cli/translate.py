"""`diffuseit translate`: from files to files, by an order of the command line or by an earlier result."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import DiffuseITError, InputError
from ..images.io import (
    READABLE,
    Picture,
    check_writable,
    check_writable_folder,
    level_image,
    level_tensor,
    read_picture,
    read_text,
    save_picture,
    to_pil,
    to_tensor,
)
from .progress import pictures_bar, step_bar

if TYPE_CHECKING:  # torch takes seconds: pictures are looked at first
    from PIL import Image
    from torch import Tensor

    from ..guidance.loop import Step
    from ..images.recipe import FileRef, Recipe
    from ..images.resize import Fit
    from ..models.bundle import Models


@dataclass(frozen=True)
class Order:
    """What the command line asks for; None is the preset's or the models' choice."""

    to: str | None
    from_: str | None
    style: Path | None
    mask: Path | None
    models: str
    preset: str | None
    seed: int
    steps: int | None
    skip: int | None
    resample: int | None
    fit: str
    size: str

    def check(self) -> None:
        """Raises `InputError` unless it says what to translate to."""
        if (self.to is None) == (self.style is None):
            raise InputError("Say what to translate to: either --to TEXT or --style IMAGE")
        if self.from_ is not None and self.to is None:
            raise InputError("--from says what the source shows and needs --to TEXT beside it")


@dataclass(frozen=True)
class _Job:
    """All that the translations of a run share."""

    recipe: Recipe
    models: Models
    style: Picture | None
    mask: Picture | None


def translate_file(source: Path, output: Path | None, order: Order, screen: Screen) -> None:
    """One picture, new."""
    order.check()
    output = _output(source, output)
    with screen.notes():
        picture = read_picture(source)
        style, mask = _read(order.style), _read(order.mask)
    job = _begin(order, style, mask, output.parent)
    _translate_one(job, source, picture, output, screen)


def translate_variations(source: Path, output: Path | None, order: Order, count: int, screen: Screen) -> None:
    """One picture `count` times, with the seeds from the order's on, ranked: OUT is the best, OUT-2 the next, ...

    OUT-grid has all of them. Each carries settings by which --again makes it, up to rounding, alone.
    """
    order.check()
    output = _output(source, output)
    sheet = output.with_stem(f"{output.stem}-grid")
    paths = [output, *(output.with_stem(f"{output.stem}-{number}") for number in range(2, count + 1))]
    if there := [str(path) for path in (*paths[1:], sheet) if path.exists()]:
        raise InputError(f"{', '.join(there)} would be overwritten: give another name with -o")
    with screen.notes():
        picture = read_picture(source)
        style, mask = _read(order.style), _read(order.mask)
    job = _begin(order, style, mask, output.parent)
    began = time.monotonic()
    with step_bar(source.name, screen.messages) as show:
        images, seeds, scores = _vary(job, picture, source.name, count, show, screen)
    for path, image, seed, score in zip(paths, images, seeds, scores, strict=True):
        _save(replace(job, recipe=replace(job.recipe, seed=seed)), image, source, path)
        screen.say(f"Saved {path} (seed {seed}, losses {score:.4g})")
    save_picture(_side_by_side(images), sheet)
    screen.say(f"Saved {sheet} ({time.monotonic() - began:.1f} s)")


def translate_again(
    made: Path, source: Path, output: Path | None, style: Path | None, mask: Path | None, screen: Screen
) -> None:
    """One picture, by the settings in the metadata of the result `made`.

    `style` and `mask` say where these pictures are now, if no longer where they were.
    """
    text = read_text(made)
    if text is None:
        raise InputError(
            f"{made} holds no settings: `diffuseit translate` did not make it, or another program saved it again"
        )
    output = _output(source, output)
    with screen.notes():
        picture = read_picture(source)

    import diffuseit

    from ..images.recipe import FileRef, Recipe, current_versions, weights_of

    recipe = Recipe.from_text(text, str(made))
    paths = {
        "style": _find(made, "style", recipe.style, style),
        "mask": _find(made, "mask", recipe.mask, mask),
    }
    with screen.notes():
        pictures = {name: _read(path) for name, path in paths.items()}
    models = diffuseit.load_models(recipe.models)
    now = replace(
        recipe,
        weights=weights_of(models),
        versions=current_versions(models.ddpm.device),
        style=_ref(paths["style"], output.parent),
        mask=_ref(paths["mask"], output.parent),
    )
    for difference in recipe.differences(replace(now, source=FileRef.of(source, output.parent))):
        screen.note(f"the pixels may differ from {made}: {difference}")
    _translate_one(_Job(now, models, pictures["style"], pictures["mask"]), source, picture, output, screen)


def translate_folder(folder: Path, output: Path | None, order: Order, screen: Screen) -> bool:
    """Every picture of `folder` that `output` lacks; whether all went well."""
    order.check()
    output = output or Path(f"{folder.resolve().name}-translated")
    if output.suffix.lower() in READABLE and not output.is_dir():
        raise InputError(f"{folder} is a folder: give a folder for the results with -o, not {output}")
    check_writable_folder(output)
    if output.exists() and output.samefile(folder):
        raise InputError(f"{output} holds the sources: give another folder with -o")
    everything = _pairs(folder, output)
    todo = [(source, target) for source, target in everything if not target.exists()]
    skipped = len(everything) - len(todo)
    failures: dict[Path, str] = {}
    if todo:
        with screen.notes():
            style, mask = _read(order.style), _read(order.mask)
        job = _begin(order, style, mask, output)
        failures = _translate_all(job, todo, screen)
    screen.say(
        f"{len(todo) - len(failures)} translated into {output}, {skipped} there already, {len(failures)} failed"
    )
    for source, reason in failures.items():
        screen.complain(f"Failed: {reason if str(source) in reason else f'{source}: {reason}'}")
    return not failures


@dataclass(frozen=True)
class Screen:
    """Where results (`out`) and everything else (`messages`) are shown."""

    out: Console
    messages: Console

    def say(self, text: str) -> None:
        """A result."""
        self.out.print(text, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self.messages.print(f"Note: {text}", markup=False)

    def complain(self, text: str) -> None:
        """Something that went wrong."""
        self.messages.print(text, style="red", markup=False)

    @contextmanager
    def notes(self) -> Iterator[None]:
        """Shows the warnings of the block as notes."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            self.note(str(warning.message))


def _begin(order: Order, style: Picture | None, mask: Picture | None, folder: Path) -> _Job:
    """Loads the networks and settles everything that can be wrong with an order."""
    import torch

    import diffuseit

    from ..images.recipe import Recipe, current_versions, weights_of
    from ..presets import settle

    models = diffuseit.load_models(order.models)
    kind: Any = "text" if style is None else "image"
    preset = settle(models, kind, order.preset, order.steps, order.skip, order.resample)
    preset.build(models, order.to, order.from_, None if style is None else torch.zeros(1, 3, 1, 1))
    recipe = Recipe(
        models=order.models,
        weights=weights_of(models),
        preset=preset,
        seed=order.seed,
        to=order.to,
        from_=order.from_,
        style=_ref(order.style, folder),
        mask=_ref(order.mask, folder),
        fit=order.fit,  # type: ignore[arg-type]  # Fit.of and Recipe check them
        size=order.size,  # type: ignore[arg-type]
        versions=current_versions(models.ddpm.device),
    )
    return _Job(recipe, models, style, mask)


def _translate_one(job: _Job, source: Path, picture: Picture, output: Path, screen: Screen) -> None:
    if output.suffix.lower() == ".bmp":
        screen.note("BMP files hold no settings: --again will not work with this one")
    began = time.monotonic()
    with step_bar(source.name, screen.messages) as show:
        result = _translate(job, picture, source.name, show, screen)
    _save(job, result, source, output)
    screen.say(f"Saved {output} ({result.width}x{result.height}, {time.monotonic() - began:.1f} s)")


def _translate_all(job: _Job, pairs: list[tuple[Path, Path]], screen: Screen) -> dict[Path, str]:
    """The reasons of those that failed."""
    failures: dict[Path, str] = {}
    with pictures_bar(len(pairs), screen.messages) as show:
        for number, (source, target) in enumerate(pairs):
            show(number, source.name, None)
            try:
                with screen.notes():
                    picture = read_picture(source)
                steps = _on_step(show, number, source.name)
                _save(job, _translate(job, picture, source.name, steps, screen), source, target)
            except DiffuseITError as error:
                failures[source] = str(error)
            except Exception as error:  # one picture's trouble, memory for one, is not the next one's
                failures[source] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        show(len(pairs), "", None)
    return failures


def _on_step(show: Callable[[int, str, Step | None], None], number: int, name: str) -> Callable[[Step], None]:
    return lambda step: show(number, name, step)


def _translate(
    job: _Job, picture: Picture, name: str, on_step: Callable[[Step], None], screen: Screen
) -> Image.Image:
    import diffuseit

    canvas = _canvas(job, picture, name, screen)
    result = diffuseit.translate(on_step=on_step, **_arguments(job, picture, canvas))
    return _finished(job, picture, canvas, result.pictures)


def _vary(
    job: _Job, picture: Picture, name: str, count: int, on_step: Callable[[Step], None], screen: Screen
) -> tuple[list[Image.Image], tuple[int, ...], list[float]]:
    """(pictures, seeds, scores) of `count` variations, best first."""
    import diffuseit

    canvas = _canvas(job, picture, name, screen)
    found = diffuseit.vary(count=count, on_step=on_step, **_arguments(job, picture, canvas))
    images = [_finished(job, picture, canvas, result[None]) for result in found.pictures]
    return images, found.seeds, found.scores.tolist()


def _canvas(job: _Job, picture: Picture, name: str, screen: Screen) -> Fit:
    from ..images.resize import FAMILIAR_ASPECT, Fit

    fit = Fit.of(picture.size, job.models.ddpm, job.recipe.fit)
    if not fit.familiar:
        screen.note(
            f"{name} has one side over {FAMILIAR_ASPECT} times the other, unlike what networks are trained on: "
            "consider --fit crop"
        )
    return fit


def _arguments(job: _Job, picture: Picture, fit: Fit) -> dict[str, Any]:
    """What `translate` is called with."""
    recipe = job.recipe
    return {
        "source": fit.apply(to_tensor(picture.over("white"))),
        "to": recipe.to,
        "from_": recipe.from_,
        "style": None if job.style is None else _style(job.style, fit, recipe),
        "models": job.models,
        "preset": recipe.preset,
        "seed": recipe.seed,
        "mask": None if job.mask is None else fit.apply(_mask(job.mask, picture)),
    }


def _finished(job: _Job, picture: Picture, fit: Fit, result: Tensor) -> Image.Image:
    """The result [1, 3, H, W] back from the model's size, with the picture's transparency."""
    mask = None if job.mask is None else _mask(job.mask, picture)
    alpha = None if picture.alpha is None else level_tensor(picture.alpha)
    if job.recipe.size == "source":
        result = fit.restore(result, to_tensor(picture.rgb), mask)
        alpha = None if alpha is None else fit.cut(alpha)
    else:
        result = fit.undo(result)
        alpha = None if alpha is None else fit.undo(fit.apply(alpha))
    image = to_pil(result)
    if alpha is not None:
        image.putalpha(level_image(alpha))
    return image


def _side_by_side(images: list[Image.Image]) -> Image.Image:
    import torch

    from ..guidance.ranking import grid

    return to_pil(grid(torch.cat([to_tensor(image) for image in images])))


def _save(job: _Job, result: Image.Image, source: Path, output: Path) -> None:
    from ..images.recipe import FileRef

    recipe = replace(job.recipe, source=FileRef.of(source, output.parent))
    save_picture(result, output, recipe.to_text())


def _style(style: Picture, fit: Fit, recipe: Recipe) -> Tensor:
    """The style picture at the model's size, squashed where the source is."""
    from ..images.resize import cover, resize

    image = to_tensor(style.over("white"))
    return resize(image, fit.canvas) if recipe.fit == "stretch" else cover(image, fit.canvas)


def _mask(mask: Picture, picture: Picture) -> Tensor:
    """[1, 1, H, W] in [0, 1] of the picture's size; raises `InputError` for one that cannot lie on it."""
    from ..images.resize import resize

    (height, width), (mask_height, mask_width) = picture.size, mask.size
    if abs(mask_width * height / (mask_height * width) - 1) > 0.02:
        raise InputError(
            f"The mask is {mask_width}x{mask_height} pixels and the picture {width}x{height}: "
            "give one of the same shape"
        )
    levels = level_tensor(mask.over("black").convert("L"))
    if not levels.any():
        raise InputError("The mask is black everywhere, so nothing may change: paint white where it may")
    return resize(levels, picture.size)


def _read(path: Path | None) -> Picture | None:
    return None if path is None else read_picture(path)


def _ref(path: Path | None, folder: Path) -> FileRef | None:
    from ..images.recipe import FileRef

    return None if path is None else FileRef.of(path, folder)


def _find(made: Path, name: str, ref: FileRef | None, given: Path | None) -> Path | None:
    """Where the picture `ref` of the result `made` is; raises `InputError` where it is not, or is another."""
    from ..checksum import sha256_of

    if ref is None:
        if given is not None:
            raise InputError(f"{made} was made without a {name} picture: leave out --{name}")
        return None
    path = given or ref.find(made.parent)
    if not path.is_file():
        raise InputError(f"The {name} picture of {made}, {path}, is not there: say with --{name} where it is")
    if sha256_of(path) != ref.sha256:
        raise InputError(
            f"{path} is not the {name} picture that {made} was made with: say with --{name} where that is"
        )
    return path


def _output(source: Path, output: Path | None) -> Path:
    """Where the result goes; raises `InputError` for a place that cannot be."""
    output = output or _free_name(source)
    check_writable(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"{output} is the source itself: give another name with -o")
    return output


def _free_name(source: Path) -> Path:
    """SOURCE-translated.png in this folder, numbered where that is taken: nothing is overwritten unasked."""
    names = (Path(f"{source.stem}-translated{'' if n == 1 else f'-{n}'}.png") for n in count(1))
    return next(name for name in names if not name.exists())


def _pairs(folder: Path, output: Path) -> list[tuple[Path, Path]]:
    """The pictures of `folder`, by name, each with its result: STEM.png, or NAME.png where stems are equal."""
    sources = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in READABLE and not path.name.startswith(".")
    )
    if not sources:
        raise InputError(f"There are no pictures in {folder}")
    stems = Counter(path.stem.lower() for path in sources)
    return [
        (path, output / f"{path.stem if stems[path.stem.lower()] == 1 else path.name}.png")
        for path in sources
    ]
