"""Pictures of every kind either look as a person expects or end in one clear line."""

import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from types import ModuleType

import hostile_pictures
import numpy as np
import profiles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from diffuseit.errors import InputError
from diffuseit.images import decode
from diffuseit.images import io as pictures
from diffuseit.images.io import check_writable, load_picture, save_picture, to_pil, to_tensor, unread_kinds

RED = (255, 0, 0)


def refused(path: Path, match: str) -> None:
    """`path` is refused in one line that names it."""
    with pytest.raises(InputError, match=match) as caught:
        load_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def pixels(path: Path) -> np.ndarray:
    image = load_picture(path)
    assert image.mode == "RGB"
    return np.array(image)


# --- Files that are no pictures ---------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path):
    refused(tmp_path / "nothing.png", "cannot be opened: No such file")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    refused(tmp_path / "dangling.png", "cannot be opened: No such file")


def test_only_regular_files_are_opened(tmp_path: Path):
    """Reading a pipe or a device may never end."""
    refused(tmp_path, "cannot be opened: it is a folder")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "cannot be opened: it is no regular file")
    refused(Path("/dev/zero"), "cannot be opened: it is no regular file")


@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n", b"\0" * 100])
def test_not_a_picture(tmp_path: Path, content: bytes):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    refused(path, "is not an image: give a PNG")


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tif", "avif", "jp2", "tga"])
def test_truncated(tmp_path: Path, extension: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"half.{extension}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "is damaged or cut off")
    path.write_bytes(path.read_bytes()[:20])
    refused(path, "is damaged or cut off")


# --- Kinds that are not read ------------------------------------------------------------------------------------

NOT_READ = "is of a kind that is not read here: save it as PNG or JPEG"
OTHER_KINDS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n",
    "ico": hostile_pictures.saved(Image.new("RGB", (16, 16)), "ICO"),
    "dds": hostile_pictures.saved(Image.new("RGB", (16, 16)), "DDS"),
    "pcx": hostile_pictures.saved(Image.new("RGB", (16, 16)), "PCX"),
    "blp": hostile_pictures.saved(Image.new("P", (16, 16)), "BLP"),
    "qoi": b"qoif" + bytes([0, 0, 0, 1, 0, 0, 0, 1, 3, 0]) + b"\xff\1\2\3\xff" + bytes(7) + b"\1",
}


@pytest.mark.parametrize("name", ["named.{}", "renamed.png"])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str):
    """Pillow gives an EPS to Ghostscript, which runs the program that it is."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was started")

    Image.init()
    monkeypatch.setattr(subprocess, "Popen", opened)
    for other in Image.OPEN.keys() - decode.FORMATS.keys():
        monkeypatch.setitem(Image.OPEN, other, (opened, Image.OPEN[other][1]))
    path = tmp_path / name.format(kind)
    path.write_bytes(OTHER_KINDS[kind])
    refused(path, NOT_READ)


@pytest.mark.parametrize(
    "brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0miafheic", b"msf1\0\0\0\0hevcmsf1"]
)
def test_heic_is_named(tmp_path: Path, brands: bytes):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x18ftyp" + brands + bytes(100))
    refused(
        path,
        "is a HEIC image, a kind that is not read here: save it as PNG or JPEG, or install pillow-heif",
    )


def test_heic_is_read_by_pillow_heif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Which registers itself with Pillow; here a package of that name, with PPM for HEIC."""
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + hostile_pictures.samples()["rgb.ppm"])

    def opened(file: object, name: str) -> Image.Image:
        file.read(24)
        return Image.open(io.BytesIO(file.read()))

    library = ModuleType("pillow_heif")
    library.register_heif_opener = lambda: Image.register_open("HEIF", opened)
    monkeypatch.setitem(sys.modules, "pillow_heif", library)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(decode, "READABLE", (*decode.READABLE, *decode.HEIF))
    assert load_picture(path).size == hostile_pictures.SIZE

    def broken() -> None:
        raise ImportError("libheif.so.1: cannot open shared object file")

    library.register_heif_opener = broken
    refused(path, "is a HEIC image, a kind that is not read here")


