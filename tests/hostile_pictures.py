"""Picture files as strangers send them: damaged, lying about their size, or made to hurt.

`samples` has small files of every kind that is read, and `mutant` spoils them. This file as a program reads mutants
(SEED FIRST COUNT SECONDS) or files (PATH ...) and prints a line of JSON for each. `hunt` and `read_in_a_child` run it,
so that a file that kills or stops a process is one line of a report.
"""

import io
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import profiles
from PIL import Image, PngImagePlugin

SIZE = (24, 16)
SECONDS = 20
BYTES = 1 << 30
"""What a picture may take beyond its own size."""

INTEGERS = (0, 1, 2, 3, 7, 255, 256, 4096, 7000, 8000, 11000, 15900, 16384, 20000, 32767, 65535, 1 << 24, (1 << 31) - 1,
            1 << 31, (1 << 32) - 1)  # fmt: skip


# --- Files ------------------------------------------------------------------------------------------------------


def saved(image: Image.Image, kind: str, frames: tuple[Image.Image, ...] = (), **options: object) -> bytes:
    """The file of `image`, and of more frames after it, in the format `kind`."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Copies, since Pillow leaves the options of one format in a picture.
        if frames:
            options |= {"save_all": True, "append_images": [frame.copy() for frame in frames]}
        image.copy().save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """`png` with more chunks after its header."""
    head = 8 + 25
    return png[:head] + b"".join(png_chunk(*chunk) for chunk in chunks) + png[head:]


def jpeg_with(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """`jpeg` with more segments, (marker, content), after its start."""
    inserted = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments
    )
    return jpeg[:2] + inserted + jpeg[2:]


def exif(entries: list[tuple[int, int, int, bytes]], order: str = "<", extra: bytes = b"") -> bytes:
    """An EXIF block of one directory of entries (tag, type, count, value or offset in 4 bytes)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    table = b"".join(
        struct.pack(f"{order}HHI", *entry[:3]) + entry[3].ljust(4, b"\0")[:4] for entry in entries
    )
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + table + bytes(4) + extra


def turned(order: str = "<", orientation: int = 6) -> tuple[int, int, int, bytes]:
    """The EXIF entry of a picture that is shown turned."""
    return 0x0112, 3, 1, struct.pack(f"{order}H", orientation)


def tiff(
    width: int, height: int, entries: dict[int, tuple[int, list[int]]], data: bytes = b"", samples: int = 3
) -> bytes:
    """A TIFF of 8 bits for each of `samples`. An entry is (type, values); None among the values stands for `data`."""
    everything = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8] * 3), 259: (3, [1]), 277: (3, [3]),
        262: (3, [2]), 273: (4, [None]), 278: (4, [height]), 279: (4, [len(data)]), **entries,
    }  # fmt: skip
    everything = {tag: entry for tag, entry in sorted(everything.items()) if entry[1]}
    after = 8 + 2 + 12 * len(everything) + 4
    place = after + sum(_tiff_size(*entry) for entry in everything.values())
    table, more = b"", b""
    for tag, (kind, values) in everything.items():
        letter = {1: "B", 3: "H", 4: "I"}[kind]
        raw = struct.pack(f"<{len(values)}{letter}", *(place if value is None else value for value in values))
        if len(raw) > 4:
            more += raw
            raw = struct.pack("<I", after + len(more) - len(raw))
        table += struct.pack("<HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(everything)) + table + bytes(4) + more + data


def tiles(width: int, height: int, size: int) -> dict[int, tuple[int, list]]:
    """The entries of a TIFF with one compressed tile of `size` bytes instead of strips."""
    none: tuple[int, list] = (4, [])
    return {259: (3, [8]), 273: none, 278: none, 279: none, 322: (4, [width]), 323: (4, [height]), 324: (4, [None]),
            325: (4, [size])}  # fmt: skip


def _tiff_size(kind: int, values: list[int]) -> int:
    size = {1: 1, 3: 2, 4: 4}[kind] * len(values)
    return size if size > 4 else 0


def psd(pixels: np.ndarray, layers: int = 0) -> bytes:
    """A Photoshop file of [H, W, 3] whose composite is `pixels`, with black layers."""
    height, width, channels = pixels.shape
    records = struct.pack(">h", layers)
    for _ in range(layers):
        records += struct.pack(">IIIIH", 0, 0, height, width, channels)
        records += b"".join(struct.pack(">hI", channel, 2 + height * width) for channel in range(channels))
        records += b"8BIMnorm" + bytes([255, 0, 0, 0]) + struct.pack(">I", 12) + bytes(8) + b"\3one"
    records += (bytes(2) + bytes(height * width)) * channels * layers
    records += bytes(len(records) % 2)
    info = struct.pack(">I", len(records)) + records + bytes(4) if layers else b""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, 8, 3)
    return (
        head + bytes(8) + struct.pack(">I", len(info)) + info + bytes(2) + pixels.transpose(2, 0, 1).tobytes()
    )


