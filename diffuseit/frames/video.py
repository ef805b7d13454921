"""Video files, through PyAV: frames with their times and colors, and their sound, which is copied as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError, ModelError
from ..files.atomic import atomic_path
from ..images.decode import MAX_PIXELS, open_regular, reason
from ..images.io import Picture, check_writable_folder
from ..schema import printable
from .base import MAX_FRAMES, Frame, of_one_size

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".ogv", ".flv", ".wmv",
    ".3gp",
)  # fmt: skip
"""Of the files that are read."""

DEFAULT_RATE = Fraction(24)
"""Frames a second of the result of a folder."""

_X264 = ("libx264", {"crf": "16"})
_ENCODERS: dict[str, tuple[str, tuple[str, dict[str, str]]]] = {
    ".mp4": ("mp4", _X264),
    ".m4v": ("mp4", _X264),
    ".mov": ("mov", _X264),
    ".mkv": ("matroska", _X264),
    ".webm": (
        "webm",
        ("libvpx-vp9", {"crf": "24", "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "2"}),
    ),
}
"""The container of each extension that is written, and its encoder with options of a quality without visible loss."""

WRITTEN = tuple(_ENCODERS)

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,flv,asf"
"""What files may be. Playlists and scripts, which name other files, are not among them."""

_BITS = 8
_FINE = {"yuv444p": "yuv444p", "yuvj444p": "yuv444p", "yuv422p": "yuv422p", "yuvj422p": "yuv422p"}
"""Pixel formats whose color is finer than that of most files, and the one in which it is kept."""

# FFmpeg's numbers of color spaces, ranges, and transfer functions.
_BT709, _BT601 = 1, 5
_SPACES = (_BT709, 4, _BT601, 6, 7, 9)
_LIMITED, _FULL = 1, 2
_HIGH_DYNAMIC_RANGE = (16, 18)
_HIGH_DEFINITION = 720
"""Rows from which a video that does not say so has the color space BT.709, by convention."""


@dataclass(frozen=True)
class Colors:
    """How a video codes colors: FFmpeg's numbers of its range, its color space, its primaries, and its transfer."""

    range: int = _LIMITED
    space: int = _BT709
    primaries: int = _BT709
    transfer: int = _BT709