def test_a_picture_with_the_extension_of_another_kind_is_read(tmp_path: Path):
    """Phones and messengers rename."""
    (tmp_path / "photo.heic").write_bytes(hostile_pictures.samples()["rgb.jpg"])
    assert load_picture(tmp_path / "photo.heic").size == hostile_pictures.SIZE


def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_picture(tmp_path: Path):
    (tmp_path / "photo.NEF").write_bytes(hostile_pictures.samples()["rgb.tif"])
    refused(tmp_path / "photo.NEF", "is a camera's raw file: develop it, and save it as PNG or JPEG")


@pytest.mark.parametrize("name", ["deep.psd", "double.tif", "twelve.jpg"])
def test_rare_modes_of_kinds_that_are_read(tmp_path: Path, name: str):
    samples = hostile_pictures.samples()
    rare = {
        "deep.psd": samples["flat.psd"][:22] + b"\0\x10" + samples["flat.psd"][24:],
        "double.tif": hostile_pictures.tiff(2, 2, {258: (3, [24] * 3)}, bytes(36)),
        "twelve.jpg": samples["rgb.jpg"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    }
    (tmp_path / name).write_bytes(rare[name])
    refused(
        tmp_path / name, "or of a kind that is not read here.*: save or download it again, as PNG or JPEG"
    )


def test_pictures_of_a_folder_that_are_not_read_are_counted(tmp_path: Path):
    for name in ("a.HEIC", "b.heic", "c.cr2", "d.png", "e.psd", "notes.txt", ".hidden.heic"):
        (tmp_path / name).touch()
    (tmp_path / "folder.heic").mkdir()
    assert unread_kinds(tmp_path) == {".cr2": 1, ".heic": 2}


def test_no_kind_is_both_read_and_not():
    assert not set(decode.READABLE) & set(decode.UNREADABLE)
    assert all(suffix in decode.READABLE for suffix in pictures.OPTIONS)
    Image.init()
    assert decode.FORMATS.keys() <= Image.OPEN.keys()


# --- Sizes ------------------------------------------------------------------------------------------------------


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "huge.png"
    Image.new("L", (2000, 1000)).save(path)
    monkeypatch.setattr(decode, "MAX_PIXELS", 1_000_000)
    refused(path, "is 2000x1000 pixels: make it smaller than 1 megapixels")
    with Image.open(path) as image, pytest.raises(InputError, match="The image is 2000x1000 pixels"):
        load_picture(image)


def test_decoders_that_take_more_have_lower_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode, "MAX_PIXELS_COPIED", 300)
    monkeypatch.setattr(decode, "MAX_PIXELS_SLOW", 300)
    for name in ("lossy.webp", "rgb.avif", "rgb.jp2", "odd.ppm", "rle.bmp"):
        (tmp_path / name).write_bytes(hostile_pictures.samples()[name])
        refused(
            tmp_path / name,
            "is 24x16 pixels: make it smaller than 0.0003 megapixels, or save it as PNG or JPEG",
        )