def bmp_rle(width: int, height: int, content: bytes) -> bytes:
    """A compressed BMP of 8 bits."""
    start = 14 + 40 + 1024
    head = b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(content), 0, 0, 256, 256) + bytes(
        1024
    ) + content  # fmt: skip


@cache
def samples() -> dict[str, bytes]:
    """Small files of every kind that is read, by name."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIZE[1], SIZE[0], 4), dtype=np.uint8)
    smooth = np.indices((SIZE[1], SIZE[0])).sum(0).astype(np.uint8) * 5
    rgb, rgba = Image.fromarray(np.dstack([smooth, smooth[::-1], noise[..., 0]])), Image.fromarray(noise)
    gray, deep = Image.fromarray(smooth), Image.fromarray(smooth.astype(np.uint16) * 257)
    palette, bilevel = rgb.quantize(16), gray.convert("1")
    other = rgb.transpose(Image.Transpose.ROTATE_180)
    profile = profiles.swapped_rgb()
    block = exif([(0x010F, 2, 4, b"abc"), turned(), (0x8825, 4, 1, struct.pack("<I", 60))], extra=bytes(40))
    texts = PngImagePlugin.PngInfo()
    texts.add_text("diffuseit", "{}")
    texts.add_itxt("workflow", "x" * 500, zip=True)
    more = (other, rgb)
    tile = zlib.compress(bytes(32 * 16 * 3))
    return {
        "rgb.png": saved(rgb, "PNG"),
        "rgba.png": saved(rgba, "PNG"),
        "palette.png": saved(palette, "PNG", transparency=3),
        "deep.png": saved(deep, "PNG", transparency=257),
        "bilevel.png": saved(bilevel, "PNG"),
        "told.png": saved(rgb, "PNG", pnginfo=texts, icc_profile=profile, exif=block, dpi=(72, 72)),
        "moving.png": saved(rgb, "PNG", more),
        "rgb.jpg": saved(rgb, "JPEG"),
        "gray.jpg": saved(gray, "JPEG"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "told.jpg": saved(rgb, "JPEG", exif=block, icc_profile=profile, comment=b"hello"),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True, quality=90, restart_marker_blocks=1),
        "two.jpg": saved(rgb, "MPO", more),
        "palette.gif": saved(palette, "GIF", transparency=3),
        "moving.gif": saved(rgb, "GIF", more),
        "rgb.bmp": saved(rgb, "BMP"),
        "bilevel.bmp": saved(bilevel, "BMP"),
        "rle.bmp": bmp_rle(24, 16, bytes([24, 7, 0, 0]) * 15 + bytes([0, 3, 1, 2, 3, 0, 21, 9, 0, 1])),
        "text.ppm": b"P3 3 2 255\n# hello\n1 2 3 4 5 6 7 8 9\n10 11 12 13 14 15 16 17 18\n",
        "text.pbm": b"P1 8 2\n10101010\n01010101\n",
        "odd.ppm": b"P6 24 16 250\n" + bytes(24 * 16 * 3),
        "rgb.ppm": saved(rgb, "PPM"),
        "deep.pgm": b"P5 24 16 65535\n" + deep.tobytes(),
        "float.pfm": b"Pf\n24 16\n-1.0\n" + (smooth / np.float32(255)).astype(np.float32).tobytes(),
        "lossy.webp": saved(rgb, "WEBP", icc_profile=profile, exif=block),
        "lossless.webp": saved(rgba, "WEBP", lossless=True),
        "moving.webp": saved(rgb, "WEBP", more),
        "rgb.tif": saved(rgb, "TIFF", icc_profile=profile, description="hello", dpi=(72, 72)),
        "deep.tif": saved(deep, "TIFF"),
        "float.tif": saved(Image.fromarray((smooth / 255).astype(np.float32)), "TIFF"),
        "lab.tif": saved(rgb.convert("YCbCr"), "TIFF"),
        "cmyk.tif": saved(rgb.convert("CMYK"), "TIFF", compression="packbits"),
        "palette.tif": saved(palette, "TIFF", compression="tiff_lzw"),
        "pages.tif": saved(rgb, "TIFF", more, compression="tiff_adobe_deflate"),
        "jpeg.tif": saved(rgb, "TIFF", compression="jpeg"),
        "fax.tif": saved(bilevel, "TIFF", compression="group4"),
        "turned.tif": saved(rgb, "TIFF", compression="zstd", tiffinfo={0x0112: 6}),
        "tiled.tif": tiff(*SIZE, tiles(32, 16, len(tile)), tile),
        "rgb.avif": saved(rgb, "AVIF", speed=10, icc_profile=profile, exif=block),
        "rgba.avif": saved(rgba, "AVIF", speed=10, quality=100),
        "moving.avif": saved(rgb, "AVIF", more, speed=10),
        "rgb.jp2": saved(rgb, "JPEG2000"),
        "rgba.j2k": saved(rgba, "JPEG2000", no_jp2=True, irreversible=True),
        "tiled.jp2": saved(gray, "JPEG2000", tile_size=(8, 8)),
        "flat.psd": psd(np.asarray(rgb)),
        "layers.psd": psd(np.asarray(rgb), layers=2),
        "rgb.tga": saved(rgb, "TGA"),
        "rle.tga": saved(palette, "TGA", compression="tga_rle"),
    }  # fmt: skip


# --- What spoils them -------------------------------------------------------------------------------------------


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))


def _integer(data: bytearray, rng: random.Random) -> None:
    """A number, most often near the beginning, where sizes stand."""
    for _ in range(rng.choice((1, 1, 2))):
        width, order = rng.choice((1, 2, 4)), rng.choice("<>")
        at = rng.randrange(min(len(data), rng.choice((32, 64, 256, len(data)))))
        letter = {1: "B", 2: "H", 4: "I"}[width]
        data[at : at + width] = struct.pack(f"{order}{letter}", rng.choice(INTEGERS) % (1 << 8 * width))


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _cut(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 16, 100))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 12, 64, 300))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 100)))


def _splice(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(list(samples().values()))
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def _exif(data: bytearray, rng: random.Random) -> None:
    """Turned, and with odd entries beside that."""
    order = rng.choice("<>")
    odd = [
        (rng.choice((0x0112, 0x8769, 0x8825, 0x010E, 0x011A, 0x9286, 0x927C, rng.randrange(1 << 16))),
         rng.choice((*range(14), 129, 65535)), rng.choice((0, 1, 2, 4, 100, 65535, (1 << 32) - 1)), rng.randbytes(4))
        for _ in range(rng.randrange(5))
    ]  # fmt: skip
    block = exif([*odd, turned(order, rng.randrange(10)), *odd], order, rng.randbytes(rng.randrange(100)))
    if data.startswith(b"\xff\xd8"):
        data[:] = jpeg_with(bytes(data), (0xE1, block))
    elif data.startswith(b"\x89PNG"):
        data[:] = png_with(bytes(data), (b"eXIf", block[6:]))
    else:
        _integer(data, rng)


def _lie(data: bytearray, rng: random.Random) -> None:
    """The size that the header tells, in the way of the format."""
    width, height = (rng.choice((*INTEGERS[5:16], rng.randrange(1, 30000))) for _ in range(2))
    if data.startswith(b"\x89PNG"):
        data[16:24] = struct.pack(">II", width, height)
    elif data.startswith(b"\xff\xd8"):
        at = next((at for mark in (b"\xff\xc0", b"\xff\xc2") if (at := data.find(mark)) > 0), 0)
        data[at + 5 : at + 9] = struct.pack(">HH", height % 65536, width % 65536)
    elif data.startswith(b"GIF"):
        data[6:10] = struct.pack("<HH", width % 65536, height % 65536)
        at = data.find(b",", 13)
        data[at + 5 : at + 9] = data[6:10]
    elif data.startswith(b"BM"):
        data[18:26] = struct.pack("<ii", width, rng.choice((-1, 1)) * height)
    elif data.startswith(b"RIFF"):
        data[24:30] = struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3]
    elif data.startswith(b"II*\0") and len(data) > 8:
        directory = struct.unpack_from("<I", data, 4)[0]
        entries = struct.unpack_from("<H", data, directory)[0] if directory + 2 <= len(data) else 0
        at = directory + 2 + 12 * rng.randrange(max(1, entries))
        data[at + rng.choice((2, 4, 8)) : at + 12] = struct.pack("<III", 3, width, height)[-(12 - 8) :]
        for tag, value in ((256, width), (257, height), (278, rng.choice((height, 1, 64)))):
            if (at := data.find(struct.pack("<H", tag), directory)) > 0 and rng.random() < 0.7:
                data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    elif data.startswith(b"8BPS"):
        data[14:22] = struct.pack(">II", height, width)
    elif (at := data.find(b"ispe")) > 0:
        data[at + 8 : at + 16] = struct.pack(">II", width, height)
    elif (at := data.find(b"\xff\x4f\xff\x51")) >= 0:
        numbers = [width, height, 0, 0, rng.choice((width, 64)), rng.choice((height, 64)), 0, 0]
        data[at + 8 : at + 8 + 32] = struct.pack(">8I", *numbers)
        if (at := data.find(b"ihdr")) > 0:
            data[at + 4 : at + 12] = struct.pack(">II", height, width)
    elif data[:1] == b"P":
        head, _, rest = bytes(data).partition(b"\n")
        data[:] = head[:2] + b" %d %d 255\n" % (width, height) + rest
    else:
        data[12:16] = struct.pack("<HH", width % 65536, height % 65536)


def _checksums(data: bytearray) -> None:
    """PNG's, so that its decoder reads on."""
    at = 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        if at + 12 + length > len(data):
            return
        data[at + 8 + length : at + 12 + length] = struct.pack(
            ">I", zlib.crc32(data[at + 4 : at + 8 + length])
        )
        at += 12 + length


