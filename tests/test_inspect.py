"""`diffuseit inspect`: separation of anyone's pictures, and features as pictures."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_networks import DINO, DINOV3
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import InputError
from diffuseit.images.io import load_picture, save_picture, to_pil, to_tensor
from diffuseit.inspection.facets import PATCH_FACETS
from diffuseit.inspection.gram import gram_matrices
from diffuseit.inspection.pca import principal_colors
from diffuseit.inspection.similarity import MARK, point_similarity, similarity_colors
from diffuseit.losses.structure import self_similarity
from diffuseit.models.vit import random_vit
from diffuseit.pocket.designs import pocket_design
from diffuseit.pocket.models import pocket_vit
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

STYLES = ("night", "summer", "winter")
NUMBERS = {"summer": 0, "winter": 2, "night": 5}


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """A folder for each of three styles, with three scenes in each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(tmp_path / "no-models"))
    for style in STYLES:
        seeds = range(TUNING.start + 30_000, TUNING.start + 30_003)
        for number, picture in enumerate(
            render(sample_geometry("landscape", seeds), [NUMBERS[style]] * 3, seeds)
        ):
            save_picture(to_pil(picture), Path("pairs", style, f"scene{number}.png"))
    return tmp_path / "pairs"


def run(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def refused(*arguments):
    """The one line that a command is refused with."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    return line


def test_own_pairs_are_measured_in_every_facet_of_the_layers(pairs):
    result = run("separation", "--pairs", pairs, "--layers", "0,-1", "-o", "out")
    assert result.exit_code == 0, result.output
    assert "Separation by key:4 and cls:4" in result.output
    (design,) = json.loads(Path("out/separation.json").read_text())["designs"]
    assert design["styles"] == list(STYLES) and design["contents"] == 3
    places = [(row["facet"], row["layer"]) for row in design["rows"]]
    facets = ("query", "key", "value", "token", "cls", "similarity")
    assert places == [(facet, layer) for facet in facets for layer in (0, 4)] + [("pixel", None)]
    rows = dict(zip(places, design["rows"], strict=True))
    assert rows["key", 4]["content"] > 0.7 > 0.3 > rows["key", 0]["content"]
    assert rows["cls", 4]["style"] > 0.8
    score = design["score"]
    assert score["interval95"][0] <= score["value"] <= score["interval95"][1]
    assert score["value"] > 0.6 and score["shuffled"] < 0.1
    with Path("out/separation.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["facet"], row["layer"]) for row in table] == [
        (f, "" if n is None else str(n)) for f, n in places
    ]
    assert float(table[3]["content"]) == rows["key", 4]["content"]
    assert Image.open("out/separation.png").width > 800


def test_the_score_is_that_of_the_facets_asked_for(pairs):
    result = run(
        "separation", "--pairs", pairs, "--layers", "4", "--structure", "similarity:3", "--style", "token"
    )
    assert result.exit_code == 0, result.output
    (design,) = json.loads(Path("separation/separation.json").read_text())["designs"]
    assert (design["score"]["structure"], design["score"]["style"]) == ("similarity:3", "token:4")
    assert {row["layer"] for row in design["rows"]} == {4, None}


def test_names_without_partners_are_left_out_and_other_sizes_resized_and_both_are_said(pairs):
    (pairs / "winter" / "scene2.png").unlink()
    picture = load_picture(pairs / "night" / "scene1.png")
    (pairs / "night" / "scene1.png").unlink()
    save_picture(picture.resize((96, 80)), pairs / "night" / "scene1.jpg")
    result = run("separation", "--pairs", pairs, "--layers", "4")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "1 name is left out, which not every folder has: winter has no scene2" in said
    assert "1 picture of another size is resized to 64x64, the size of the first" in said


def test_what_a_file_warns_of_is_said_once_though_it_is_read_again(pairs, monkeypatch):
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    (pairs / "night" / "scene0.png").unlink()
    frames[0].save(pairs / "night" / "scene0.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr("diffuseit.inspection.gram._MEMORY", 1)
    result = run("separation", "--pairs", pairs, "--layers", "4")
    assert result.exit_code == 0, result.output
    assert " ".join(result.output.split()).count("the first one is used") == 1


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda folder: [drop(folder / name) for name in ("night", "winter")],
            "pairs has one folder in it: give a folder",
        ),
        (
            lambda folder: [drop(folder / name) for name in STYLES],
            "pairs has no folders in it: give a folder",
        ),
        (
            lambda folder: [(folder / "night" / f"scene{n}.png").unlink() for n in (0, 1)],
            "pairs has 1 picture of the same name in all of its 3 folders: give two or more (night has no scene0, ",
        ),
        (lambda folder: [path.unlink() for path in (folder / "night").iterdir()], "There are no images in "),
        (
            lambda folder: (folder / "night" / "scene0.jpg").write_bytes(
                (folder / "night" / "scene0.png").read_bytes()
            ),
            "night has both scene0.jpg and scene0.png: keep one picture of each name",
        ),
        (lambda folder: (folder / "night" / "scene0.png").write_bytes(b"no picture"), "scene0.png"),
    ],
)
def test_folders_that_are_no_design_are_refused_with_one_line(pairs, spoil, line):
    spoil(pairs)
    assert line in refused("separation", "--pairs", pairs)
    assert not Path("separation").exists()


def drop(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--layers", "5"), "layer 5 does not exist: this vision transformer has 5 layers"),
        (("--layers", "first"), "--layers is 'first': give 'all', or numbers separated by commas"),
        (
            ("--structure", "keys"),
            "--structure is 'keys': give a facet (query, key, value, token, cls, similarity)",
        ),
        (("--style", "cls:9"), "layer 9 does not exist"),
        (("--vit", "dino-b7"), "the catalog has no 'dino-b7': did you mean dino-b8"),
        (("--vit", "clip-l14"), "clip-l14 is no vision transformer"),
        (("--vit", "dino-b8"), "run `diffuseit models download dino-b8`"),
        (("--n", "4"), "--n is for scenes of the pocket world"),
        (("--device", "nowhere"), "nowhere"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_one_line(pairs, options, line):
    assert line in refused("separation", "--pairs", pairs, *options)


def test_pictures_of_one_color_give_figures_and_no_nan(pairs):
    for path in pairs.rglob("*.png"):
        Image.new("RGB", (64, 64), "gray").save(path)
    result = run("separation", "--pairs", pairs, "--layers", "4")
    assert result.exit_code == 0, result.output
    (design,) = json.loads(Path("separation/separation.json").read_text())["designs"]
    assert "NaN" not in Path("separation/separation.json").read_text()
    assert all(row["constant"] and row["content"] == row["style"] == 0 for row in design["rows"])
    assert design["score"]["value"] == 0 and design["score"]["p"] == 1


def test_weights_without_training_are_a_control_of_every_architecture_of_the_catalog(pairs):
    result = run("separation", "--pairs", pairs, "--random-weights", "--layers", "4")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("separation/separation.json").read_text())["vit"] == "pocket with random weights"
    assert "is not in" not in result.output


@pytest.mark.parametrize("config", [DINO, DINOV3], ids=["DINO", "DINOv3"])
def test_every_kind_of_vit_has_all_facets(config):
    vit = random_vit(config)
    grams = gram_matrices(vit, pocket_design("animal", 2, TUNING), [0, 2])
    assert {str(place) for place in grams} == {"pixel"} | {
        f"{facet}:{layer}" for facet in (*PATCH_FACETS, "cls", "similarity") for layer in (0, 2)
    }
    assert not any(gram.constant for gram in grams.values())


def test_facets_are_those_that_the_losses_compare():
    vit = pocket_vit()
    picture = render(sample_geometry("animal", [TUNING.start]), [2], [1])
    expected = vit(picture)
    facets = vit.facets(picture, {4, 2})
    assert torch.allclose(facets[4].keys, expected.keys) and torch.allclose(
        facets[2].keys, expected.early_keys
    )
    assert torch.allclose(facets[4].tokens[:, 0], expected.cls, atol=1e-6)
    block = vit.model.blocks[4]
    queries, keys, values = (
        x.unflatten(-1, (4, 32)).transpose(1, 2)
        for x in (facets[4].queries, facets[4].keys, facets[4].values)
    )
    attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    before = vit.facets(picture, {3})[3].tokens
    middle = before + block.attn.proj(attended.transpose(1, 2).flatten(2))
    assert torch.allclose(facets[4].tokens, middle + block.mlp(block.norm2(middle)), atol=1e-4)


def test_facets_that_do_not_fit_take_another_pass_and_give_the_same(monkeypatch):
    design, vit = pocket_design("animal", 2, TUNING), random_vit(DINO)
    seen: list[tuple[int, int]] = []
    at_once = gram_matrices(vit, design, [0, 2])
    monkeypatch.setattr("diffuseit.inspection.gram._MEMORY", 1)
    one_by_one = gram_matrices(vit, design, [0, 2], on_pictures=lambda *seen_of: seen.append(seen_of))
    assert at_once.keys() == one_by_one.keys()
    assert all(torch.equal(at_once[place].products, one_by_one[place].products) for place in at_once)
    assert seen == [(12 * number + part, 96) for number in range(8) for part in (8, 12)]
    monkeypatch.setattr("diffuseit.inspection.gram._MOST_MEMORY", 1)
    with pytest.raises(InputError, match="12 pictures of pocket animals have features of 0 GB"):
        gram_matrices(vit, design, [0])


def test_self_similarity_is_that_of_the_structure_loss():
    design, vit = pocket_design("landscape", 2, TUNING), random_vit(DINO)
    gram = next(
        gram for place, gram in gram_matrices(vit, design, [1]).items() if str(place) == "similarity:1"
    )
    pictures = torch.cat([design.picture(content, style) for content in range(2) for style in range(6)])
    flat = self_similarity(vit.facets(pictures, {1})[1].keys[:, 1:]).flatten(1).double()
    flat = flat - flat.mean(dim=0)
    assert torch.allclose(gram.products.reshape(12, 12), flat @ flat.mT, atol=1e-3)


def test_pictures_of_features_have_the_sizes_of_the_pictures_and_a_common_basis(pairs):
    Image.new("RGB", (90, 50), "red").save(pairs / "red.png")
    result = run(
        "picture", pairs / "night" / "scene0.png", pairs / "red.png", "--point", "0.5,0.9", "-o", "out"
    )
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("out").iterdir()} == {
        f"{name}-{kind}.png" for name in ("scene0", "red") for kind in ("pca", "similarity")
    }
    assert Image.open("out/scene0-pca.png").size == (64, 64)
    assert Image.open("out/red-similarity.png").size == (90, 50)
    assert Image.open("out/scene0-similarity.png").getpixel((32, 57)) == (255, 0, 0)


def test_folders_are_pictures_and_equal_names_stay_apart(pairs):
    assert run("picture", pairs / "night", "-o", "out").exit_code == 0
    assert len(list(Path("out").iterdir())) == 3
    save_picture(load_picture(pairs / "night" / "scene0.png"), pairs / "night" / "scene0.jpg")
    assert run("picture", pairs / "night", "-o", "both").exit_code == 0
    assert "scene0.jpg-pca.png" in {path.name for path in Path("both").iterdir()}
    assert "two images are named scene0.png" in refused("picture", pairs / "night", pairs / "winter")


@pytest.mark.parametrize("point", ["0.5", "a,b", "1.5,0", "nan,0", "0,0,0"])
def test_points_outside_are_refused_before_anything_is_written(pairs, point):
    assert "between 0 and 1" in refused("picture", pairs / "night", "--point", point, "-o", "out")
    assert not Path("out").exists()


def test_colors_are_the_principal_components_in_their_order():
    """Three directions of known variance, in two pictures of different sizes."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0][:3]
    amounts = torch.rand(100, 3, generator=generator) * torch.tensor([9.0, 3.0, 1.0])
    first, second = (amounts @ basis).split([60, 40])
    pictures, shares = principal_colors([first.view(6, 10, 8), second.view(8, 5, 8)])
    assert [tuple(one.shape) for one in pictures] == [(3, 6, 10), (3, 8, 5)]
    found = torch.cat([one.flatten(1) for one in pictures], dim=1)
    for color, amount, share, expected in zip(found, amounts.T, shares, (81, 9, 1), strict=True):
        assert abs(torch.corrcoef(torch.stack([color, amount]))[0, 1]) > 0.97
        assert float(color.min()) == -1 and float(color.max()) == 1
        assert share == pytest.approx(expected / 91, abs=0.05)


def test_features_that_do_not_vary_are_gray():
    pictures, shares = principal_colors([torch.full((3, 4, 6), 0.7), torch.full((2, 2, 6), 0.7)])
    assert not any(picture.any() for picture in pictures) and shares == [0, 0, 0]
    assert principal_colors([torch.tensor([[[1.0], [2.0]]])])[0][0].shape == (3, 1, 2)


def test_similarity_is_the_cosine_with_the_patch_at_the_point():
    features = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    found = point_similarity(features, (0.5, 1.0))
    expected = torch.nn.functional.cosine_similarity(features, features[2, 2], dim=-1)
    assert torch.allclose(found, expected, atol=1e-6) and found[2, 2] == pytest.approx(1)
    colors = similarity_colors([found, torch.ones(3, 5)], (0.5, 1.0))
    assert colors[0][:, 2, 2].tolist() == list(MARK)
    yellow = torch.tensor([0xFD, 0xE7, 0x25]) / 127.5 - 1
    assert torch.allclose(colors[1][:, 0, 0], yellow)
    assert not point_similarity(torch.zeros(3, 5, 7), (0, 0)).any()


def test_a_pocket_design_keeps_geometries_and_redraws_textures():
    design = pocket_design("landscape", 3, TUNING)
    assert torch.equal(design.picture(1, 2), design.picture(1, 2))
    assert not torch.equal(design.picture(1, 2), design.picture(2, 2))
    assert to_tensor(to_pil(design.picture(0, 0))).shape == (1, 3, *design.size)