@dataclass(frozen=True)
class Video:
    """A video file: the first of its video streams. `count` is the number of frames in the file."""

    path: Path
    count: int
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    pixel_format: str
    colors: Colors
    aspect: Fraction
    """The width of a pixel over its height."""
    sound: tuple[str, ...]
    """The codecs of the sound."""
    notes: tuple[str, ...] = ()
    """What is worth knowing before a run."""

    @classmethod
    def open(cls, path: Path) -> Video:
        """Look into a video file. Raise `InputError` if it is none, if it has no frames, and if it is damaged."""
        name = printable(str(path))
        with _opened(path) as container, _in_words(f"{name} is damaged or cut off"):
            stream = _video_of(container, name)
            context = stream.codec_context
            _check_size(context.width, context.height, name)
            claimed = int(stream.frames)
            sound = tuple(each.codec_context.name for each in _sounds_of(container))
            rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
            found = 0
            for packet in container.demux(stream):
                found += packet.size > 0
                if found > MAX_FRAMES:
                    raise InputError(f"{name} has more than {MAX_FRAMES} frames: cut it into parts")
            if not found:
                raise InputError(f"{name} has no frames: give a video file with pictures")
        with _opened(path) as container, _in_words(f"frame 0 of {name} is damaged"):
            stream = _video_of(container, name)
            frame = next(container.decode(stream), None)
            if frame is None:
                raise InputError(f"{name} has no frames that can be decoded: save or download it again")
            size = _upright(frame).size[::-1]
            bits = max((part.bits for part in frame.format.components), default=_BITS)
            aspect = Fraction(stream.codec_context.sample_aspect_ratio or 1) or Fraction(1)
            notes = []
            if len(sound) < len(container.streams.audio):
                notes.append(f"{name} has sound of a kind that is not known, which is left out")
            if claimed > found:
                notes.append(f"{name} is cut off: {found} of its {claimed} frames are there")
            if bits > _BITS:
                notes.append(f"{name} has {bits} bits a channel: they become {_BITS}")
            if int(frame.color_trc) in _HIGH_DYNAMIC_RANGE:
                notes.append(
                    f"{name} has a high dynamic range, which the networks see as it is coded: dull and gray"
                )
            if frame.interlaced_frame:
                notes.append(f"{name} is interlaced: deinterlace it first for a better result")
            return cls(
                path,
                found,
                size,
                rate,
                Fraction(stream.time_base),
                frame.format.name,
                _colors_of(frame),
                1 / aspect if _turned(frame) else aspect,
                sound,
                tuple(notes),
            )

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Yield the frames from number `first` on (`Sequence.frames`). The frames before it are decoded too."""
        name = printable(str(self.path))
        with _opened(self.path) as container:
            stream = _video_of(container, name)
            stream.thread_type = "AUTO"
            decoded = container.decode(stream)
            last: tuple[Picture, Fraction] | None = None
            length = 1 / self.rate
            failure = None
            for number in count():
                where = f"frame {number} of {name}"
                try:
                    with _in_words(f"{where} is damaged, or the file is cut off there"):
                        frame = next(decoded, None)
                        if frame is None:
                            break
                        if number < first:
                            continue
                        _check_size(frame.width, frame.height, where)
                        picture = of_one_size(Picture(_upright(frame)), self.size, where)
                except InputError as error:
                    failure = error
                    break
                start = number / self.rate if frame.pts is None else frame.pts * Fraction(frame.time_base)
                if last is not None:
                    yield Frame(*last, max(start - last[1], Fraction(0)) or length)
                last = picture, start
                length = (frame.duration or 0) * Fraction(frame.time_base) or 1 / self.rate
            # The last frame that is whole comes before the complaint about the next one.
            if last is not None:
                yield Frame(*last, length)
            if failure is not None:
                raise failure


def check_video(path: Path, size: tuple[int, int], source: Video | None) -> None:
    """Raise `InputError` if `save_video` cannot write frames of `size` (height, width) with the sound of `source`."""
    check_writable_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file")
    kind, _ = _ENCODERS[path.suffix.lower()]
    with _in_words(f"{path.suffix} files cannot be written here"):
        _try(kind, path, size, source, None)
    if source is not None and source.sound:
        with (
            _in_words(
                f"{path.suffix} files cannot hold the sound of {printable(str(source.path))} "
                f"({', '.join(source.sound)}): give a .mkv file with -o"
            ),
            _opened(source.path) as sound,
        ):
            _try(kind, path, size, source, sound)


def save_video(
    frames: Iterable[Frame],
    path: Path,
    size: tuple[int, int],
    source: Video | None = None,
    *,
    cut: bool = False,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a video file whole or not at all. The extension says the container, one of `WRITTEN`.

    The frames, of `size` (height, width), have the times that they name. The colors are coded as those of `source`, and
    its sound is copied without decoding. If the frames are `cut` out of it, times count from the first one, and the
    sound is cut to their length. Memory does not grow with the number of frames. Raise `InputError` if the file cannot
    be written.
    """
    kind, _ = _ENCODERS[path.suffix.lower()]
    with (
        _in_words(f"{path} cannot be written"),
        atomic_path(path) as temporary,
        _sound_of(source) as sound,
    ):
        _encode(frames, temporary, kind, path, size, source, sound, cut, metadata or {})


@contextmanager
def _sound_of(source: Video | None) -> Iterator[Any]:
    """Yield the opened container with the sound of `source`, None where there is none."""
    if source is None or not source.sound:
        yield None
    else:
        with _opened(source.path) as container:
            yield container