BOMBS = {  # files of at most 2 KB
    "png": hostile_pictures.saved(Image.new("1", (1, 1)), "PNG")[:16] + struct.pack(">II", 60000, 60000),
    "sparse": hostile_pictures.tiff(15900, 15900, {259: (3, [8]), 279: (4, [0])}),
    "lzw": hostile_pictures.tiff(15900, 15900, {259: (3, [5]), 279: (4, [100])}, bytes(100)),
    "pages": hostile_pictures.tiff(20000, 20000, {259: (3, [8])}, zlib.compress(bytes(1000))),
    "strips": hostile_pictures.tiff(15900, 15900, {259: (3, [8]), 278: (4, [1])}, zlib.compress(bytes(1000))),
    "tile": hostile_pictures.tiff(64, 64, hostile_pictures.tiles(26000, 26000, 100), bytes(100)),
    "webp": b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3e\0" * 2 + bytes(100),
    "gif": b"GIF89a" + struct.pack("<HH", 65000, 65000) + b"\x80\0\0" + bytes(6) + b"\x2c" + bytes(4)
    + struct.pack("<HH", 65000, 65000) + b"\0\2\2\x44\1\0;",
    "jpeg": hostile_pictures.samples()["progressive.jpg"].replace(
        struct.pack(">HH", *reversed(hostile_pictures.SIZE)), struct.pack(">HH", 15900, 15900), 1
    ),
    "psd": b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 15900, 15900, 8, 3) + bytes(12) + b"\0\1" + bytes(1000),
    "ppm": b"P6 15900 15900 255\n" + bytes(1000),
    "plain": b"P3 15900 15900 255\n" + b"1 " * 500,
    "bmp": hostile_pictures.bmp_rle(15900, 15900, bytes([0, 2, 255, 255]) * 100),
    "tga": bytes([0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0]) + struct.pack("<HH", 15900, 15900) + b"\x18\0" + b"\xff" * 999,
}  # fmt: skip


def test_what_a_header_promises_is_not_believed(tmp_path: Path):
    """Small files that claim hundreds of megapixels, read in a process whose memory is watched."""
    paths = []
    for name, content in BOMBS.items():
        paths.append(tmp_path / (f"{name}.tga" if name == "tga" else f"{name}.picture"))
        paths[-1].write_bytes(content)
    for name, found in zip(BOMBS, hostile_pictures.read_in_a_child(*paths), strict=True):
        assert found["outcome"] == "refused", (name, found)
        assert found["bytes"] < 200_000_000, (name, found)
        assert found["seconds"] < 5, (name, found)


def test_a_claim_that_a_file_cannot_hold_is_told(tmp_path: Path):
    path = tmp_path / "lie.tif"
    path.write_bytes(BOMBS["lzw"])
    refused(path, r"claims 15900x15900 pixels in a file of \d+ bytes: save or download it again")


def test_a_flat_picture_holds_what_it_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Masks are flat, and no format that is used for them may be taken for a lie."""
    monkeypatch.setattr(decode, "FREE_BYTES", 1_000_000)
    mask = Image.new("L", (2048, 2048))
    for name, options in {"a.png": {}, "b.jpg": {}, "c.tif": {"compression": "tiff_lzw"}}.items():
        for mode in ("L", "RGB"):
            mask.convert(mode).save(tmp_path / name, **options)
            assert load_picture(tmp_path / name).size == (2048, 2048)


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path):
    """Each scan, of a few bytes, makes the decoder go over all pixels."""
    content = hostile_pictures.samples()["progressive.jpg"]
    last = content.rindex(b"\xff\xda")
    path = tmp_path / "scans.jpg"
    path.write_bytes(content[:-2] + content[last:-2] * 100 + content[-2:])
    refused(path, "has more than 100 scans")
    path.write_bytes(content[:-2] + content[last:-2] * 10 + content[-2:])
    assert load_picture(path).size == hostile_pictures.SIZE


def test_large_picture_is_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pillow's own limit is 179 megapixels, and phones have 200."""
    path = tmp_path / "large.png"
    Image.new("RGB", (1200, 1000), RED).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_picture(path).size == (1200, 1000)
    assert Image.MAX_IMAGE_PIXELS == 100_000


# --- What stands beside the pixels ------------------------------------------------------------------------------

