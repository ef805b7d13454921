"""A result says how it was made, and is made again to the pixel; what it says is checked before it is believed."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from translate_command import good, refused

import diffuseit
from diffuseit.api import load_models
from diffuseit.errors import InputError
from diffuseit.images.io import read_picture, read_text, save_picture, to_pil
from diffuseit.images.recipe import FileRef, Recipe, sha256_of_network
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.presets import PRESETS, Preset
from diffuseit.schema import from_json, to_json

QUICK = ("--steps", "4", "--skip", "1", "--resample", "1")


def scene(seed: int, style: int, name: str, size: tuple[int, int] = (64, 64)) -> None:
    picture = render(sample_geometry("landscape", [seed]), styles=[style], texture_seeds=[seed])
    save_picture(to_pil(picture).resize(size), name)


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    """The pocket networks are read from their files once for all these tests."""
    loaded = diffuseit.load_models("pocket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            diffuseit,
            "load_models",
            lambda name: loaded if name == "pocket" else load_models(name),
            raising=False,
        )
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a source."""
    monkeypatch.chdir(tmp_path)
    scene(7, 0, "source.png", (120, 80))
    return tmp_path


def pixels(path: str) -> np.ndarray:
    return np.array(Image.open(path))


def alike(first: np.ndarray, second: np.ndarray) -> bool:
    """The same picture of networks loaded twice: but for a level here and there, which JPEG may spread over a block."""
    return first.shape == second.shape and (first != second).mean() < 0.02


# --- The same pixels --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tif"])
def test_text_guided_again(here: Path, suffix: str):
    good("source.png", "--to", "winter", "--from", "sommer é ❄", *QUICK, "--seed", 3, "-o", f"first.{suffix}")
    result = good("--again", f"first.{suffix}", "source.png", "-o", f"second.{suffix}")
    assert result.stderr.count("Note") == 0
    assert alike(pixels(f"first.{suffix}"), pixels(f"second.{suffix}"))
    assert read_text(Path(f"first.{suffix}")) == read_text(Path(f"second.{suffix}"))


@pytest.mark.slow
def test_image_guided_again_with_a_mask_from_another_folder(here: Path, monkeypatch: pytest.MonkeyPatch):
    scene(9, 2, "look.png")
    mask = np.zeros((80, 120), dtype=np.uint8)
    mask[:, :50] = 255
    Image.fromarray(mask).save("mask.png")
    options = ("--style", "look.png", "--mask", "mask.png", "--fit", "crop", "--size", "source", *QUICK)
    good("source.png", *options, "-o", "out/first.png")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    good("--again", "../out/first.png", "../source.png", "-o", "second.png")
    first, second = pixels("../out/first.png"), pixels("second.png")
    assert first.shape == (80, 80, 3)
    assert alike(first, second)
    assert np.array_equal(first[:, 30:], pixels("../source.png")[:, 50:100])
    good("--again", "second.png", "../source.png", "-o", "third.png")
    assert alike(first, pixels("third.png"))


@pytest.mark.slow
def test_another_seed_is_another_picture(here: Path):
    for seed in (0, 1):
        good("source.png", "--to", "winter", *QUICK, "--seed", seed, "-o", f"{seed}.png")
    assert not alike(pixels("0.png"), pixels("1.png"))


# --- What a result says -----------------------------------------------------------------------------------------


def test_the_settings_in_a_result(here: Path):
    good("source.png", "--to", "winter", *QUICK, "--seed", 3, "-o", "new/first.png")
    values = json.loads(Image.open("new/first.png").text["diffuseit"])
    assert values["models"] == "pocket"
    assert values["seed"] == 3
    assert values["source"]["path"] == "../source.png"
    assert values["preset"]["sampler"]["steps"] == 4
    assert set(values["weights"]) == {"ddpm", "vit", "clip"}
    assert values["versions"]["torch"] == torch.__version__
    assert values["versions"]["diffuseit"] != "unknown"
    assert str(here) not in json.dumps(values)


def test_bmp_says_that_it_holds_no_settings(here: Path):
    assert "BMP files hold no settings" in good("source.png", "--to", "winter", *QUICK, "-o", "a.bmp").stderr
    assert "a.bmp holds no settings" in refused("--again", "a.bmp", "source.png")


@pytest.mark.slow
def test_what_differs_is_said(here: Path):
    good("source.png", "--to", "winter", *QUICK, "-o", "first.png")
    change("first.png", lambda values: values["weights"].update(vit="0" * 64))
    change("first.png", lambda values: values["versions"].update(torch="1.0"))
    scene(8, 0, "other.png")
    notes = good("--again", "first.png", "other.png", "-o", "second.png").stderr.replace("\n", " ")
    assert "the source is another image" in notes
    assert "other weights in vit" in notes
    assert f"torch {torch.__version__} instead of 1.0" in notes


