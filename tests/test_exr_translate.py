"""OpenEXR through `diffuseit translate`: light stays light, and nothing is lost without a note."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from standin import replace_core
from translate_command import good, refused
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.images.curve import to_display, to_light
from diffuseit.images.exr import exr_attributes, read_exr, write_exr
from diffuseit.images.io import read_levels, read_mark, read_picture, read_text, save_picture
from diffuseit.images.recipe import Recipe
from diffuseit.images.window import Window, window_of_light

pytest.importorskip("OpenEXR")

SIDE = 64
TO = ("--to", "a leopard")
SHOWN = np.random.default_rng(0).random((SIDE, SIDE, 3))
LIGHT = to_light(SHOWN).astype(np.float32)
LAMP = (slice(8, 16), slice(24, 40))


class Core:
    """A core that gives the source back, or what `paint` makes of it. It keeps what it saw."""

    source: torch.Tensor
    paint = staticmethod(lambda source: source)

    def translate(self, source: torch.Tensor, **_) -> SimpleNamespace:
        self.source = source
        return SimpleNamespace(pictures=self.paint(source))


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Core:
    """The stand-in, of 64 pixels, in an otherwise empty current folder."""
    core = Core()
    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, core.translate)
    return core


def write(
    name: str, light: np.ndarray, kind: type = np.float32, layer: str = "", **others: np.ndarray
) -> None:
    colors = {f"{layer}{color}": light[..., i].astype(kind) for i, color in enumerate("RGB")}
    write_exr(Path(name), colors | others, {})


def colors_in(name: str) -> np.ndarray:
    channels = read_exr(Path(name))
    return np.dstack([channels[color] for color in "RGB"])


def lit(brightness: float = 50) -> np.ndarray:
    """The picture with an orange lamp beyond white."""
    light = LIGHT.copy()
    light[LAMP] = brightness, 0.6 * brightness, 0.5
    return light


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("options", [(), ("--size", "source")])
def test_light_comes_back_in_its_type_with_its_highlights(core: Core, kind: type, options: tuple):
    write("in.exr", lit(), kind)
    said = good("in.exr", *TO, *options).stderr
    assert (
        "in.exr has levels" in said and "0 to 1 become black to white, and 2.08% of them are brighter" in said
    )
    out = colors_in("in-translated.exr")
    assert out.dtype == kind
    assert np.allclose(out, lit(), rtol=2e-3 if kind == np.float16 else 1e-4, atol=1e-5)
    seen = core.source[0].permute(1, 2, 0).numpy()
    assert np.allclose((seen[40:] + 1) / 2, SHOWN[40:], atol=1e-3)
    assert read_mark(Path("in-translated.exr")) == "compositeWithTrainedAlgorithmicMedia"
    text = read_text(Path("in-translated.exr"))
    assert text is not None and Recipe.from_text(text, "it").window == Window(0, 1)
    assert "in-translated.exr: not signed" in CliRunner().invoke(app, ["verify", "in-translated.exr"]).output


@pytest.mark.parametrize(("painted", "expected"), [(-1.0, 0.0), (0.0, float(to_light(np.array(0.5))))])
def test_a_lamp_that_is_painted_over_gives_no_light(core: Core, painted: float, expected: float):
    core.paint = lambda source: torch.full_like(source, painted)
    write("in.exr", lit())
    good("in.exr", *TO, "-o", "out.exr")
    assert np.allclose(colors_in("out.exr"), expected, atol=1e-6)


def test_white_that_is_painted_elsewhere_stays_white(core: Core):
    core.paint = torch.ones_like
    write("in.exr", lit())
    good("in.exr", *TO, "-o", "out.exr")
    out = colors_in("out.exr")
    assert np.allclose(out[LAMP], lit()[LAMP].clip(min=1))
    assert np.allclose(np.delete(out, range(8, 16), axis=0), 1)


def test_a_larger_picture_keeps_its_lamp_at_both_sizes(core: Core):
    large = np.kron(lit(), np.ones((3, 3, 1), np.float32))
    write("in.exr", large)
    good("in.exr", *TO, "--size", "source", "-o", "source.exr")
    good("in.exr", *TO, "-o", "model.exr")
    source, model = colors_in("source.exr"), colors_in("model.exr")
    assert source.shape == large.shape and model.shape == LIGHT.shape
    assert np.allclose(source[30:42, 80:112], [50, 30, 0.5], rtol=0.05)
    assert np.allclose(model[10:14, 27:37], [50, 30, 0.5], rtol=0.05)


def test_protected_pixels_keep_what_is_beyond_the_window(core: Core):
    core.paint = lambda source: -source
    light = lit(1000)
    light[0, 0] = -0.25
    write("in.exr", light)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[32:] = 255
    Image.fromarray(mask).save("mask.png")
    good("in.exr", *TO, "--mask", "mask.png", "--size", "source", "-o", "out.exr")
    out = colors_in("out.exr")
    assert (out[:32] == light[:32]).all() and not np.allclose(out[40:], light[40:], atol=0.1)


def test_display_formats_get_what_a_display_shows(core: Core):
    write("in.exr", lit())
    for name in ("out.png", "out.tif"):
        said = good("in.exr", *TO, "-o", name).stderr
        assert "files hold what a display shows: light of 0 to 1 becomes black to white through" in said
    assert np.abs(tifffile.imread("out.tif")[40:] / 65_535 - SHOWN[40:]).max() < 2e-3
    shown = np.asarray(read_picture("out.png").rgb) / 255
    assert np.abs(shown[40:] - SHOWN[40:]).max() < 4e-3


def test_transparency_is_multiplied_as_in_the_source(core: Core):
    alpha = np.tile(np.linspace(0, 1, SIDE), (SIDE, 1)).round(2).astype(np.float32)
    alpha[:, 0] = 0
    write("in.exr", LIGHT * alpha[..., None], A=alpha)
    good("in.exr", *TO, "-o", "out.exr")
    out = read_exr(Path("out.exr"))
    assert np.allclose(out["A"], alpha, atol=1 / 254)
    # Below white, the colors are mixed with it, as in all files with transparency.
    assert np.allclose(colors_in("out.exr")[:, -8:], (LIGHT * alpha[..., None])[:, -8:], atol=0.15)
    assert (colors_in("out.exr")[:, 0] == 0).all()


@pytest.mark.parametrize("name", ["Y", "depth.V"])
def test_a_gray_channel_is_levels(core: Core, name: str):
    gray = np.linspace(-5, 300, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.float16)
    write_exr(Path("in.exr"), {name: gray}, {})
    said = good("in.exr", *TO, "-o", "out.exr").stderr
    assert "-5 to 300 become black to white\n" in said
    out = read_exr(Path("out.exr"))
    assert list(out) == ["Y"] and out["Y"].dtype == np.float16
    assert np.allclose(out["Y"], gray, atol=0.2)
    good("in.exr", *TO, "--window", "100,20", "-o", "out.tif")
    made = tifffile.imread("out.tif")
    assert made.dtype == np.float32 and np.allclose(made, gray.astype(np.float32).clip(90, 110), atol=0.1)


def test_other_channels_are_told(core: Core):
    depth = np.ones((SIDE, SIDE), np.float32)
    others = {f"ViewLayer.{name}": depth for name in ("Depth.Z", "Vector.X", "Vector.Y", "Noisy.R")}
    write("in.exr", LIGHT, layer="ViewLayer.Combined.", **others)
    said = good("in.exr", *TO, "-o", "out.exr").stderr
    assert (
        "in.exr has other channels, which the result lacks: ViewLayer.Depth.Z," in said and "1 more" in said
    )
    assert np.allclose(colors_in("out.exr"), LIGHT, atol=1e-4)


def test_primaries_stay_and_are_told(core: Core):
    wide = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
    channels = {color: LIGHT[..., i] for i, color in enumerate("RGB")}
    write_exr(
        Path("in.exr"), channels, {"chromaticities": wide, "pixelAspectRatio": 2.0, "owner": "somebody"}
    )
    assert "other primaries than sRGB" in good("in.exr", *TO, "-o", "out.exr").stderr
    attributes = exr_attributes(Path("out.exr"))
    assert np.allclose(attributes["chromaticities"], wide) and attributes["pixelAspectRatio"] == 2
    assert "owner" not in attributes


def test_again_and_folders_and_evaluation(core: Core):
    Path("in").mkdir()
    write("in/a.exr", LIGHT)
    write("in/b.exr", LIGHT * 20)
    good("in", *TO, "-o", "out")
    windows = [Recipe.from_text(read_text(Path(f"out/{name}.exr")) or "", name).window for name in "ab"]
    assert windows[0] == Window(0, 1) and windows[1] is not None and windows[1].high > 10
    assert np.allclose(colors_in("out/b.exr"), LIGHT * 20, atol=1e-2)
    good("in/a.exr", "--again", "out/b.exr", "-o", "again.exr")
    assert np.allclose(colors_in("again.exr"), LIGHT, atol=1e-3)
    result = CliRunner().invoke(
        app, ["evaluate", "out", "--sources", "in", "--networks", "standard", "-o", "report"]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(Path("report/report.json").read_text("utf-8"))["rows"]
    assert [row["figures"]["edge_f1"] for row in rows] == [1, 1]


@pytest.mark.parametrize(
    ("light", "choice", "high"),
    [(0.5, "auto", 1), (0.0018, "auto", 0.01), (36, "auto", 200), (36, "full", 1), (0, "auto", 1)],
)
def test_the_window_of_light(light: float, choice: str, high: float):
    window = window_of_light(np.full((9, 9, 3), light, np.float16), choice, "it")  # type: ignore[arg-type]
    assert window.low == 0 and window.high == pytest.approx(high, rel=1e-3)


def test_a_file_that_cannot_be_a_picture_is_refused_in_one_line(core: Core):
    flat = np.ones((SIDE, SIDE), np.float32)
    write_exr(Path("vector.exr"), {"X": flat, "Y": flat, "Z": flat}, {})
    assert "vector.exr has no channels R, G, and B (X, Y, Z): save it with colors" in refused(
        "vector.exr", *TO
    )
    write_exr(Path("two.exr"), {f"{layer}.{color}": flat for layer in "ab" for color in "RGB"}, {})
    assert "two.exr has colors in several layers (a., b.)" in refused("two.exr", *TO)
    broken = LIGHT.copy()
    broken[3, 3, 1] = np.inf
    write("broken.exr", broken)
    assert "not finite numbers" in refused("broken.exr", *TO)
    write("fine.exr", LIGHT)
    assert "shows nothing of fine.exr" in refused("fine.exr", *TO, "--window", "90,4")
    Image.new("RGB", (SIDE, SIDE)).save("plain.png")
    assert "no image extension" in refused("plain.png", *TO, "-o", "out.exr")
    Path("fine.exr").write_bytes(Path("fine.exr").read_bytes()[:3000])
    assert "fine.exr is damaged or cut off" in refused("fine.exr", *TO)


def test_a_missing_library_is_told(core: Core, monkeypatch: pytest.MonkeyPatch):
    write("in.exr", LIGHT)
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    assert "run pip install OpenEXR" in refused("in.exr", *TO)


def test_curves_are_each_other(tmp_path: Path):
    values = np.linspace(0, 1, 1001)
    assert np.abs(to_display(to_light(values)) - values).max() < 1e-7
    assert to_display(np.array(0.2140411)) == pytest.approx(0.5, abs=1e-6)
    write(str(tmp_path / "a.exr"), LIGHT)
    with pytest.warns(UserWarning, match="become black to white"):
        save_picture(read_levels(tmp_path / "a.exr", "full"), tmp_path / "b.exr")
    assert (colors_in(str(tmp_path / "b.exr")) == LIGHT).all()