def _encode(
    frames: Iterable[Frame],
    file: Path,
    kind: str,
    path: Path,
    size: tuple[int, int],
    source: Video | None,
    sound: Any,
    cut: bool,
    metadata: dict[str, str],
) -> None:
    options = {"movflags": "+faststart+use_metadata_tags"} if kind in ("mp4", "mov") else {}
    with _av().open(str(file.absolute()), "w", format=kind, options=options) as output:
        output.metadata.update(metadata)
        stream = _add_video(output, path, size, source)
        time_base = stream.codec_context.time_base
        copy = None if sound is None else _Sound(sound, output)
        begin: Fraction | None = None
        latest, end = -1, Fraction(0)
        for frame in frames:
            if begin is None:
                begin = frame.start if cut or frame.start < 0 else Fraction(0)
            encoded = _coded(frame.picture.over(), stream, source)
            # Times that do not grow, as damaged files have them, would end the run.
            latest = encoded.pts = max(latest + 1, round((frame.start - begin) / time_base))
            encoded.time_base = time_base
            output.mux(stream.encode(encoded))
            end = frame.start + frame.duration
            if copy is not None:
                copy.until(begin if cut else None, begin, frame.start)
        rest = stream.encode(None)
        if rest and begin is not None:
            rest[-1].duration = max(1, round((end - begin) / time_base) - latest)
        output.mux(rest)
        if copy is not None and begin is not None:
            copy.until(begin if cut else None, begin, end if cut else None)