ENTRY = st.tuples(
    st.sampled_from([0x010E, 0x0112, 0x011A, 0x8769, 0x8825, 0x9286]) | st.integers(0, 65535),
    st.integers(0, 14) | st.just(65535),
    st.sampled_from([0, 1, 2, 4, 2**16, 2**32 - 1]),
    st.binary(min_size=4, max_size=4),
)
EXIF_CARRIERS = {
    "a.jpg": lambda block: hostile_pictures.jpeg_with(hostile_pictures.samples()["rgb.jpg"], (0xE1, block)),
    "a.png": lambda block: hostile_pictures.png_with(
        hostile_pictures.samples()["rgb.png"], (b"eXIf", block[6:])
    ),
    "a.webp": lambda block: hostile_pictures.saved(PICTURE, "WEBP", exif=block),
}
PICTURE = Image.effect_noise((24, 16), 80).convert("RGB")


@pytest.mark.parametrize("name", EXIF_CARRIERS)
@given(order=st.sampled_from("<>"), odd=st.lists(ENTRY, max_size=4), rest=st.binary(max_size=50))
def test_odd_exif_changes_nothing(tmp_path: Path, name: str, order: str, odd: list, rest: bytes):
    path = tmp_path / name
    for orientation, size in ((6, (16, 24)), (3, (24, 16))):
        entries = [entry for entry in odd if entry[0] != 0x0112]
        block = hostile_pictures.exif(
            [*entries, hostile_pictures.turned(order, orientation), *odd], order, rest
        )
        path.write_bytes(EXIF_CARRIERS[name](block))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_picture(path).size == size


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", "<>")
def test_every_orientation(tmp_path: Path, orientation: int, order: str):
    path = tmp_path / "turned.png"
    block = hostile_pictures.exif([hostile_pictures.turned(order, orientation)], order)
    path.write_bytes(hostile_pictures.saved(PICTURE, "PNG", exif=block))
    expected = ImageOps.exif_transpose(Image.open(path))
    assert np.array_equal(pixels(path), np.array(expected))


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\4\0\0\0", b"x" * 70000]
)
def test_no_exif_at_all(tmp_path: Path, block: bytes):
    (tmp_path / "a.png").write_bytes(
        hostile_pictures.png_with(hostile_pictures.samples()["rgb.png"], (b"eXIf", block))
    )
    assert load_picture(tmp_path / "a.png").size == (24, 16)


ODD_CHUNKS = {
    "3 MB of text": (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3_000_000))),
    "100 MB of text": (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(100_000_000))),
    "100 MB of profile": (b"iCCP", b"ICC\0\0" + zlib.compress(bytes(100_000_000))),
    "an unknown compression": (b"iCCP", b"ICC\0\7" + zlib.compress(b"profile")),
    "half a gamma": (b"gAMA", b"\0"),
    "half an animation": (b"acTL", b"\0"),
    "a frame out of order": (b"fcTL", bytes([9]) * 26),
    "text of another compression": (b"zTXt", b"workflow\0\7abc"),
}