def test_moved_and_changed_style_pictures(here: Path):
    scene(9, 2, "look.png")
    good("source.png", "--style", "look.png", *QUICK, "-o", "first.png")
    Path("look.png").rename("moved.png")
    assert "was not found at look.png: say with --style where" in refused(
        "--again", "first.png", "source.png"
    )
    good("--again", "first.png", "source.png", "--style", "moved.png", "-o", "second.png")
    assert alike(pixels("first.png"), pixels("second.png"))
    scene(10, 2, "look.png")
    assert "look.png is not the style image that first.png" in refused("--again", "first.png", "source.png")
    assert "made without a mask" in refused("--again", "second.png", "source.png", "--mask", "look.png")


# --- What is not believed ---------------------------------------------------------------------------------------


def change(path: str, edit: Callable[[dict], None]) -> None:
    """Edits the settings in a result."""
    values = json.loads(read_text(Path(path)))
    edit(values)
    save_picture(read_picture(path).rgb, path, json.dumps(values))


def nested(depth: int) -> list:
    """A list in a list, and so on."""
    return [nested(depth - 1)] if depth else []


EDITS: dict[str, tuple[Callable[[dict], None], str]] = {
    "unknown field": (lambda v: v.update(speed=2), "settings has fields that this version does not know: speed"),
    "unknown in a loss": (
        lambda v: v["preset"]["losses"][0].update(power=1),
        "settings.preset.losses[0] has fields that this version does not know: power",
    ),
    "unknown in the sampler": (
        lambda v: v["preset"]["sampler"].update(sigma=1),
        "settings.preset.sampler has fields that this version does not know: sigma",
    ),
    "unknown loss": (lambda v: v["preset"]["losses"][0].update(type="Path"), "losses[0] cannot be 'Path'"),
    "term": (lambda v: v["preset"]["losses"][0].update(type="Term"), "losses[0] cannot be 'Term'"),
    "network": (lambda v: v["preset"]["losses"][0].update(clip="x"), "does not know: clip"),
    "missing": (lambda v: v.pop("seed"), "settings lacks seed"),
    "type": (lambda v: v.update(seed="3"), "settings.seed cannot be '3'"),
    "bool": (lambda v: v.update(seed=True), "settings.seed cannot be True"),
    "choice": (lambda v: v.update(fit="squash"), "settings.fit is 'squash': use one of keep, crop, stretch"),
    "number": (lambda v: v["preset"]["sampler"].update(steps=0), "settings.preset.sampler.steps is 0: use 1 to 1000"),
    "resample": (lambda v: v["preset"]["sampler"].update(resample=10**9), "resample is 1000000000: use 1 to 100"),
    "restarts": (lambda v: v["preset"]["sampler"].update(max_restarts=10**9), "max_restarts is 1000000000: use 0 to"),
    "inner steps": (
        lambda v: v["preset"]["sampler"].update(method={"type": "MPGD", "inner_steps": 10**9}),
        "sampler.method.inner_steps is 1000000000: use 0 to 100",
    ),
    "method": (lambda v: v["preset"]["sampler"].update(method={"type": "Path"}), "sampler.method cannot be 'Path'"),
    "not a number": (lambda v: v["preset"]["sampler"].update(step_size=float("nan")), "NaN is not a JSON value"),
    "both": (lambda v: v.update(style={"path": "a", "sha256": "b"}), "either a text or a style image"),
    "format": (lambda v: v.update(format=2), "the settings are of format 2"),
    "kind": (lambda v: v["preset"].update(kind="image"), "is guided by image, but a text was given"),
    "models": (lambda v: v.update(models="../pocket"), "there are no models '../pocket'"),
    "large seed": (lambda v: v.update(seed=2**64), "seed is a number of more than 18 digits: use 0 to 18446744073"),
    "small seed": (lambda v: v.update(seed=-1), "seed is -1: use 0 to"),
    "digits": (lambda v: v.update(seed=10**4000), "seed is a number of more than 18 digits"),
    "long text": (lambda v: v.update(to="x" * 100_000), "settings.to has 100000 characters: at most 2000"),
    "long name": (lambda v: v.update(models="x" * 100_000), "settings.models has 100000 characters"),
    "long path": (
        lambda v: v.update(to=None, style={"path": "x" * 100_000, "sha256": "0" * 64}),
        "settings.style.path has 100000 characters: at most 4096",
    ),
    "long names": (lambda v: v["weights"].update({"x" * 100_000: "", "y": ""}), "Recipe.weights has 100000 characters"),
    "many names": (lambda v: v["weights"].update({str(n): "" for n in range(1000)}), "weights has 1003 items"),
    "deep": (lambda v: v["preset"]["losses"].append(nested(400)), "losses[4] cannot be"),
    "escapes": (lambda v: v.update({"\x1b[2J\u202e": 1}), r"does not know: \x1b[2J\u202e"),
    "escapes in a value": (lambda v: v.update(fit="\x1b[2J"), r"settings.fit is '\x1b[2J'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result to spoil."""
    folder = tmp_path_factory.mktemp("made")
    scene(7, 0, str(folder / "source.png"))
    good(folder / "source.png", "--to", "winter", *QUICK, "-o", folder / "first.png")
    return folder


@pytest.mark.parametrize("name", EDITS)
def test_settings_that_are_not_believed(made: Path, tmp_path: Path, monkeypatch, name: str):
    monkeypatch.chdir(tmp_path)
    edit, message = EDITS[name]
    (tmp_path / "spoilt.png").write_bytes((made / "first.png").read_bytes())
    change("spoilt.png", edit)
    said = refused("--again", "spoilt.png", made / "source.png", "-o", "second.png")
    assert message in said
    assert said.rstrip("\n").isprintable() and len(said) < 400
    assert not Path("second.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
@pytest.mark.timeout(60)
def test_paths_of_a_stranger_are_followed_to_picture_files_only(tmp_path: Path):
    """None of these is opened: some never end, and some are on another machine."""
    (tmp_path / "results").mkdir()
    scene(7, 0, str(look := tmp_path / "look.png"))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "secret.txt").write_text("secret")
    for name, target in (
        ("zero.png", "/dev/zero"),
        ("piped.png", "pipe.png"),
        ("round.png", "round.png"),
        ("text.png", "secret.txt"),
        ("good.png", "look.png"),
    ):
        (tmp_path / name).symlink_to(target)
    refused = [
        *(f"../{name}.png" for name in ("pipe", "piped", "zero", "round", "text", "gone")),
        *(
            "/dev/zero",
            "../../../../../../../../dev/zero",
            str(look),
            "//server/share/look.png",
            "../secret.txt",
        ),
        *("", ".", "..", "~/look.png", "x" * 4096, "x/" * 2000 + "look.png", "a\0.png"),
    ]
    for path in refused:
        assert FileRef(path, "0" * 64).find(tmp_path / "results") is None, path
    for path in ("../look.png", "../good.png"):
        assert FileRef(path, "0" * 64).find(tmp_path / "results").samefile(look)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no settings"),
        ("{", "the metadata of spoilt.png is not valid JSON"),
        ("[" * 100_000, "the metadata of spoilt.png is nested too deeply"),
        ("1" * 5_000, "the metadata of spoilt.png is not valid JSON"),
        ('{"seed": Infinity}', "Infinity is not a JSON value"),
        (json.dumps(["x"] * 400_000), "is 2000000 characters long"),
        ("[]", "settings is a list of 0, not a set of fields"),
    ],
)
def test_texts_that_are_no_settings(made: Path, tmp_path: Path, monkeypatch, text: str | None, message: str):
    monkeypatch.chdir(tmp_path)
    save_picture(read_picture(made / "first.png").rgb, "spoilt.png", text)
    assert message in refused("--again", "spoilt.png", made / "source.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "0"], "leave out --seed"),
        (["--to", "x", "--from", "y"], "leave out --from, --to"),
        (["--fit", "keep"], "leave out --fit"),
    ],
)
def test_again_takes_no_other_settings(made: Path, options: list[str], message: str):
    assert message in refused("--again", made / "first.png", made / "source.png", *options)


