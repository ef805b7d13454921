"""Many results in one run: of a folder of images, of one image in many styles, or of both."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, in_words
from ..files.claim import ABANDONED_AFTER, claimed
from ..images.deep import DeepPicture
from ..images.folder import images_in
from ..images.io import OPTIONS, check_writable, read_levels, read_source, read_text, save_picture
from ..images.labels import Labels
from ..images.thumbnails import Tile, grid, thumbnail
from . import console
from .options import is_folder
from .output import is_medical, result_names, result_suffix, taken, written_from
from .signing import lacking
from .stacks import StackOptions, translate_into
from .texts import slug

if TYPE_CHECKING:
    from ..evaluation.verdict import Verdict
    from ..guidance.loop import Step
    from ..images.marks import SourceType
    from ..images.recipe import Recipe
    from .job import AnyPicture, Job, Made

SHEET = "contact-sheet.png"
_SHEET_TEXT = "contact sheet of diffuseit translate"
_MOST_ROWS, _MOST_STYLES = 12, 24


@dataclass(frozen=True)
class Work:
    """One result: the file it is made from, its own file, and the text that it should show, if that is not a style."""

    source: Path
    target: Path
    to: str | None = None


@dataclass
class Outcome:
    """How many results were saved, and why others were not: a source and a reason, each once.

    `lacking` says which ones were saved without the signature or the watermark that was asked for, and why.
    """

    done: int = 0
    failed: int = 0
    lacking: list[str] = field(default_factory=list)
    failures: dict[tuple[Path, str], None] = field(default_factory=dict)


def work_in(source: Path, output: Path, texts: Sequence[str], in_styles: bool) -> list[Work]:
    """Return the results of a folder, or of one image, in the order of their making.

    They are NAME.png, or NAME--STYLE.png for each text if they are `in_styles`. Those of medical files and of OpenEXR
    are of their own kind.
    """
    sources = images_in(source, volumes=True) if is_folder(source) else [source]
    if not in_styles:
        names = result_names(sources)
        return [
            Work(each, output / f"{name}{result_suffix(each)}", texts[0] if texts else None)
            for each, name in zip(sources, names, strict=True)
        ]
    names = result_names(sources, room=64)
    return [
        Work(each, output / f"{name}--{slug(text)}{result_suffix(each)}", text)
        for each, name in zip(sources, names, strict=True)
        for text in texts
    ]


def translate_all(
    work: list[Work], jobs: Mapping[str | None, Job], labels: Labels | None, options: StackOptions
) -> Outcome:
    """Make the results that are not there. One that another process makes is left alone and counts as neither.

    `jobs` are by the text that they translate to. The verdicts go into a table beside the results, and the `labels` of
    the sources into a folder. `options` are those of medical files.
    """
    outcome, table = Outcome(), True
    last: tuple[Path, AnyPicture] | None = None

    def read(job: Job, source: Path) -> AnyPicture:
        """The image, which is read once for all texts."""
        nonlocal last
        if last is None or last[0] != source:
            with console.notes():
                last = source, read_source(source, job.window)
        return last[1]

    queue = claimed(work, lambda each: each.target, _say_waiting)
    with console.pictures_bar(len(work)) as show, closing(queue):
        for number, each in queue:
            name = each.source.name
            show(number, name, None)
            try:
                job = jobs[each.to]
                made, beside = make(
                    each, job, labels, options, partial(read, job), _on_step(show, number, name)
                )
                outcome.done += 1
                if (failure := lacking(each.target, made.signature, made.hidden)) is not None:
                    outcome.lacking.append(failure)
                table = table and tabulated(each, beside, made.recipe, made.verdict)
            except FileExistsError:
                pass
            except Exception as error:  # one image's trouble, memory for one, is not the next one's
                outcome.failed += 1
                outcome.failures[each.source, in_words(error)] = None
        show(len(work), "", None)
    return outcome


def make(
    work: Work,
    job: Job,
    labels: Labels | None,
    options: StackOptions,
    read: Callable[[Path], AnyPicture],
    on_step: Callable[[Step], None],
) -> tuple[Made, list[Path]]:
    """Make one result, and return what is said of it, and the files with its labels. `read` reads an image.

    Raise `FileExistsError` if it is there, and `InputError` and others for what cannot be.
    """
    if is_medical(work.target, work.source):
        from .job import Made

        return Made(*translate_into(job, work.source, work.target, options, on_step), None), []
    check_writable(work.target, (*OPTIONS, *written_from(work.source)))
    picture = read(work.source)
    beside = [] if labels is None else job.with_labels(labels, work.source, picture.size, work.target)
    return job.into(work.source, picture, work.target, on_step), beside


def follow(settled: Iterable[tuple[Path, str]], count: int) -> Outcome:
    """Show how many of `count` results others have made: each is a source, and why there is no result, or ""."""
    outcome = Outcome()
    with console.pictures_bar(count) as show:
        for number, (source, failure) in enumerate(settled, 1):
            if failure:
                outcome.failed += 1
                outcome.failures[source, failure] = None
            else:
                outcome.done += 1
            show(number, source.name if number < count else "", None)
    return outcome


def save_sheet(work: Sequence[Work], output: Path, mark: SourceType | None) -> Path | None:
    """Save the results that are there side by side, a row for each source, or all of one source in a square.

    Return the file; None if another file has its name, which is left alone. A sheet shows 12 sources and 24 styles.
    """
    path = output / SHEET
    if taken(path) and not _is_sheet(path):
        console.note(f"{path} is something else, so there is no contact sheet: move it away")
        return None
    sources = list(dict.fromkeys(each.source for each in work))[:_MOST_ROWS]
    texts = list(dict.fromkeys(each.to for each in work))[:_MOST_STYLES]
    targets = {(each.source, each.to): each.target for each in work}
    tiles = []
    for source in sources:
        tiles.append(_tile(source, source.name))
        tiles += [_tile(targets[source, text], _caption(text or "")) for text in texts]
    columns = len(texts) + 1
    if len(sources) == 1:
        columns = min(columns, max(3, round(columns**0.5 + 0.49)))
    save_picture(grid(tiles, columns), path, _SHEET_TEXT, mark=mark)
    return path


def _is_sheet(path: Path) -> bool:
    try:
        return read_text(path) == _SHEET_TEXT
    except InputError:
        return False


def _tile(file: Path, caption: str) -> Tile:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = read_levels(file, "auto")
        return Tile(
            thumbnail(picture.shown() if isinstance(picture, DeepPicture) else picture.over()), caption
        )
    except InputError:
        return Tile(None, caption)


def _caption(text: str) -> str:
    """The text, or where the sheet's font lacks its letters, how the names of its results end."""
    return text if text.isprintable() and all(ord(character) < 0x250 for character in text) else slug(text)


def tabulated(work: Work, labels: Sequence[Path], recipe: Recipe, verdict: Verdict | None) -> bool:
    """Put a verdict into the table of its folder. Return whether that may go on; if not, why is said."""
    if verdict is None:
        return True
    from ..evaluation.verdict_table import append_verdict

    about = {
        "result": work.target.name,
        "source": work.source.name,
        "label": " ".join(f"{path.parent.name}/{path.name}" for path in labels),
        "to": recipe.to or "",
        "from": recipe.from_ or "",
        "style": "" if recipe.style is None else recipe.style.path,
        "seed": str(recipe.seed),
    }
    try:
        append_verdict(work.target.parent, about, verdict)
    except InputError as error:
        console.note(f"no verdicts are kept: {error}")
        return False
    return True


def _say_waiting(count: int) -> None:
    images = "1 image that another process translates" if count == 1 else f"{count} images of other processes"
    console.inform(
        f"Waiting for {images}. Those of a process that has died are taken over after {ABANDONED_AFTER:.0f} s"
    )


def _on_step(show: Callable[[int, str, Step | None], None], number: int, name: str) -> Callable[[Step], None]:
    return lambda step: show(number, name, step)
