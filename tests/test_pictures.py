"""Pictures of every kind either look as a person expects or end in one clear line."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from diffuseit.errors import InputError
from diffuseit.images import io as pictures
from diffuseit.images.io import check_writable, load_picture, save_picture, to_pil, to_tensor

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


def test_folder(tmp_path: Path):
    refused(tmp_path, "cannot be opened")


@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_not_a_picture(tmp_path: Path, content: bytes):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    refused(path, "is not a picture: give a PNG")


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tif"])
def test_truncated(tmp_path: Path, extension: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"half.{extension}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "damaged or cut off|is not a picture")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "huge.png"
    Image.new("L", (2000, 1000)).save(path)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1_000_000)
    refused(path, "is 2000x1000 pixels: make it smaller than 1 megapixels")


def test_decompression_bomb(tmp_path: Path):
    """A small file that claims 60000x60000 pixels is refused by its header."""
    small = io.BytesIO()
    Image.new("1", (1, 1)).save(small, "png")
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    content = bytearray(small.getvalue())
    content[12:29] = header
    content[29:33] = PngImagePlugin._crc32(header).to_bytes(4, "big")
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    refused(path, "make it smaller than 150 megapixels")


def test_large_picture_is_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "large.png"
    Image.new("RGB", (1200, 1000), RED).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_picture(path).size == (1200, 1000)


# --- Pictures of every mode -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_opaque_modes_keep_their_colour(tmp_path: Path, mode: str):
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


def test_palette_with_a_transparent_colour(tmp_path: Path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 4, 8))
    image.save(tmp_path / "palette.png", transparency=0)
    shown = pixels(tmp_path / "palette.png")
    assert (shown[:, :4] == RED).all()
    assert (shown[:, 4:] == 255).all()


def test_rgb_with_a_transparent_colour(tmp_path: Path):
    Image.new("RGB", (8, 8), RED).save(tmp_path / "keyed.png", transparency=RED)
    assert (pixels(tmp_path / "keyed.png") == 255).all()


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, extension: str):
    path = tmp_path / f"deep.{extension}"
    Image.fromarray(np.array([[0, 257, 32768, 65535]] * 4, dtype=np.uint16)).save(path)
    assert pixels(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_grey_is_scaled_and_other_ranges_are_refused(tmp_path: Path):
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
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"moving.gif has 3 frames: the first one is used"):
        assert (pixels(path) == RED).all()


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