@pytest.mark.parametrize("case", ODD_CHUNKS)
def test_odd_chunks_of_a_png_change_nothing(tmp_path: Path, case: str):
    path = tmp_path / "a.png"
    plain = hostile_pictures.samples()["rgb.png"]
    path.write_bytes(plain)
    expected = pixels(path)
    path.write_bytes(hostile_pictures.png_with(plain, ODD_CHUNKS[case]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.array_equal(pixels(path), expected)
    left_out = f"{path} has damaged metadata, which is left out"
    assert [str(warning.message) for warning in caught] == ([] if case == "3 MB of text" else [left_out])


def test_a_chunk_with_a_wrong_checksum_changes_nothing(tmp_path: Path):
    plain = hostile_pictures.samples()["rgb.png"]
    path = tmp_path / "a.png"
    path.write_bytes(hostile_pictures.png_with(plain, (b"tIME", b"abcdefg")).replace(b"abcdefg", b"abcdefx"))
    with pytest.warns(UserWarning, match="has damaged metadata"):
        assert load_picture(path).size == (24, 16)


ODD_SEGMENTS = [
    (0xE0, b"JFIF\0"),
    (0xEE, b"Adobe\0"),
    (0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\xff"),
    (0xE2, b"MPF\0II*\0"),
]


@pytest.mark.parametrize("segment", ODD_SEGMENTS)
def test_odd_segments_of_a_jpeg_change_nothing(tmp_path: Path, segment: tuple[int, bytes]):
    plain = hostile_pictures.samples()["told.jpg"]
    path = tmp_path / "a.jpg"
    path.write_bytes(plain)
    expected = pixels(path)
    path.write_bytes(hostile_pictures.jpeg_with(plain, segment))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(pixels(path), expected)


def test_odd_entries_of_a_tiff_change_nothing(tmp_path: Path):
    """A resolution in centimeters that is no number."""
    odd = {282: (1, [1] * 5), 283: (1, [1] * 5), 296: (3, [3])}
    path = tmp_path / "a.tif"
    path.write_bytes(hostile_pictures.tiff(2, 2, odd, bytes(range(12))))
    with pytest.warns(UserWarning, match="has damaged metadata"):
        assert pixels(path).ravel().tolist() == list(range(12))


@pytest.mark.parametrize("layers", [0, 2])
def test_the_composite_of_a_photoshop_file_is_read(tmp_path: Path, layers: int):
    path = tmp_path / "a.psd"
    path.write_bytes(hostile_pictures.psd(np.array(PICTURE), layers))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pixels(path), np.array(PICTURE))


@pytest.mark.parametrize(
    "profile", [b"no profile at all", profiles.linear_gray(), profiles.swapped_rgb()[:200], bytes(128)]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_broken_profile_is_a_note(tmp_path: Path, kind: str, profile: bytes):
    path = tmp_path / "a"
    path.write_bytes(hostile_pictures.saved(PICTURE, kind, icc_profile=profile))
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB"))
    with pytest.warns(UserWarning, match="has a color profile that cannot be used: its colors may be off"):
        assert np.array_equal(pixels(path), expected)


def test_a_gray_picture_with_a_profile_for_colors(tmp_path: Path):
    gray = Image.new("L", (4, 4), 100)
    gray.save(
        tmp_path / "gray.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(pixels(tmp_path / "gray.png").astype(int) - 100).max() <= 1


def test_nothing_of_the_source_goes_along(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(hostile_pictures.samples()["told.jpg"])
    assert not load_picture(tmp_path / "a.jpg").info


# --- Pictures of every mode -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_opaque_modes_keep_their_color(tmp_path: Path, mode: str):
    path = tmp_path / ("picture.jpg" if mode in ("CMYK", "YCbCr") else "picture.png")
    Image.new("RGB", (16, 16), "white").convert(mode).save(path)
    assert pixels(path).min() >= 253


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparency_shows_white(mode: str):
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 16))
    shown = np.array(load_picture(image.convert(mode)))
    assert shown[:, :8].max() == 0
    assert shown[:, 8:].min() == 255


def test_half_transparent_is_mixed_with_white():
    shown = np.array(load_picture(Image.new("RGBA", (8, 8), (255, 0, 0, 128))))
    assert shown[0, 0].tolist() == [255, 127, 127]


def test_palette_with_a_transparent_color(tmp_path: Path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 4, 8))
    image.save(tmp_path / "palette.png", transparency=0)
    shown = pixels(tmp_path / "palette.png")
    assert (shown[:, :4] == RED).all()
    assert (shown[:, 4:] == 255).all()


def test_rgb_with_a_transparent_color(tmp_path: Path):
    Image.new("RGB", (8, 8), RED).save(tmp_path / "keyed.png", transparency=RED)
    assert (pixels(tmp_path / "keyed.png") == 255).all()


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path, extension: str):
    path = tmp_path / f"deep.{extension}"
    Image.fromarray(np.array([[0, 257, 32768, 65535]] * 4, dtype=np.uint16)).save(path)
    assert pixels(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_gray_is_scaled_and_other_ranges_are_refused(tmp_path: Path):
    path = tmp_path / "float.tif"
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(path)
    assert (pixels(path) == 128).all()
    Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)).save(path)
    refused(path, "has values outside 0..1: save it with 8 bits")


