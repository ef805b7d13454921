"""Sequences of frames in `diffuseit translate`: animated images, video files, folders of frames, and views."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import InputError
from ..files.claim import ABANDONED_AFTER, claim
from ..frames.animation import SUFFIXES as ANIMATED
from ..frames.animation import Animation, check_animation, save_animation
from ..frames.base import Frame, Range
from ..frames.folder import FrameFolder
from ..frames.unfinished import Unfinished
from ..frames.video import DEFAULT_RATE, SUFFIXES, WRITTEN, Video, check_video, save_video
from ..frames.views import Views
from ..images import marks
from ..images.io import Picture, check_writable_folder, read_mark, save_picture
from ..images.medical.kinds import kind_of
from ..schema import to_json
from . import console
from .command import Command
from .film_verdict import Judge, save_table, verdict_on
from .flow import Flow, flow_for
from .options import is_folder
from .output import folder_for, result_names, taken, target_for
from .signing import credential_for

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluation.film_verdict import FilmVerdict
    from ..film import FilmSettings
    from ..images.resize import Fit
    from .job import Job

AnySequence = Animation | Video | FrameFolder | Views


def translate_film(command: Command, sequence: AnySequence) -> None:
    """Translate the frames of a sequence. Raise `InputError` for what cannot be."""
    source = command.source
    contradictions = {
        "--variations": command.variations > 1,
        "--with-labels": command.with_labels is not None,
        "--shard": command.part.of > 1,
        "--window": command.window != "auto",
        "--sign": command.signing.sign,
        "several texts": command.in_styles,
        "--engine ray": command.engine == "ray",
        "--watermark": command.watermark,
        "a mask in NIfTI": command.mask is not None and kind_of(command.mask) == "NIfTI",
    }
    if refused := [name for name, there in contradictions.items() if there]:
        raise InputError(f"{source} is a sequence of frames, which goes without {refused[0]}")
    numbers = (command.film.frames or Range()).within(sequence.count, str(source))
    target = target_of(sequence, source, command.output)
    credential_for(command.signing, [])
    flow = flow_for(command.film.flow, sequence)

    job = command.request(command.size or "source").jobs(target.path.parent)[None]

    from ..film import FilmSettings
    from ..images.recipe import FileRef

    if not is_folder(source):
        job = replace(job, recipe=replace(job.recipe, source=FileRef.of(source, target.path.parent)))
    settings, consensus, at_once = FilmSettings(), command.film.consensus, command.film.at_once
    settings = replace(
        settings,
        during=settings.during * (1 if consensus is None else consensus),
        consensus=settings.consensus if consensus is None else consensus,
        window=settings.window if at_once is None else at_once,
    )
    film = FilmJob(job, sequence, numbers, target, settings, flow)
    film.check()
    film.run()


def find_sequence(command: Command) -> AnySequence | None:
    """Return the frames in SOURCE, None if it is an image, or a folder of images that are to be translated alone.

    Raise `InputError` for frames that cannot be used, and for options of the command line that contradict them.
    """
    source, (kind, frames, fps, *_) = command.source, command.film
    rate = DEFAULT_RATE if fps is None else Fraction(fps).limit_denominator(1001)
    found: AnySequence | None = None
    if kind == "images":
        pass
    elif is_folder(source):
        if kind == "views" or (kind is None and frames is None and Views.are_in(source)):
            found = Views.open(source)
            if found.have_depth:
                found.check_depth()
        elif kind == "film" or frames is not None:
            found = FrameFolder.open(source, rate)
    elif kind == "views":
        raise InputError(f"{source} is no folder: --as views takes one with images and their poses")
    elif source.suffix.lower() in SUFFIXES:
        found = Video.open(source)
    elif kind_of(source) is None and _moves(source, command.output):
        found = Animation.open(source)
    if found is None and (kind == "film" or frames is not None):
        raise InputError(f"{source} is one image: --frames and --as film take a film, or a folder of frames")
    if fps is not None and not isinstance(found, FrameFolder):
        raise InputError("--fps is for a folder of frames: other films have times of their own")
    return found


def _moves(source: Path, output: Path | None) -> bool:
    """Whether a file with the name of the result shows all frames of an animated image.

    A PNG may, but whoever names one for a GIF means an image.
    """
    if output is None:
        return True
    suffix = output.suffix.lower()
    return suffix in (*ANIMATED, *WRITTEN) and (
        suffix != ".png" or source.suffix.lower() in (".png", ".apng")
    )


@dataclass(frozen=True)
class Target:
    """The file or the folder that a sequence is translated into. `unfinished` has its frames until all are there."""

    path: Path

    @property
    def unfinished(self) -> Path:
        return self.path.with_name(f"{self.path.name}-frames")

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower()


def target_of(sequence: AnySequence, source: Path, output: Path | None) -> Target:
    """Return where the result goes: `output`, or SOURCE-translated in the current folder.

    Raise `InputError` for a place that cannot be used.
    """
    in_folder = isinstance(sequence, FrameFolder | Views)
    if in_folder and (output is None or output.suffix.lower() not in WRITTEN + ANIMATED or is_folder(output)):
        return Target(folder_for(source, output))
    if isinstance(sequence, Views):
        raise InputError(f"{source} has views: give a folder for the results with -o, not {output}")
    if output is None:
        written = WRITTEN if isinstance(sequence, Video) else ANIMATED
        suffix = source.suffix.lower() if source.suffix.lower() in written else ".mp4"
        output = target_for(source.with_suffix(".png"), None).path.with_suffix(suffix)
        number, stem = 2, output.stem
        while taken(output):
            output, number = output.with_name(f"{stem}-{number}{suffix}"), number + 1
    if output.suffix.lower() not in WRITTEN + ANIMATED:
        raise InputError(f"{output} cannot hold a film: end it in one of {', '.join(WRITTEN + ANIMATED)}")
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"{output} is the source itself: give another name with -o")
    return Target(output)


@dataclass(frozen=True)
class FilmJob:
    """The frames `numbers` of a sequence, which `job` translates into `target` by `settings`, along `flow`."""

    job: Job
    sequence: AnySequence
    numbers: range
    target: Target
    settings: FilmSettings
    flow: Flow

    def check(self) -> None:
        """Raise `InputError` if the result cannot be written. Say what is worth knowing."""
        for text in getattr(self.sequence, "notes", ()):
            console.note(text)
        if isinstance(self.sequence, Views) and self._size() != self.sequence.size:
            raise InputError(
                "the poses are for images of the size of SOURCE: leave out --size model and --fit"
            )
        path, size, count = self.target.path, self._size(), len(self.numbers)
        if self._is_folder:
            check_writable_folder(path)
            for file in self._files():
                if taken(file):
                    raise InputError(f"{file} is there already: give another folder with -o")
        elif self.target.suffix in WRITTEN:
            check_video(path, size, self._video)
        else:
            check_animation(path, count, size)
            if self._video is not None and self._video.sound:
                console.note(
                    f"{path.suffix[1:].upper()} files have no sound: -o NAME.mp4 keeps that of the film"
                )

    def run(self) -> None:
        """Translate the frames that are not finished, and write the result. Raise `KeyboardInterrupt` as it comes."""
        began = time.monotonic()
        unfinished = Unfinished(self.target.unfinished, self._about())
        with claim(self.target.path) as mine:
            if not mine:
                raise InputError(
                    f"another process makes {self.target.path}: wait for it, or if it has died, "
                    f"{ABANDONED_AFTER:.0f} s"
                )
            unfinished.begin()
            todo = [number for number in self.numbers if not unfinished.has(number)]
            if len(todo) < len(self.numbers):
                console.inform(
                    f"{len(self.numbers) - len(todo)} of {len(self.numbers)} frames are there already"
                )
            try:
                with console.film_bar(len(self.numbers)) as bar:
                    if todo:
                        self._translate(unfinished, todo[0], bar)
                    verdict = verdict_on(unfinished, self.numbers)
                    self._write(unfinished, verdict, bar)
            except BaseException as error:
                self._say_unfinished(unfinished, error)
                raise
            save_table(self.target.path, unfinished, self.numbers, in_folder=self._is_folder)
            unfinished.remove(self.numbers)
        count = "1 frame" if len(self.numbers) == 1 else f"{len(self.numbers)} frames"
        height, width = self._size()
        facts = f"({count}, {width}x{height}, {time.monotonic() - began:.1f} s)"
        summary = verdict.summary()
        console.say(f"Saved {self.target.path} {facts}{f': {summary}' if summary else ''}")

    @property
    def _video(self) -> Video | None:
        return self.sequence if isinstance(self.sequence, Video) else None

    @property
    def _is_folder(self) -> bool:
        return isinstance(self.sequence, FrameFolder | Views) and self.target.suffix not in WRITTEN + ANIMATED

    def _size(self) -> tuple[int, int]:
        """Height and width of the results."""
        fit = self._fit()
        height, width = fit.window[2:] if self.job.recipe.size == "source" else fit.content
        if self.target.suffix in WRITTEN and self.job.recipe.size == "model":
            # Nearly all players want even sides.
            return height + height % 2, width + width % 2
        return height, width

    def _fit(self) -> Fit:
        from ..images.resize import Fit

        return Fit.of(self.sequence.size, self.job.models.ddpm, self.job.recipe.fit)

    def _translate(self, unfinished: Unfinished, missing: int, bar: console.FilmBar) -> None:
        """Translate the frames from the first one on that is `missing`. Keep each as soon as it is finished."""
        from ..film import translate_sequence

        job, name = self.job, self.sequence.path.name
        # What is finished before it matters as far as the frames hold together.
        first = max(self.numbers.start, missing - self.settings.reach - 1)
        broken: list[InputError] = []
        pictures = self._pictures(first, broken)
        picture = next(pictures, None)
        if picture is None:
            if broken:
                raise broken[0]
            return
        fit = job.fit_of(picture, name)
        arguments = job.arguments(picture, fit)
        job.look_ahead(arguments["source"], name)
        preset, style = job.recipe.preset, arguments["style"]
        if preset.sampler.restart_above is not None:
            console.note(
                "frames that are made together do not start again, unlike single images with this preset"
            )

        # Those of the frames that are being made.
        sources: dict[int, Tensor] = {}

        def canvases() -> Iterator[Tensor]:
            rest = (fit.apply(other.tensor("white")) for other in pictures)
            for number, canvas in enumerate(chain([arguments["source"]], rest), start=first):
                if not unfinished.has(number):
                    sources[number] = canvas
                yield canvas[0]

        bar.begin(name, sum(map(unfinished.has, self.numbers)))
        results = translate_sequence(
            job.models.ddpm,
            canvases(),
            preset.build(job.models, job.recipe.to, job.recipe.from_, style),
            preset.sampler,
            job.recipe.seed,
            film=self.settings,
            link=self.flow.link(fit, job.models.ddpm.device),
            first=first,
            finished=unfinished.picture,
            mask=arguments["mask"],
            colors=style if preset.color_match else None,
            on_step=bar.step,
        )
        judge = Judge(job, arguments)
        for result in results:
            note = judge.note_on(result, sources.pop(result.index))
            unfinished.add(result.index, result.picture, note)
            if result.cut:
                console.inform(
                    f"Frame {result.index} begins a new scene: nothing is held together across the cut"
                )
        if broken:
            raise broken[0]

    def _pictures(self, first: int, broken: list[InputError]) -> Iterator[Picture]:
        """Yield the frames up to a broken one, whose error goes into `broken`: those before it are finished first."""
        try:
            for frame in islice(self.sequence.frames(first), self.numbers.stop - first):
                yield frame.picture
        except InputError as error:
            broken.append(error)

    def _finished(self, unfinished: Unfinished, bar: console.FilmBar) -> Iterator[Frame]:
        """Yield the results as they go into the file: at the size that was asked for."""
        (height, width), fit = self._size(), self._fit()
        frames = islice(self.sequence.frames(self.numbers.start), len(self.numbers))
        for number, frame in enumerate(frames, start=self.numbers.start):
            result = unfinished.picture(number)
            if result is None:
                raise InputError(f"{unfinished.folder} has lost frame {number}: run the same command again")
            image = self.job.finished(frame.picture, fit, result[None])
            assert isinstance(image, Image.Image)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.LANCZOS)
            alpha = image.getchannel("A") if image.mode == "RGBA" else None
            yield Frame(Picture(image.convert("RGB"), alpha), frame.start, frame.duration)
            bar.advance()

    def _write(self, unfinished: Unfinished, verdict: FilmVerdict, bar: console.FilmBar) -> None:
        bar.begin(f"writing {self.target.path.name}", 0)
        frames = self._finished(unfinished, bar)
        text, mark = self._text(verdict), marks.of_result(self._mark()) if self.job.marked else None
        path = self.target.path
        if self._is_folder:
            for frame, file in zip(frames, self._files(), strict=False):
                image = frame.picture.rgb
                if frame.picture.alpha is not None:
                    image.putalpha(frame.picture.alpha)
                save_picture(image, file, text, mark=mark)
            if isinstance(self.sequence, Views):
                self.sequence.copy_poses(path)
        elif self.target.suffix in WRITTEN:
            cut = self.numbers != range(self.sequence.count)
            metadata = {"diffuseit": text} | (
                {} if mark is None else {"DigitalSourceType": marks.address(mark)}
            )
            save_video(frames, path, self._size(), self._video, cut=cut, metadata=metadata)
        else:
            plays = self.sequence.plays if isinstance(self.sequence, Animation) else 0
            save_animation(frames, path, plays, text, mark)

    def _files(self) -> list[Path]:
        """The files in the folder of the results, in the order of the frames."""
        if isinstance(self.sequence, Views):
            return [self.target.path / self.sequence.views[number].name for number in self.numbers]
        assert isinstance(self.sequence, FrameFolder)
        names = result_names(list(self.sequence.files))
        return [self.target.path / f"{names[number]}.png" for number in self.numbers]

    def _mark(self) -> str | None:
        """The mark of the source, which only images have."""
        path = self.sequence.path
        if isinstance(self.sequence, FrameFolder | Views):
            path = next(iter(self._sources()))
        return None if isinstance(self.sequence, Video) else read_mark(path)

    def _sources(self) -> tuple[Path, ...]:
        if isinstance(self.sequence, Views):
            return self.sequence.images.files
        return self.sequence.files if isinstance(self.sequence, FrameFolder) else (self.sequence.path,)

    def _about(self) -> dict[str, Any]:
        """Everything that decides the pixels of a frame, whichever range of frames is made."""
        settings = to_json(self.job.recipe)
        del settings["versions"]
        # Results at the size of the model become the others.
        for name in ("size", "detail"):
            del settings[name]
        return {
            "recipe": settings,
            "film": to_json(self.settings),
            "flow": self.flow.source,
            "source": self._fingerprint(),
        }

    def _fingerprint(self) -> str:
        """A hash of the names and sizes of the files of source and flow, and of when they were changed."""
        digest = sha256()
        for file in (*self._sources(), *self.flow.files):
            about = file.stat()
            digest.update(
                f"{file.name} {about.st_size} {about.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
            )
        return digest.hexdigest()

    def _text(self, verdict: FilmVerdict) -> str:
        """What the result says of its making. A recipe for one image would not make the same pixels."""
        from ..images.recipe import FILM, VERDICT

        film = {
            "settings": to_json(self.settings),
            "flow": self.flow.source,
            "first": self.numbers.start,
            "frames": len(self.numbers),
        }
        return json.dumps(to_json(self.job.recipe) | {FILM: film, VERDICT: verdict.to_json()})

    def _say_unfinished(self, unfinished: Unfinished, error: BaseException) -> None:
        """Say what is there and how to go on, after what ended the run."""
        done = list(takewhile(unfinished.has, self.numbers))
        some = sum(map(unfinished.has, self.numbers))
        if not some:
            unfinished.remove(self.numbers)
            return
        ready = f"{some} of {len(self.numbers)} frames are kept in {unfinished.folder}"
        end = self.numbers.start + len(done)
        part = f"--frames {self.numbers.start}:{end} makes a film of the first {len(done)}" if done else ""
        if isinstance(error, InputError):
            console.inform(f"{ready}{f': {part}' if part else ''}")
        else:
            console.inform(f"{ready}. The same command goes on from there{f', and {part}' if part else ''}")
