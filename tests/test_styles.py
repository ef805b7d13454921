"""One image or a folder in many styles, with a contact sheet, and labels that stay on the pixels of the results."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from standin import MODELS, replace_core
from translate_command import good, refused, run

from diffuseit.api import Result
from diffuseit.cli.texts import slug
from diffuseit.images.io import read_text
from diffuseit.images.labels import at_result
from diffuseit.images.resize import Fit
from diffuseit.images.thumbnails import Tile, grid, thumbnail


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that a core which inverts colors was asked for. Two images lie in `in`, and their labels in `maps`."""
    texts: list[str] = []

    def translate(source: torch.Tensor, *, to: str, **_) -> Result:
        texts.append(to)
        return Result(-source)

    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, translate)
    for folder in ("in", "maps"):
        Path(folder).mkdir()
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (120, 80), color).save(f"in/{name}.png")
        label_map().save(f"maps/{name}.png")
    return texts


def label_map() -> Image.Image:
    """120x80 pixels of a palette, each the class of its column."""
    image = Image.fromarray(np.tile(np.arange(120, dtype=np.uint8), (80, 1)), "P")
    image.putpalette([level for number in range(256) for level in (number, 0, 255 - number)])
    return image


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def rows(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(folder, "verdicts.csv").read_text().splitlines()))


# --- many styles


def test_one_image_in_several_styles(asked: list[str]):
    result = good("in/a.png", "--to", "winter landscape", "--to", "autumn", "--seed", 3)
    assert asked == ["winter landscape", "autumn"]
    made = ["a--autumn.png", "a--winter-landscape.png"]
    assert names("a-translated") == [*made, "contact-sheet.png", "verdicts.csv"]
    assert "2 translated into a-translated, 0 there already" in result.stdout
    recipes = [json.loads(read_text(Path("a-translated", name))) for name in made]
    assert [(recipe["to"], recipe["seed"]) for recipe in recipes] == [("autumn", 3), ("winter landscape", 3)]
    assert [(row["source"], row["to"], row["seed"], row["label"]) for row in rows("a-translated")] == [
        ("a.png", "winter landscape", "3", ""),
        ("a.png", "autumn", "3", ""),
    ]


def test_each_style_can_be_made_again(asked: list[str]):
    good("in/a.png", "--to", "winter", "--to", "autumn", "-o", "out")
    good("--again", "out/a--autumn.png", "in/a.png", "-o", "again.png")
    assert asked[-1] == "autumn"
    assert json.loads(read_text(Path("again.png")))["to"] == "autumn"
    assert "--targets" in refused("--again", "out/a--autumn.png", "in/a.png", "--targets", "x.txt")


def test_a_folder_in_the_styles_of_a_file_and_what_is_there_is_left_alone(asked: list[str]):
    Path("list.txt").write_text("\ufeffwinter\n\n  # a comment\nautumn \nwinter\n", encoding="utf-8")
    good("in", "--targets", "list.txt", "-o", "out")
    assert len(asked) == 4
    with Path("list.txt").open("a") as file:
        file.write("Winter!\n")
    result = good("in", "--targets", "list.txt", "--to", "sunset", "-o", "out")
    assert asked[4:] == ["sunset", "Winter!"] * 2
    assert "4 translated into out, 4 there already" in result.stdout
    assert len(rows("out")) == 8
    sheet = Image.open("out/contact-sheet.png")
    assert sheet.width > 5 * 160 and sheet.height > 2 * 160


def test_another_file_with_the_name_of_the_sheet_is_left_alone(asked: list[str]):
    Path("out").mkdir()
    Image.new("RGB", (3, 3)).save("out/contact-sheet.png")
    result = good("in/a.png", "--to", "winter", "--to", "autumn", "-o", "out")
    assert "there is no contact sheet: move it away" in result.stderr
    assert Image.open("out/contact-sheet.png").size == (3, 3)


def test_parts_of_a_folder_keep_the_styles_of_an_image_together(asked: list[str]):
    for number in (1, 2):
        good("in", "--to", "winter", "--to", "autumn", "-o", "out", "--shard", f"{number}/2")
    assert len(asked) == 4 and len(rows("out")) == 4


def test_a_damaged_image_is_told_once(asked: list[str]):
    Path("in/c.png").write_text("no picture")
    result = run("in", "--to", "winter", "--to", "autumn", "-o", "out")
    assert result.exit_code == 1
    assert "4 translated into out, 0 there already, 2 failed" in result.stdout
    assert result.stderr.count("Failed: in/c.png is not an image") == 1


