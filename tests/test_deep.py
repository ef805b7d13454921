"""Pictures of more than 8 bits: no level is lost, and the window that the model sees is known and repeated."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from standin import MODELS, replace_core
from torchvision.io import ImageReadMode, read_image
from typer.testing import CliRunner

import diffuseit
from diffuseit.cli import app
from diffuseit.errors import InputError
from diffuseit.images.deep import DeepPicture
from diffuseit.images.io import read_levels, read_mark, read_picture, read_text, save_picture
from diffuseit.images.recipe import Recipe
from diffuseit.images.window import Window, parse_window, window_of

SIDE = 64
RAMP = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
CT = np.random.default_rng(0).integers(0, 3000, (SIDE, SIDE)).astype(np.uint16)
CT[0, :2] = 0, 3000


class Core:
    """A core that gives the source back, or its negative. It keeps what it saw."""

    sign = 1
    source: torch.Tensor
    style: torch.Tensor | None

    def translate(self, source: torch.Tensor, style: torch.Tensor | None = None, **_) -> SimpleNamespace:
        self.source, self.style = source, style
        return SimpleNamespace(pictures=self.sign * source)

    def vary(self, source: torch.Tensor, *, count: int, seed: int, **_) -> SimpleNamespace:
        return SimpleNamespace(
            pictures=source.expand(count, -1, -1, -1),
            seeds=tuple(range(seed, seed + count)),
            scores=torch.zeros(count),
        )


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Core:
    """The stand-in, of 64 pixels, in an otherwise empty current folder."""
    core = Core()
    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, core.translate)
    monkeypatch.setattr(diffuseit, "vary", core.vary, raising=False)
    return core


def run(*arguments: object, to: str | None = "a leopard"):
    return CliRunner().invoke(app, ["translate", *map(str, arguments), *(["--to", to] if to else [])])


def good(*arguments: object, **options):
    result = run(*arguments, **options)
    assert result.exit_code == 0, result.output
    return result


def levels_in(path: str | Path) -> np.ndarray:
    """The levels by another decoder than ours."""
    if Path(path).suffix == ".tif":
        return tifffile.imread(path)
    return read_image(str(path), ImageReadMode.UNCHANGED).numpy().transpose(1, 2, 0).squeeze()


def recipe_of(path: str) -> Recipe:
    text = read_text(Path(path))
    assert text is not None
    return Recipe.from_text(text, path)


def test_a_ramp_keeps_its_65536_levels(core: Core, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(MODELS.ddpm, "image_size", 256)
    Image.fromarray(RAMP).save("ramp.png")
    good("ramp.png", "-o", "out.png")
    assert (levels_in("out.png") == RAMP).all()
    good("ramp.png", "-o", "out.tif")
    assert (levels_in("out.tif") == RAMP).all()


@pytest.mark.parametrize("window", ["auto", "1500,400"])
def test_protected_pixels_survive_at_16_bits(core: Core, window: str):
    core.sign = -1
    Image.fromarray(RAMP // 16).save("ramp.png")
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[100:150, 100:150] = 255
    Image.fromarray(mask).save("mask.png")
    good("ramp.png", "--mask", "mask.png", "--size", "source", "--window", window, "-o", "out.png")
    out = levels_in("out.png")
    assert (out[mask == 0] == (RAMP // 16)[mask == 0]).all()
    assert (out[110:140, 110:140] != (RAMP // 16)[110:140, 110:140]).mean() > 0.9


def test_twelve_bits_are_not_black(core: Core):
    Image.fromarray(CT).save("ct.png")
    said = good("ct.png", "-o", "out.png").stderr
    assert said == "Note: ct.png has levels 0 to 3000: 0 to 3000 become black to white\n"
    assert core.source.min() == -1 and core.source.max() == 1
    assert (levels_in("out.png") == CT).all()
    assert recipe_of("out.png").window == Window(0, 3000)


def test_a_window_cuts_levels_off(core: Core):
    Image.fromarray(CT).save("ct.png")
    good("ct.png", "--window", "1000,400", "-o", "out.png")
    assert (levels_in("out.png") == CT.clip(800, 1200)).all()


def test_again_repeats_the_window_and_older_results_at_8_bits(core: Core):
    Image.fromarray(CT).save("ct.png")
    Image.fromarray(CT // 2).save("other.png")
    good("ct.png", "--window", "1000,400", "-o", "out.png")
    good("other.png", "--again", "out.png", "-o", "again.png", to=None)
    assert (levels_in("again.png") == (CT // 2).clip(800, 1200)).all()
    assert recipe_of("again.png").window == Window(800, 1200)

    older = {
        name: value for name, value in json.loads(read_text(Path("out.png"))).items() if "window" not in name
    }
    save_picture(Image.new("RGB", (SIDE, SIDE)), "older.png", json.dumps(older))
    said = good("ct.png", "--again", "older.png", "-o", "repeated.png", to=None).stderr
    assert "ct.png has levels up to 3000 of 65535 and looks nearly black here" in said
    assert Image.open("repeated.png").mode == "RGB"

    Image.new("L", (SIDE, SIDE), 7).save("plain.png")
    refused = run("plain.png", "--again", "out.png", to=None)
    assert refused.exit_code == 2
    assert "plain.png has 8 bits a channel: the window 800 to 1200 is for" in refused.stderr


def test_a_folder_finds_a_window_for_each_picture(core: Core):
    Path("in").mkdir()
    Image.fromarray(CT).save("in/a.png")
    Image.fromarray(CT * 20).save("in/b.png")
    Image.new("RGB", (SIDE, SIDE), "red").save("in/c.png")
    good("in", "-o", "out")
    assert (levels_in("out/a.png") == CT).all() and (levels_in("out/b.png") == CT * 20).all()
    assert Image.open("out/c.png").getpixel((0, 0)) == (255, 0, 0)
    windows = [recipe_of(f"out/{name}.png").window for name in "abc"]
    assert windows == [Window(0, 3000), Window(0, 65_535), None]


FLOATS = np.linspace(-1024, 3071, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def test_floats_and_signed_levels_come_back_as_such_in_tiff(core: Core):
    tifffile.imwrite("hu.tif", FLOATS)
    good("hu.tif", "-o", "out.tif")
    out = levels_in("out.tif")
    assert out.dtype == np.float32 and np.abs(out - FLOATS).max() < 1e-3
    for kind in (np.int16, np.int32, np.uint32):
        levels = (FLOATS - (0 if kind != np.uint32 else FLOATS.min())).astype(kind)
        tifffile.imwrite("signed.tif", levels)
        good("signed.tif", "-o", "out.tif")
        out = levels_in("out.tif")
        assert out.dtype == kind and (out == levels).all()


def test_other_formats_get_the_window_and_say_so(core: Core):
    tifffile.imwrite("hu.tif", FLOATS)
    said = good("hu.tif", "-o", "out.png").stderr
    assert "PNG files hold no floats: levels -1024 to 3071 become 0 to 65535; -o NAME.tif keeps them" in said
    assert np.abs(levels_in("out.png") - (FLOATS + 1024) / 4095 * 65_535).max() < 0.6
    said = good("hu.tif", "-o", "out.webp").stderr
    assert "WEBP files hold 8 bits: levels -1024 to 3071 become 0 to 255; use .png or .tif" in said
    assert np.array(Image.open("out.webp").convert("L"))[-1, -1] > 250


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_evaluation_sees_a_result_and_its_source_through_the_same_window(core: Core, suffix: str):
    blocks = np.random.default_rng(2).uniform(-1000, 3000, (SIDE // 8, SIDE // 8)).astype(np.float32)
    Path("in").mkdir()
    tifffile.imwrite("in/hu.tif", np.kron(blocks, np.ones((8, 8), np.float32)))
    good("in/hu.tif", "--window", "0,1000", "-o", f"out/hu{suffix}")
    arguments = ["evaluate", "out", "--sources", "in", "--networks", "standard", "-o", "report"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    row = json.loads(Path("report/report.json").read_text("utf-8"))["rows"][0]
    assert row["figures"]["edge_f1"] == 1 and not any("black" in note for note in row["notes"])


def color(channels: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65_536, (SIDE, SIDE + 8, channels)).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("gray", [False, True])
def test_16_bit_colors_and_transparency_go_through_a_file(
    tmp_path: Path, suffix: str, alpha: bool, gray: bool
):
    levels = color(1)[..., 0] if gray else color(3)
    height, width = levels.shape[:2]
    clear = Image.fromarray(color(1)[..., 0].astype(np.uint8)) if alpha else None
    deep = DeepPicture(levels, Window(0, 65_535), clear)
    save_picture(deep, tmp_path / f"a{suffix}", "settings", mark="algorithmicMedia")
    other = levels_in(tmp_path / f"a{suffix}").reshape(height, width, -1)
    assert (other[..., : levels.shape[2] if levels.ndim == 3 else 1].squeeze() == levels).all()
    assert read_text(tmp_path / f"a{suffix}") == "settings"
    assert read_mark(tmp_path / f"a{suffix}") == "algorithmicMedia"
    with pytest.warns(UserWarning, match="0 to 65535 become black to white"):
        picture = read_levels(tmp_path / f"a{suffix}", "auto")
    # Gray with transparency is RGBA in TIFF, which has no common form of it.
    if gray and alpha and suffix == ".tif":
        levels = np.stack([levels] * 3, 2)
    assert (picture.levels == levels).all()
    if clear is not None:
        assert (np.array(picture.alpha) == np.array(clear)).all()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"byteorder": ">"},
        {"compression": "zlib", "byteorder": ">", "predictor": True},
    ],
    ids=str,
)
def test_16_bit_colors_of_other_layouts(tmp_path: Path, options: dict):
    tifffile.imwrite(tmp_path / "a.tif", color(3), photometric="rgb", **options)
    with pytest.warns(UserWarning, match="become black to white"):
        assert (read_levels(tmp_path / "a.tif", "full").levels == color(3)).all()


def test_a_turned_picture_comes_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP[:8]).save(tmp_path / "a.png", exif=exif)
    with pytest.warns(UserWarning, match="become black to white"):
        assert (read_levels(tmp_path / "a.png", "auto").levels == np.rot90(RAMP[:8], -1)).all()


def test_a_color_profile_is_applied_at_8_bits_unless_all_levels_are_asked_for(tmp_path: Path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tifffile.imwrite(tmp_path / "a.tif", color(3), photometric="rgb", iccprofile=profile)
    with pytest.warns(UserWarning, match="a color profile, which is applied at 8 bits: --window full keeps"):
        assert not isinstance(read_levels(tmp_path / "a.tif", "auto"), DeepPicture)
    with pytest.warns(UserWarning, match="become black to white"):
        assert isinstance(read_levels(tmp_path / "a.tif", "full"), DeepPicture)


def test_a_style_image_has_a_window_of_its_own(core: Core):
    Image.new("RGB", (SIDE, SIDE)).save("source.png")
    Image.fromarray(CT).save("style.png")
    good("source.png", "--style", "style.png", "-o", "out.png", to=None)
    assert core.style is not None and core.style.max() > 0.9
    recipe = recipe_of("out.png")
    assert recipe.style_window == Window(0, 3000) and recipe.window is None
    good("source.png", "--again", "out.png", "-o", "again.png", to=None)
    assert core.style.max() > 0.9


def test_variations_keep_16_bits_and_their_grid_is_shown(core: Core):
    Image.fromarray(CT).save("ct.png")
    good("ct.png", "--variations", 2, "-o", "out.png")
    assert (levels_in("out.png") == CT).all() and (levels_in("out-2.png") == CT).all()
    assert Image.open("out-grid.png").mode == "RGB"


def test_a_tiff_of_colors_says_what_it_needs(core: Core, monkeypatch: pytest.MonkeyPatch):
    save_picture(DeepPicture(color(3), Window(0, 65_535)), "colors.png")
    Image.fromarray(CT).save("ct.png")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    result = run("colors.png", "-o", "out.tif")
    assert result.exit_code == 2 and "pip install 'diffuseit[scientific]'" in result.stderr
    good("ct.png", "-o", "out.tif")


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("40,0", "--window is '40,0': LEVEL and WIDTH must be finite, and WIDTH above 0"),
        ("nan,400", "LEVEL and WIDTH must be finite"),
        ("40", "use LEVEL,WIDTH such as 40,400, or auto, or full"),
        ("automatic", "use LEVEL,WIDTH such as 40,400, or auto, or full"),
        ("9000,100", "the window 8950 to 9050 shows nothing of ct.png, whose levels are 0 to 3000"),
    ],
)
def test_bad_windows(core: Core, option: str, line: str):
    Image.fromarray(CT).save("ct.png")
    result = run("ct.png", "--window", option)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert line in result.stderr


@pytest.mark.parametrize(
    ("value", "window", "line"),
    [
        (np.nan, "auto", "hu.tif has pixels that are not finite numbers (NaN or infinity)"),
        (np.inf, "40,400", "hu.tif has pixels that are not finite numbers (NaN or infinity)"),
        (0, "full", "beyond the full range of floats, 0 to 1: use --window auto or LEVEL,WIDTH"),
    ],
)
def test_bad_floats(core: Core, value: float, window: str, line: str):
    levels = FLOATS.copy()
    levels[3, 3] = value
    tifffile.imwrite("hu.tif", levels)
    result = run("hu.tif", "--window", window)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert line in result.stderr


@pytest.mark.parametrize("name", ["brain.nrrd", "sky.fits"])
def test_scientific_files_are_to_be_saved_with_their_levels(core: Core, name: str):
    Path(name).write_bytes(bytes(128) + b"DICM")
    result = run(name)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert (
        f"{name} is of a kind that is not read here: save it as TIFF of floats or as 16-bit PNG"
        in result.stderr
    )


def test_an_8_bit_picture_has_no_window(core: Core):
    Image.new("RGB", (SIDE, SIDE), "red").save("red.png")
    result = run("red.png", "--window", "40,400")
    assert result.exit_code == 2 and "red.png has 8 bits a channel" in result.stderr
    assert "Note" not in good("red.png", "--window", "full").stderr


@pytest.mark.parametrize(
    ("levels", "window"),
    [
        (np.array([0, 4095], np.uint16), (0, 4095)),
        (np.array([100, 40_000], np.uint16), (0, 65_535)),
        (np.array([0.1, 0.9], np.float32), (0, 1)),
        (np.array([0.1, 0.2], np.float32), (np.float32(0.1), np.float32(0.2))),
        (np.array([-5, 30_000], np.int16), (-5, 30_000)),
        (np.array([7, 7], np.uint16), (0, 65_535)),
    ],
)
def test_what_auto_chooses(levels: np.ndarray, window: tuple[float, float]):
    assert window_of(levels, "auto", "it") == Window(*map(float, window))


def test_windows_are_bounded():
    assert parse_window("40,400") == Window(-160, 240)
    for low, high in ((0, 0), (1, 0), (0, float("nan")), (-1e39, 0)):
        with pytest.raises(InputError):
            Window(low, high)
    picture = DeepPicture(CT, Window(0, 3000))
    with pytest.raises(InputError):
        replace(picture.window, high=0)


def test_a_dark_picture_of_16_bits_is_told_where_only_8_are_read(tmp_path: Path):
    Image.fromarray(CT).save(tmp_path / "ct.png")
    with pytest.warns(UserWarning, match="levels up to 3000 of 65535 and looks nearly black here"):
        read_picture(tmp_path / "ct.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Image.fromarray(CT * 20).save(tmp_path / "bright.png")
        read_picture(tmp_path / "bright.png")