class _Sound:
    """Copies the packets of all sound of a file into an opened output."""

    def __init__(self, source: Any, output: Any):
        self._outputs = {}
        for stream in _sounds_of(source):
            added = self._outputs[stream.index] = output.add_stream_from_template(stream)
            if language := stream.metadata.get("language"):
                added.metadata["language"] = language
        self._packets = source.demux(*_sounds_of(source))
        self._output = output
        self._waiting: Any = None

    def until(self, start: Fraction | None, begin: Fraction, end: Fraction | None) -> None:
        """Copy the packets from `start` up to `end`, both in seconds. Their times are counted from `begin`."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            if packet.dts is None or packet.size == 0:
                continue
            time = packet.dts * Fraction(packet.time_base)
            if end is not None and time >= end:
                self._waiting = packet
                return
            if start is not None and time < start:
                continue
            shift = round(begin / packet.time_base)
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
            packet.stream = self._outputs[packet.stream.index]
            self._output.mux(packet)


def _add_video(output: Any, path: Path, size: tuple[int, int], source: Video | None) -> Any:
    encoder, options = _ENCODERS[path.suffix.lower()][1]
    rate = DEFAULT_RATE if source is None else source.rate
    stream = output.add_stream(encoder, rate=rate.limit_denominator(1_000_000), options=dict(options))
    stream.height, stream.width = size
    stream.pix_fmt = _pixel_format(size, source)
    colors = _written_colors(source)
    context = stream.codec_context
    context.color_range, context.colorspace = colors.range, colors.space
    context.color_primaries, context.color_trc = colors.primaries, colors.transfer
    context.time_base = Fraction(1, 90_000) if source is None else source.time_base
    if source is not None and source.aspect != 1:
        context.sample_aspect_ratio = source.aspect
    return stream


def _pixel_format(size: tuple[int, int], source: Video | None) -> str:
    """Color at half the resolution, as in most files, unless the source has more, or a side is odd."""
    if size[0] % 2 or size[1] % 2:
        return "yuv444p"
    return "yuv420p" if source is None else _FINE.get(source.pixel_format, "yuv420p")


def _written_colors(source: Video | None) -> Colors:
    return Colors() if source is None else source.colors


def _coded(image: Image.Image, stream: Any, source: Video | None) -> Any:
    """The picture as a frame with the pixel format and the colors of `stream`."""
    frame = _av().VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
    colors = _written_colors(source)
    coded = frame.reformat(
        format=stream.pix_fmt,
        dst_colorspace=colors.space,
        dst_color_range=colors.range,
        interpolation=_exact(),
    )
    coded.colorspace, coded.color_range = colors.space, colors.range
    return coded


def _upright(frame: Any) -> Image.Image:
    """The frame as RGB, turned as the file says, as a telephone that lay on its side writes it."""
    colors = _colors_of(frame)
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=colors.space,
        src_color_range=colors.range,
        dst_color_range=_FULL,
        interpolation=_exact(),
    )
    image = Image.fromarray(rgb.to_ndarray())
    turns = round(frame.rotation / 90) % 4
    return image if not turns else image.transpose(_TURNS[turns])


_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


def _turned(frame: Any) -> bool:
    return round(frame.rotation / 90) % 2 == 1


def _exact() -> int:
    flags = _av().video.reformatter.Interpolation
    return int(flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT)


def _colors_of(frame: Any) -> Colors:
    """How the frame is coded. A space that it does not name is the one that players assume."""
    if frame.format.is_rgb:
        return Colors()
    full = int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj")
    space = int(frame.colorspace)
    if space not in _SPACES:
        space = _BT709 if min(frame.height, frame.width) >= _HIGH_DEFINITION else _BT601
    return Colors(_FULL if full else _LIMITED, space, int(frame.color_primaries), int(frame.color_trc))


def _try(kind: str, path: Path, size: tuple[int, int], source: Video | None, sound: Any) -> None:
    """Begin a file of this kind in memory, so that what it cannot hold is known before a run."""
    with _av().open(BytesIO(), "w", format=kind) as output:
        stream = _add_video(output, path, size, source)
        if sound is not None:
            _Sound(sound, output)
        output.start_encoding()
        black = _coded(Image.new("RGB", size[::-1]), stream, source)
        black.pts, black.time_base = 0, stream.codec_context.time_base
        output.mux(stream.encode(black))
        output.mux(stream.encode(None))


def _video_of(container: Any, name: str) -> Any:
    """The first video stream. The picture of a music file's cover is none."""
    for stream in container.streams.video:
        if (
            not stream.disposition & _av().stream.Disposition.attached_pic
            and stream.codec_context is not None
        ):
            return stream
    raise InputError(f"{name} has no frames: give a video file with pictures")


def _sounds_of(container: Any) -> list[Any]:
    """The streams with sound of a kind that is known."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name} is {width}x{height} pixels: make it smaller than {MAX_PIXELS / 1e6:g} megapixels"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file of a stranger for reading. It opens no other file, and no connection.

    FFmpeg would take a name such as concat:a|b for a list, so it gets the opened file and not its name.
    """
    av, name = _av(), printable(str(path))
    with open_regular(path, name) as file:
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "", "max_pixels": str(MAX_PIXELS)}
        try:
            container = av.open(file, options=options, metadata_errors="replace", buffer_size=1 << 18)
        except _errors() as error:
            raise InputError(
                f"{name} is no video file, or damaged ({reason(error)}): give an MP4, MOV, Matroska, or WebM file"
            ) from None
        with container:
            yield container


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Raise `InputError`, which begins with `what`, for an error of FFmpeg in the block."""
    try:
        yield
    except _errors() as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} ({reason(error)})") from None


def _errors() -> tuple[type[Exception], ...]:
    """What PyAV raises on bytes of a stranger, or on a full disk."""
    return (_av().FFmpegError, OSError, ValueError, OverflowError, MemoryError)


def _av() -> ModuleType:
    """PyAV. Raise `ModelError`, which says how to get it, if it is missing."""
    try:
        import av
    except ImportError as error:
        raise ModelError(
            f"Video files need the package av: run `pip install 'diffuseit[film]'` ({error})"
        ) from None
    return av