@given(st.lists(st.text(max_size=80), min_size=2, unique=True))
def test_names_from_texts_are_plain_and_differ(texts: list[str]):
    slugs = [slug(text) for text in texts]
    assert len(set(slugs)) == len(slugs)
    assert all(
        set(each) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and 0 < len(each) < 60 for each in slugs
    )


def test_names_from_texts_say_the_text():
    assert slug("a photo of a leopard") == "a-photo-of-a-leopard"
    for text in ("../../etc/passwd", "A photo", "겨울", "x\x00y", "con", "é", " winter", "a-b", "-o"):
        assert "/" not in slug(text) and not slug(text).startswith((".", "-"))
    assert slug("Winter!").startswith("winter-") and slug("winter") == "winter"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "winter", "--to", "autumn", "-o", "out.png"], "there are several texts: give a folder"),
        (
            ["--to", "winter", "--to", "autumn", "--variations", 2],
            "there are several texts: --variations takes one",
        ),
        (["--to", "winter", "--to", " "], "the text to translate to is empty"),
        (["--targets", "none.txt"], "none.txt cannot be opened"),
        (["--targets", "empty.txt"], "empty.txt has no text"),
        (["--targets", "in/a.png"], "in/a.png cannot be opened: it is no text in UTF-8"),
        (["--targets", "long.txt"], "long.txt has 3000 characters: use at most 2000"),
        (["--targets", "many.txt"], "there are 1001 texts to translate to: give at most 1000"),
        (["--to", "winter", "--style", "in/b.png"], "either --to TEXT or --style IMAGE"),
        (["--to", "winter", "--to", "autumn", "--shard", "1/2"], "--shard is for a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first(asked: list[str], options, message: str):
    Path("empty.txt").write_text("\n# nothing\n")
    Path("long.txt").write_text("x" * 3000)
    Path("many.txt").write_text("\n".join(map(str, range(1001))))
    assert message in refused("in/a.png", *options)
    assert asked == []


def test_captions_of_any_length_stay_under_their_image():
    image = thumbnail(Image.new("RGB", (10, 30), "red"))
    sheet = grid([Tile(image, "x" * 500), Tile(None, ""), Tile(image, "a few words " * 30)], columns=2)
    assert sheet.width == 2 * 168 + 8 and sheet.height < 2 * 260


# --- labels


def test_labels_follow_beside_each_result(asked: list[str]):
    good("in", "--to", "winter", "--to", "autumn", "--with-labels", "maps", "-o", "out")
    assert names("out/labels") == [name for name in names("out") if name.startswith(("a-", "b-"))]
    for name in names("out/labels"):
        label, result = Image.open(f"out/labels/{name}"), Image.open(f"out/{name}")
        assert label.size == result.size and label.mode == "P"
        assert set(np.unique(label)) < set(range(120))
    assert rows("out")[0]["label"] == "labels/a--winter.png"


def test_results_that_were_there_without_labels_are_named(asked: list[str]):
    Path("list.txt").write_text("winter")
    good("in/a.png", "--targets", "list.txt", "-o", "out")
    result = good("in", "--targets", "list.txt", "--with-labels", "maps", "-o", "out")
    assert "1 result that is there has no labels: remove it to make it again" in result.stderr
    assert names("out/labels") == ["b--winter.png"]


def test_images_of_16_bits_come_in_styles_with_their_levels(asked: list[str]):
    levels = np.arange(4000, 4000 + 80 * 120, dtype=np.uint16).reshape(80, 120)
    Image.fromarray(levels).save("in/a.png")
    run_it = ("in/a.png", "--to", "winter", "--to", "autumn", "--size", "source", "--detail", 0)
    result = good(*run_it, "--with-labels", "maps", "-o", "out")
    assert np.asarray(Image.open("out/a--autumn.png")).dtype == np.uint16
    assert names("out/labels") == ["a--autumn.png", "a--winter.png"]
    assert result.stderr.count("Note: in/a.png") == 1
    sheet = np.asarray(Image.open("out/contact-sheet.png"))[60:110, 20:150]
    assert int(sheet.max()) - int(sheet.min()) > 100  # the window of the levels, not a black picture


@pytest.mark.parametrize(("fit", "left", "right"), [("keep", 0, 119), ("crop", 20, 99), ("stretch", 0, 119)])
def test_labels_at_the_size_of_the_source_lose_nothing(asked: list[str], fit: str, left: int, right: int):
    good(
        "in/a.png",
        "--to",
        "winter",
        "--size",
        "source",
        "--fit",
        fit,
        "--with-labels",
        "maps",
        "-o",
        "out/r.png",
    )
    label = np.asarray(Image.open("out/labels/r.png"))
    assert (label[0, 0], label[0, -1]) == (left, right)
    assert label.shape == np.asarray(Image.open("out/r.png")).shape[:2]


@pytest.mark.parametrize("mode", ["keep", "crop", "stretch"])
def test_labels_lie_where_the_image_lies(mode: str):
    fit = Fit.of((90, 200), MODELS.ddpm, mode)
    columns = torch.linspace(-1, 1, 200).expand(1, 3, 90, 200)
    seen = fit.undo(fit.apply(columns))[0, 0, 0]
    label = np.asarray(
        at_result(Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (90, 1))), fit, "model")
    )
    assert label.shape == fit.content
    expected = (seen.numpy() + 1) / 2 * 199
    assert np.abs(label[0].astype(float) - expected)[3:-3].max() <= 200 / fit.content[1]


