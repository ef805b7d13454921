"""Image files of strangers as bytes: what only describes an image is taken out, and what costs time is counted."""

import re
import struct
import zlib
from collections.abc import Iterator

from .metadata import KEY

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*")

# With the profile, the orientation, and the text of `save_picture`.
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf"}
_JPEG_APPLICATIONS = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_SHORTEST_APPLICATION = 12
_TIFF_TAGS = {
    *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325),
    *(338, 339, 347, *range(512, 522), 529, 530, 531, 532, 34675),
}
# An item of an AVIF file: its head, number, protection, and kind. Decoders pass over kinds that they do not know.
_AVIF_EXIF = re.compile(rb"(infe(?:.{8}|.{10}))Exif", re.DOTALL)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_LARGEST_PROFILE = 1 << 20


def stripped(data: bytes) -> bytes:
    """The PNG, JPEG, TIFF or AVIF file `data` without metadata that may keep a decoder from its pixels.

    Other kinds come back as they are. Raise `struct.error` or `ValueError` for a file that ends too early.
    """
    if data.startswith(PNG):
        return PNG + b"".join(chunk for kind, chunk in _png_chunks(data) if _png_keeps(kind, chunk))
    if data.startswith(JPEG):
        return _stripped_jpeg(data)
    if data.startswith(TIFF):
        return _stripped_tiff(data)
    if data[4:8] == b"ftyp":
        return _AVIF_EXIF.sub(rb"\1none", data)
    return data


def jpeg_scans(data: bytes) -> int:
    """How many scans the first image of a JPEG file has. Every scan may cost a pass over all its pixels."""
    return sum(marker == _START_OF_SCAN for marker, _, _ in _jpeg_segments(data))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name of each chunk, and the chunk with length, name and checksum."""
    at = len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + 12 + length]
        at += 12 + length


def _png_keeps(kind: bytes, chunk: bytes) -> bool:
    content = chunk[8:-4]
    if kind == b"tEXt":
        return content.startswith(KEY.encode() + b"\0")
    if kind == b"iCCP":
        return _decompresses(content.partition(b"\0")[2])
    return kind in _PNG_CHUNKS


def _decompresses(content: bytes) -> bool:
    """Whether a compression method and compressed data, as PNG has them, give no more than a profile's bytes."""
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(content[1:], _LARGEST_PROFILE)
    except zlib.error:
        return False
    return content[:1] == b"\0" and not inflate.unconsumed_tail


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment of the first image, a scan with its pixels."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        at, marker = found.start(), data[found.start() + 1]
        if marker == _END_OF_IMAGE:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _START_OF_SCAN:
            following = _JPEG_MARKER.search(data, end)
            end = following.start() if following else len(data)
        yield marker, at, end
        at = max(end, at + 2)


def _stripped_jpeg(data: bytes) -> bytes:
    kept = [data[:2]]
    for marker, start, end in _jpeg_segments(data):
        if marker == _START_OF_SCAN:
            return b"".join(kept) + data[start:]
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or _jpeg_keeps(marker, data[start + 4 : end]):
            kept.append(data[start:end])
    return b"".join(kept)


def _jpeg_keeps(marker: int, content: bytes) -> bool:
    wanted = _JPEG_APPLICATIONS.get(marker)
    return wanted is not None and content.startswith(wanted) and len(content) >= _SHORTEST_APPLICATION


def _stripped_tiff(data: bytes) -> bytes:
    """With fewer entries in the first directory, which is the last."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in _TIFF_TAGS]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:at] + directory + data[at + len(directory) :]