def test_exif_rotation_is_applied(tmp_path: Path):
    image = Image.new("RGB", (16, 8), "white")
    image.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: left becomes top
    image.save(tmp_path / "turned.png", exif=exif)
    shown = pixels(tmp_path / "turned.png")
    assert shown.shape == (16, 8, 3)
    assert (shown[:8] == RED).all()


def test_animation_gives_its_first_frame_with_a_warning(tmp_path: Path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"moving.gif has several frames: the first one is used"):
        assert (pixels(path) == RED).all()


def test_a_damaged_second_frame_does_not_matter(tmp_path: Path):
    path = tmp_path / "moving.gif"
    content = hostile_pictures.samples()["moving.gif"]
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="has several frames"):
        assert load_picture(path).size == (24, 16)


def test_a_pil_picture_is_taken_as_it_is():
    assert load_picture(Image.new("L", (3, 5), 7)).getpixel((0, 0)) == (7, 7, 7)


# --- Tensors ----------------------------------------------------------------------------------------------------


def test_tensor_and_back_is_exact():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.dtype == torch.float32
    assert -1 <= tensor.min() < tensor.max() <= 1
    assert np.array_equal(np.array(to_pil(tensor)), np.array(image))


def test_rounding_and_the_official_truncation():
    tensor = torch.full((3, 1, 1), 2 * 9.7 / 255 - 1)
    assert to_pil(tensor).getpixel((0, 0)) == (10, 10, 10)
    assert to_pil(tensor, truncate=True).getpixel((0, 0)) == (9, 9, 9)


def test_out_of_range_is_clipped():
    assert to_pil(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1)).getpixel((0, 0)) == (0, 128, 255)


# --- Writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", sorted(pictures.OPTIONS))
def test_save_in_every_format_makes_the_folders(tmp_path: Path, extension: str):
    path = tmp_path / "new" / f"picture{extension}"
    save_picture(Image.new("RGB", (8, 8), RED), path)
    assert abs(pixels(path).astype(int) - RED).max() <= 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["picture", "picture.xyz", "picture.gif"])
def test_unknown_extension(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=r"end it in one of \.png"):
        check_writable(tmp_path / name)


def test_a_folder_is_no_output(tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path / "folder.png")


def test_unwritable_folder(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    for check in (check_writable, lambda path: save_picture(Image.new("RGB", (8, 8)), path)):
        with pytest.raises(InputError, match=r"Cannot write in .*; give another place"):
            check(tmp_path / "file" / "picture.png")


def test_check_leaves_nothing_behind(tmp_path: Path):
    check_writable(tmp_path / "a" / "b" / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_failed_save_leaves_the_old_picture(tmp_path: Path):
    path = tmp_path / "picture.png"
    save_picture(Image.new("RGB", (8, 8), RED), path)

    class Failing(Image.Image):
        def save(self, fp, format=None, **params):
            Path(fp).write_bytes(b"half a pict")
            raise OSError("no space left")

    with pytest.raises(InputError, match="cannot be written: no space left"):
        save_picture(Failing(), path)
    assert (pixels(path) == RED).all()
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


# --- Spoiled files by the thousand ------------------------------------------------------------------------------


def test_samples_are_read(tmp_path: Path):
    for name, content in hostile_pictures.samples().items():
        (tmp_path / name).write_bytes(content)
        assert hostile_pictures.read_one(tmp_path / name)["outcome"] == "read", name


def test_spoiled_pictures_are_read_or_refused():
    catch = hostile_pictures.hunt(seed=0, count=500)
    assert not catch.faults
    assert catch.outcomes["read"] > 50 < catch.outcomes["refused"]


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_spoiled_pictures_for_ten_minutes():
    seed = random.randrange(1 << 31)
    catch = hostile_pictures.hunt(seed, count=1 << 62, seconds=600)
    print(f"seed {seed}: {catch}")
    assert not catch.faults