def test_points_of_labelme_follow_and_the_source_inside_is_left_out(asked: list[str]):
    shape = {"label": "tree", "points": [[20, 0], [100, 80]], "shape_type": "rectangle"}
    values = {
        "shapes": [shape],
        "imageHeight": 80,
        "imageWidth": 120,
        "imagePath": "a.png",
        "imageData": "AAAA",
    }
    Path("maps/a.png").unlink()
    Path("maps/a.json").write_text(json.dumps(values))
    good("in/a.png", "--to", "winter", "--fit", "crop", "--with-labels", "maps", "-o", "out/r.png")
    made = json.loads(Path("out/labels/r.json").read_text())
    assert made["shapes"][0]["points"] == [[0, 0], [64, 64]] and made["shapes"][0]["label"] == "tree"
    assert (made["imageWidth"], made["imageHeight"], made["imageData"]) == (64, 64, None)
    assert Path("out/labels", made["imagePath"]).resolve() == Path("out/r.png").resolve()


def test_other_json_goes_along_where_no_pixel_moves(asked: list[str]):
    Path("maps/a.json").write_text('{"boxes": [[1, 2, 3, 4]]}')
    run_it = ("in/a.png", "--to", "winter", "--with-labels", "maps", "-o", "out/r.png")
    assert "its points cannot follow: add --size source" in refused(*run_it)
    assert asked == []
    good(*run_it, "--size", "source")
    assert Path("out/labels/r.json").read_text() == '{"boxes": [[1, 2, 3, 4]]}'


def test_labels_of_another_size_fail_alone_before_their_translation(asked: list[str]):
    Image.new("L", (64, 64)).save("maps/b.png")
    result = run("in", "--to", "winter", "--with-labels", "maps", "-o", "out")
    assert result.exit_code == 1 and len(asked) == 1
    assert "Failed: in/b.png: maps/b.png is for 64x64 pixels, but the image has 120x80" in result.stderr
    assert names("out/labels") == ["a.png"]


def test_labels_that_cannot_be_are_refused_before_the_first(asked: list[str]):
    Path("maps/b.png").unlink()
    folder = ("in", "--to", "winter", "-o", "out", "--with-labels")
    assert "maps has no labels of 1 of 2 images: b.png" in refused(*folder, "maps")
    assert "nowhere cannot be read" in refused(*folder, "nowhere")
    assert "--variations goes without" in refused("in/a.png", *folder[1:], "maps", "--variations", 2)
    Path("maps").rename("labels")
    assert "labels is where labels of results go" in refused(
        "in/a.png", "--to", "winter", "--to", "autumn", "--with-labels", "labels", "-o", "."
    )
    assert asked == []


def test_no_label_is_overwritten(asked: list[str]):
    Path("out/labels").mkdir(parents=True)
    Path("out/labels/r.png").write_text("mine")
    run_it = ("in/a.png", "--to", "winter", "--with-labels", "maps", "-o", "out/r.png")
    assert "is there already and is something else" in refused(*run_it)
    assert Path("out/labels/r.png").read_text() == "mine" and asked == []
    Path("out/labels/r.png").unlink()
    good(*run_it)
    good(*run_it)


@pytest.mark.parametrize("kind", ["I;16", "I", "F", "1", "RGB"])
def test_levels_of_every_kind_of_label_survive(asked: list[str], kind: str):
    levels = np.arange(80 * 120).reshape(80, 120) % 2
    image = Image.fromarray((levels * 5000).astype(np.uint16)) if kind == "I;16" else None
    image = image or Image.fromarray((levels * 255).astype(np.uint8)).convert(kind)
    Path("maps/a.png").unlink()
    image.save("maps/a.tif")
    good("in/a.png", "--to", "x", "--size", "source", "--with-labels", "maps", "-o", "out/r.png")
    (made,) = Path("out/labels").iterdir()
    with Image.open(made) as label:
        assert np.array_equal(np.asarray(label), np.asarray(image))