SPOILERS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _overwrite, _integer, _integer, _lie, _lie, _truncate, _cut, _repeat, _insert, _splice, _exif,
)  # fmt: skip


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """The name and content of a spoiled sample, the same for the same numbers."""
    rng = random.Random(f"{seed}/{number}")
    name = rng.choice(list(samples()))
    data = bytearray(samples()[name])
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(SPOILERS)(data, rng)
        if not data:
            data = bytearray(b"\0")
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        _checksums(data)
    return name, bytes(data)


# --- The hunt ---------------------------------------------------------------------------------------------------


@dataclass
class Catch:
    """How many files were read and refused, and those with which something went wrong."""

    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0
    largest: int = 0


def hunt(seed: int, count: int, seconds: float = float("inf")) -> Catch:
    """Read mutants in child processes until `count` are read or `seconds` are over."""
    catch, first, end = Catch(), 0, time.monotonic() + seconds
    while first < count and time.monotonic() < end and len(catch.faults) < 20:
        first = _batch(seed, first, min(count - first, 2000), catch, end)
    return catch


def _batch(seed: int, first: int, count: int, catch: Catch, end: float) -> int:
    """Read a batch in a child, and return the number of the mutant after the last one."""
    command = [
        sys.executable,
        __file__,
        str(seed),
        str(first),
        str(count),
        str(min(end - time.monotonic(), 1e9)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        number = first
        for line in child.stdout:
            found = json.loads(line)
            number = found.pop("number") + 1
            catch.outcomes[found["outcome"]] += 1
            catch.slowest = max(catch.slowest, found["seconds"])
            catch.largest = max(catch.largest, found["bytes"])
            if found["outcome"] == "fault" or found["seconds"] > SECONDS or found["bytes"] > BYTES:
                catch.faults.append(f"mutant {number - 1} of {seed}: {found}")
    if child.returncode:
        catch.faults.append(f"mutant {number} of {seed} ended the process with {child.returncode}")
        number += 1
    return number


def read_in_a_child(*paths: Path) -> list[dict]:
    """What becomes of each file, in a process of its own."""
    command = [sys.executable, __file__, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def read_mutants(seed: int, first: int, count: int, seconds: float) -> Iterator[dict]:
    """What became of each, with CPU seconds, and bytes of memory beyond the picture's own size."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            if time.monotonic() > end:
                return
            name, content = mutant(seed, number)
            path = Path(folder, name)
            path.write_bytes(content)
            yield {"number": number, "name": name} | read_one(path)


def read_one(path: Path) -> dict:
    """What becomes of the file: "read", "refused" in one line that names it, or "fault" with the reason."""
    from diffuseit.errors import InputError
    from diffuseit.images.io import read_picture, read_text

    Path("/proc/self/clear_refs").write_text("5")  # the high water mark begins anew
    before, began = _resident(), time.process_time()
    limits = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(began) + 3 * SECONDS, limits[1]))
    own, why = 0, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = read_picture(path)
            outcome, own = "read", picture.size[0] * picture.size[1] * 4
            read_text(path)
    except InputError as error:
        outcome, own, why = "refused", _claimed(path), str(error)
        if "\n" in str(error) or str(path) not in str(error) or not str(error).isprintable():
            outcome, why = "fault", f"says {error}"
    except Exception as error:
        outcome, why = "fault", repr(error)[:200]
    finally:
        # Where this runs in a process that lives on, the limit must not kill it later.
        resource.setrlimit(resource.RLIMIT_CPU, limits)
    bytes_ = max(0, _resident() - before - own)
    return {"outcome": outcome, "seconds": round(time.process_time() - began, 3), "bytes": bytes_, "why": why}


def _resident() -> int:
    """The most memory that the process held since the mark was cleared."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) << 10


def _claimed(path: Path) -> int:
    """The size of the pixels that a file promises and that we would decode."""
    from diffuseit.images.decode import MAX_PIXELS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                pixels = image.width * image.height
    except Exception:
        return 0
    return 4 * pixels if pixels <= MAX_PIXELS else 0


def main(arguments: list[str]) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if arguments[0].isdigit():
        seed, first, count = map(int, arguments[:3])
        results = read_mutants(seed, first, count, float(arguments[3]))
    else:
        results = (read_one(Path(path)) for path in arguments)
    for result in results:
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