def test_again_needs_pictures(made: Path, tmp_path: Path):
    assert "--again takes one image" in refused("--again", made / "first.png", made)
    assert "cannot be opened" in refused("--again", tmp_path / "none.png", made / "source.png")
    assert "holds no settings" in refused("--again", made / "source.png", made / "source.png")


# --- Settings and JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_json(name: str):
    values = json.loads(json.dumps(to_json(PRESETS[name])))
    assert from_json(Preset, values, "a preset") == PRESETS[name]


def test_a_recipe_comes_back_from_text():
    recipe = Recipe(
        models="pocket",
        weights={"ddpm": "00"},
        preset=PRESETS["official-image"],
        seed=2**40,
        source=FileRef("ä.png", "11"),
        style=FileRef("b.png", "22"),
        fit="crop",
        versions={"torch": "2"},
    )
    text = recipe.to_text()
    assert text.isascii()
    assert Recipe.from_text(text, "here") == recipe


def test_a_picture_is_no_setting():
    with pytest.raises(InputError, match="a Tensor cannot be written as a setting"):
        to_json({"mask": torch.ones(1, 1, 8, 8)})


def test_the_sum_of_a_network_tells_numbers_and_types():
    network = torch.nn.Linear(2, 2)
    first = sha256_of_network(network)
    assert sha256_of_network(network) == first
    assert sha256_of_network(torch.nn.Linear(2, 2)) != first
    assert sha256_of_network(network.bfloat16()) != first
