"""A zoo of picture formats, made here, goes through `diffuseit translate` with a core that inverts colors."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import profiles
import pytest
from PIL import Image
from standin import replace_core
from typer.testing import CliRunner

from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.images.io import read_picture

RED, GREEN, BLUE, WHITE, BLACK, GRAY = "red", "lime", "blue", "white", "black", (128, 128, 128)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, lambda source, **_: Result(-source))


def run(*arguments: object):
    result = CliRunner().invoke(app, ["translate", *map(str, arguments), "--to", "a leopard"])
    assert result.exit_code == 0, result.output
    return result


def halves(left: object, right: object, mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (64, 64), right)
    image.paste(left, (0, 0, 32, 64))
    return image


def levels(values: list, dtype: type) -> Image.Image:
    """A row of values as the two halves of a gray picture."""
    return Image.fromarray(np.repeat(np.array([values] * 64, dtype=dtype), 32, axis=1))


def turned(path: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: the bottom becomes left
    image = Image.new("RGB", (64, 64), GREEN)
    image.paste(RED, (0, 32, 64, 64))
    image.save(path, exif=exif)


def swapped(path: str) -> None:
    halves(RED, BLUE).save(path, icc_profile=profiles.swapped_rgb())


def clear_right(path: str) -> None:
    halves((255, 0, 0, 255), (0, 0, 255, 0), "RGBA").save(path)


def palette(path: str) -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 32, 64))
    image.save(path, transparency=1)


def animated(path: str) -> None:
    options = {"lossless": True} if path.endswith("webp") else {}
    second = Image.new("RGB", (64, 64), "green")
    halves(RED, BLUE).save(path, save_all=True, append_images=[second], **options)


def saved(image: Image.Image, **options: object) -> Callable[[str], None]:
    return lambda path: image.save(path, **options)


ZOO: dict[str, tuple[str, Callable[[str], None], object, object, bool]] = {
    # name: suffix, maker, color on the left and on the right (under transparency: white), opaque
    "plain": ("png", saved(halves(RED, BLUE)), RED, BLUE, True),
    "bmp": ("bmp", saved(halves(RED, BLUE)), RED, BLUE, True),
    "turned": ("png", turned, RED, GREEN, True),
    "turned jpeg": ("jpg", turned, RED, GREEN, True),
    "profile": ("png", swapped, GREEN, BLUE, True),
    "profile jpeg": ("jpg", swapped, GREEN, BLUE, True),
    "profile webp": ("webp", swapped, GREEN, BLUE, True),
    "profile tiff": ("tif", swapped, GREEN, BLUE, True),
    "gray": ("png", saved(halves(0, 128, "L")), BLACK, GRAY, True),
    "gray profile": ("png", saved(halves(0, 128, "L"), icc_profile=profiles.linear_gray()), BLACK, (188,) * 3, True),
    "gray alpha": ("png", saved(halves((0, 255), (0, 0), "LA")), BLACK, WHITE, False),
    "one bit": ("png", saved(halves(0, 1, "1")), BLACK, WHITE, True),
    "16 bit": ("png", saved(levels([0, 32896], np.uint16)), BLACK, GRAY, True),
    "16 bit tiff": ("tif", saved(levels([0, 32896], np.uint16)), BLACK, GRAY, True),
    "16 bit keyed": ("png", saved(levels([0, 32896], np.uint16), transparency=32896), BLACK, WHITE, False),
    "float": ("tif", saved(levels([0, 128 / 255], np.float32)), BLACK, GRAY, True),
    "cmyk": ("tif", saved(halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK")), RED, BLUE, True),
    "cmyk jpeg": ("jpg", saved(halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK"), quality=95), RED, BLUE, True),
    "cmyk profile": (
        "tif",
        saved(halves((255, 0, 0, 0), (0, 0, 0, 0), "CMYK"), icc_profile=profiles.red_cyan()),
        RED,
        WHITE,
        True,
    ),
    "lab": ("tif", saved(halves((0, 128, 128), (255, 128, 128), "LAB")), BLACK, WHITE, True),
    "alpha": ("png", clear_right, RED, WHITE, False),
    "alpha webp": ("webp", clear_right, RED, WHITE, False),
    "alpha tiff": ("tif", clear_right, RED, WHITE, False),
    "palette": ("png", palette, RED, WHITE, False),
    "palette gif": ("gif", palette, RED, WHITE, False),
    "animated gif": ("gif", animated, RED, BLUE, True),
    "animated webp": ("webp", animated, RED, BLUE, True),
    "animated png": ("png", animated, RED, BLUE, True),
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(name: str):
    suffix, make, left, right, opaque = ZOO[name]
    make(f"in.{suffix}")
    out_file = "out.tif" if name == "animated png" else "out.png"
    result = run(f"in.{suffix}", "-o", out_file)
    assert ("has several frames: the first one is used" in result.stderr) == name.startswith("animated")
    assert "profile" not in result.stderr
    out = read_picture(out_file)
    assert (out.alpha is None) == opaque
    shown = np.array(out.rgb).astype(int)
    lossy = 9 if suffix in ("jpg", "webp") or "profile" in name or name == "lab" else 1
    for color, x in ((left, 8), (right, 56)):
        wanted = 255 - np.array(Image.new("RGB", (1, 1), color))[0, 0].astype(int)
        assert np.abs(shown[8:56, x] - wanted).max() <= lossy
    if not opaque:
        clear = np.array(out.alpha)
        assert (clear[:, 8] == 255).all() and (clear[:, 56] == 0).all()


@pytest.mark.parametrize(("suffix", "keeps"), [("png", 1), ("webp", 1), ("tif", 1), ("jpg", 0), ("bmp", 0)])
@pytest.mark.parametrize("size", ["model", "source"])
def test_transparency_goes_out_where_the_format_has_it(suffix: str, keeps: int, size: str):
    clear_right("in.png")
    run("in.png", "-o", f"out.{suffix}", "--size", size)
    out = read_picture(f"out.{suffix}")
    assert (out.alpha is not None) == bool(keeps)
    right = np.array(out.over("white"))[:, 40:]
    assert right.min() >= 250


def test_a_profile_that_cannot_be_used_is_a_note():
    halves(RED, BLUE).save("in.png", icc_profile=b"no profile at all")
    result = run("in.png", "-o", "out.png")
    assert "Note: in.png has a color profile that cannot be used" in result.stderr.replace("\n", " ")
    assert Image.open("out.png").getpixel((8, 8)) == (0, 255, 255)
    halves(RED, BLUE).save("in.png", icc_profile=profiles.linear_gray())
    assert "that cannot be used" in run("in.png", "-o", "out.png").stderr.replace("\n", " ")


def test_an_srgb_profile_changes_nothing():
    from PIL import ImageCms

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    held = io.BytesIO()
    noise.save(held, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(np.array(read_picture(Image.open(held)).rgb), np.array(noise))


@pytest.mark.parametrize(
    ("fit", "size", "wanted"),
    [
        ("keep", "model", (72, 54)),
        ("keep", "source", (400, 300)),
        ("crop", "model", (64, 64)),
        ("crop", "source", (300, 300)),
        ("stretch", "model", (64, 64)),
        ("stretch", "source", (400, 300)),
    ],
)
def test_fit_and_size(fit: str, size: str, wanted: tuple[int, int]):
    halves(RED, BLUE).resize((400, 300)).save("in.png")
    run("in.png", "-o", "out.png", "--fit", fit, "--size", size)
    out = Image.open("out.png")
    assert out.size == wanted
    assert out.getpixel((2, 2)) == (0, 255, 255)


def test_a_masked_source_keeps_its_detail_and_its_transparency():
    noise = np.random.default_rng(0).integers(0, 256, (150, 210, 4), dtype=np.uint8)
    Image.fromarray(noise).save("in.png")
    mask = np.zeros((75, 105), dtype=np.uint8)
    mask[:, :40] = 255
    Image.fromarray(mask).save("mask.png")
    run("in.png", "-o", "out.png", "--size", "source", "--mask", "mask.png")
    out = np.array(Image.open("out.png"))
    assert np.array_equal(out[:, 84:], noise[:, 84:])
    assert not np.array_equal(out[:, :70, :3], noise[:, :70, :3])
    assert np.array_equal(out[..., 3], noise[..., 3])


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (Image.new("L", (64, 64)), "The mask is black everywhere, so nothing may change"),
        (Image.new("RGBA", (64, 64), (255, 255, 255, 0)), "The mask is black everywhere"),
        (Image.new("L", (64, 40), 255), "the mask is 64x40 pixels and the image 64x64: give one of the same shape"),
    ],
)  # fmt: skip
def test_masks_that_cannot_be(mask: Image.Image, match: str):
    halves(RED, BLUE).save("in.png")
    mask.save("mask.png")
    options = ["translate", "in.png", "--to", "a leopard", "--mask", "mask.png", "-o", "out.png"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert match in result.stderr
    assert not Path("out.png").exists()


def test_a_very_long_picture_is_translated_with_a_note():
    Image.new("RGB", (900, 100), RED).save("in.png")
    result = run("in.png", "-o", "out.png")
    assert "consider --fit crop" in result.stderr
    assert Image.open("out.png").width > 8 * Image.open("out.png").height
