"""`diffuseit benchmark flexit`, `folders` and `pie`: parts, resumption, other methods' results, and bad input."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from protocol_data import save, scenes, write_classes, write_flexit, write_pie
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import InputError, ModelError
from diffuseit.evaluation.protocols import flexit as flexit_module
from diffuseit.evaluation.protocols.base import Item, check_name
from diffuseit.evaluation.protocols.flexit import SPLIT, STATISTICS, read_split, read_statistics
from diffuseit.evaluation.protocols.folders import Folders
from diffuseit.evaluation.protocols.pie import IMAGES, MAPPING
from diffuseit.evaluation.witnesses import Witnesses
from diffuseit.files.checksum import sha256_of
from diffuseit.models.hub.catalog import entry_named
from diffuseit.pocket.models import pocket_judge
from diffuseit.preset_files import write_preset
from diffuseit.presets import PRESETS
from diffuseit.shards import Shard

POCKET = ("--networks", "pocket")


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(tmp_path / "no-models"))
    return tmp_path


@pytest.fixture
def classes(work):
    return write_classes("classes", ("winter", "night"), 4)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["benchmark", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def report(folder="output/folders"):
    return json.loads(Path(folder, "benchmark.json").read_text(encoding="utf-8"))


def figures(row, folder="output/folders"):
    return next(each for each in report(folder)["rows"] if each["name"] == row)["figures"]


def folders(*arguments, code=0):
    return run("folders", "--classes", "classes", "--each", 2, *POCKET, *arguments, code=code)


# --- the list and its parts


@given(st.integers(0, 50), st.integers(1, 12))
def test_parts_are_disjoint_and_complete(count, of):
    items = [Item(str(number), Path(), "", "", 0) for number in range(count)]
    parts = [Shard(number, of).part(items) for number in range(1, of + 1)]
    assert sorted((item for part in parts for item in part), key=items.index) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "a/b", "-1/3", "1/2/3"])
def test_a_shard_is_a_part_and_their_number(text):
    with pytest.raises(InputError, match="such as 3/16"):
        Shard.parse(text)


@pytest.mark.parametrize(
    "name", ["../up", "/root", "a//b", "a/../b", "", ".hidden", "a\nb", "x" * 600, "C:\\x", "a/."]
)
def test_names_from_files_lead_nowhere_else(name):
    with pytest.raises(InputError):
        check_name(name, "here")


def test_the_list_of_folders_is_every_class_to_every_other_and_its_hash_is_printed(classes):
    result = folders()
    assert "4 requests" in result.stdout and report()["list_sha256"] in result.stdout
    before = report()["list_sha256"]
    save(scenes(0, 1)[0], "classes/night/3.png")
    result = folders("-o", "other")
    assert report("other")["list_sha256"] != before
    result = folders(code=2)
    assert "holds the figures of" in result.stderr


def test_parts_together_are_the_whole(classes, monkeypatch):
    folders("-o", "whole")
    for number in (1, 2, 3):
        result = folders("--shard", f"{number}/3", "-o", "parts")
        assert f"Part {number} of 3" in result.stdout and not Path("parts/benchmark.json").exists()
    monkeypatch.setattr(Folders, "measure", lambda *_: pytest.fail("measured again"))
    folders("-o", "parts")
    assert report("parts")["rows"] == report("whole")["rows"]


def test_damaged_and_changed_rows_are_measured_again(classes):
    folders()
    before = figures("copy")
    path = Path("output/folders/rows/copy.jsonl")
    lines = path.read_text(encoding="utf-8").replace('"structure": 0.0', '"structure": 9.0', 1).splitlines()
    path.write_text("\n".join([*lines[:4], lines[5][:50], "[1]", "{}"]), encoding="utf-8")
    folders()
    assert figures("copy")["csfid"] == pytest.approx(before["csfid"])


# --- rows


def test_results_of_another_method_become_a_row(classes):
    truth = {name: Path("classes", name, "3.png") for name in ("winter", "night")}
    for source, target in (("winter", "night"), ("night", "winter")):
        for number in range(2):
            save_copy(truth[target], f"theirs/{source}/{target}/{number}.png")
    save_copy(truth["night"], "theirs/night/night/7.png")
    result = folders("--results", "theirs")
    assert "1 image belongs to no request: night/night/7.png" in result.stderr
    assert figures("theirs")["csfid"] < figures("copy")["csfid"]
    assert figures("copy")["structure"] == 0 < figures("theirs")["structure"]
    lines = list(csv.reader(Path("output/folders/benchmark.csv").read_text(encoding="utf-8").splitlines()))
    assert lines[0][:2] == ["row", "request"] and len(lines) == 1 + 3 * 8 // 2


def save_copy(path, target):
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Image.open(path).save(target)


def test_requests_without_a_result_are_named_and_the_row_is_not_complete(classes):
    save_copy("classes/night/3.png", "theirs/winter/night/0.png")
    result = folders("--results", "theirs", code=1)
    assert (
        "theirs: 3 of 4 requests have no result: night/winter/0, night/winter/1, winter/night/1"
        in result.stderr
    )
    assert "theirs is not complete" in result.stderr
    assert "2 results are needed, and there is 1" in result.stderr and "csfid" not in figures("theirs")
    row = next(row for row in report()["rows"] if row["name"] == "theirs")
    assert (row["measured"], row["complete"]) == (1, False)


def test_a_result_that_cannot_be_read_is_named_and_the_others_count(classes):
    for source, target in (("winter", "night"), ("night", "winter")):
        for number in range(2):
            save_copy("classes/night/3.png", f"theirs/{source}/{target}/{number}.png")
    Path("theirs/winter/night/1.png").write_bytes(b"no picture")
    result = folders("--results", "theirs", code=1)
    assert "theirs: winter/night/1 was not measured" in result.stderr
    assert figures("theirs")["csfid"] > 0


def test_our_own_translations_become_a_row_and_are_not_made_again(classes):
    sampler = replace(PRESETS["fast-text"].sampler, steps=3, skip=1, resample=1)
    write_preset(replace(PRESETS["fast-text"], name="quick", sampler=sampler), Path())
    arguments = ("--preset", "quick.json", "--models", "pocket", "--prompt", "{} landscape")
    folders("--shard", "1/2", *arguments)
    made = sorted(Path("output/folders/pocket-quick").rglob("*.png"))
    assert len(made) == 2
    before = {path: path.stat().st_mtime_ns for path in made}
    folders(*arguments)
    assert figures("pocket-quick")["structure"] > 0
    assert {path: path.stat().st_mtime_ns for path in made} == before
    recipe = CliRunner().invoke(
        app, ["translate", "--again", str(made[0]), "classes/night/0.png", "-o", "again.png"]
    )
    assert recipe.exit_code == 0, recipe.output
    write_preset(replace(PRESETS["fast-text"], name="quick"), Path(), overwrite=True)
    assert "was made with other settings" in folders(*arguments, code=2).stderr


# --- FlexIT


def flexit_data():
    return write_flexit(".", pocket_judge().features, classes=2, pictures=4)


def test_flexit_runs_on_its_own_layout(work):
    flexit_data()
    command = ("flexit", "--imagenet", "imagenet", "--flexit", "flexit", *POCKET)
    result = run(*command)
    assert "is not the published list" in result.stderr and "stand-ins" in result.stderr
    assert report("output/flexit")["exact"] is False
    assert figures("copy", "output/flexit")["accuracy_normalized"] == 0
    assert figures("retrieve", "output/flexit")["csfid"] < figures("copy", "output/flexit")["csfid"]
    assert "106.0" in result.stdout and "27.2" in result.stdout


def test_the_published_files_are_recognized(work, monkeypatch):
    flexit_data()
    monkeypatch.setattr(flexit_module, "SPLIT_SHA256", sha256_of("flexit" / SPLIT))
    monkeypatch.setattr(flexit_module, "STATISTICS_BLOB", flexit_module.git_blob("flexit" / STATISTICS))
    found = flexit_module.load_flexit(Path("imagenet"), Path("flexit"), Witnesses("standard"))
    assert found.exact and not found.notes
    assert not flexit_module.load_flexit(
        Path("imagenet"), Path("flexit"), Witnesses("standard"), part="dev"
    ).exact


def test_gits_checksum_is_gits(tmp_path):
    (tmp_path / "file").write_bytes(b"what is up, doc?")
    assert flexit_module.git_blob(tmp_path / "file") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_pictures_in_one_folder_are_found_too(work):
    flexit_data()
    for path in sorted(Path("imagenet").rglob("*.png")):
        path.rename(Path("imagenet", path.name))
    for folder in ("n0", "n1"):
        Path("imagenet", folder).rmdir()
    found = flexit_module.load_flexit(Path("imagenet"), Path("flexit"), Witnesses("standard"))
    assert set(found.references) == {"copy"}


def test_flexits_files_are_never_fetched_but_asked_for(work):
    Path("imagenet").mkdir()
    Path("flexit").mkdir()
    result = run("flexit", "--imagenet", "imagenet", "--flexit", "flexit", *POCKET, code=2)
    assert "run `git clone https://github.com/facebookresearch/SemanticImageTranslation`" in result.stderr


def test_missing_pictures_are_named(work):
    flexit_data()
    Path("imagenet/n0/val_0_2.png").unlink()
    result = run("flexit", "--imagenet", "imagenet", "--flexit", "flexit", *POCKET, code=2)
    assert "1 of the 4 pictures of the list are not in imagenet: val_0_2.png" in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n0/val_0_0.png", "../../secret.png", "is no name of a picture"),
        (",is_test", ",is_it", "is no list of FlexIT's requests"),
        ("True", "perhaps", "must be True or False"),
        ("\n1,", "\n0,", "number of an earlier request"),
        ("\n100,", "\nx,", "which is no number"),
    ],
)
def test_a_bad_list_is_refused_with_the_line(work, old, new, said):
    flexit_data()
    path = "flexit" / SPLIT
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_split(path)


def test_statistics_that_cannot_be_used_are_refused_and_run_nothing(work):
    flexit_data()
    with pytest.raises(ModelError, match="has no statistics classwise/999/mean"):
        read_statistics("flexit" / STATISTICS, {999})
    torch.save({"mean": [1, 2]}, "list.pt")
    with pytest.raises(ModelError, match="holds no tensors"):
        read_statistics(Path("list.pt"), {1})

    class Program:
        def __reduce__(self):
            return Path("ran").touch, ()

    torch.save({"mean": torch.zeros(3), "classwise": {1: Program()}}, "program.pt")
    with pytest.raises(ModelError):
        read_statistics(Path("program.pt"), {1})
    assert not Path("ran").exists()
    Path("text.pt").write_text("hello", encoding="utf-8")
    with pytest.raises(ModelError):
        read_statistics(Path("text.pt"), {1})


# --- PIE-Bench


def test_pie_runs_on_its_own_layout(work):
    write_pie("pie", kinds=(4,))
    save(scenes(1, 1)[0], "outputs/theirs/annotation_images/4_kind/1_artificial/000000000000.jpg", (400, 400))
    result = run("pie", "--data", "pie", *POCKET, "--results", "outputs/theirs")
    assert "theirs: the result was resized from 400x400 to 512x512" in result.stderr
    assert "PIE-Bench has 700 requests, and these are 1" in result.stderr
    assert figures("theirs", "output/pie")["structure"] > figures("copy", "output/pie")["structure"]
    rows = report("output/pie")["rows"]
    assert all(list(row["groups"]) == ["change content"] for row in rows)
    assert "11.65" in result.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_path": "../x.png"}, "is no name of a picture"),
        ({"editing_type_id": "10"}, "editing_type_id"),
        ({"mask": [1]}, "mask must be"),
        ({"mask": [1, 10**9]}, "mask must be"),
        ({"mask": [True, 1]}, "mask must be"),
        ({"editing_prompt": 5}, "editing_prompt must be a text"),
        ({"image_path": "gone.png"}, "1 of the 1 pictures of the mapping are not in"),
    ],
)
def test_a_bad_mapping_is_refused_with_the_entry(work, change, said):
    write_pie("pie", kinds=(9,))
    path = Path("pie", MAPPING)
    mapping = json.loads(path.read_text(encoding="utf-8"))
    mapping["000000000000"].update(change)
    path.write_text(json.dumps(mapping), encoding="utf-8")
    assert said in run("pie", "--data", "pie", *POCKET, code=2).stderr


def test_pictures_of_another_size_than_their_mask_are_named(work):
    write_pie("pie", kinds=(9,))
    path = next(Path("pie", IMAGES).rglob("*.png"))
    Image.open(path).resize((300, 300)).save(path)
    assert "is not 512x512 pixels, as its mask is" in run("pie", "--data", "pie", *POCKET, code=1).stderr


# --- bad input


@pytest.mark.parametrize("command", ["flexit", "folders", "pie"])
def test_missing_networks_are_one_line_with_the_command(work, command):
    Path("data").mkdir()
    data = {
        "flexit": ("--imagenet", "data", "--flexit", "data"),
        "folders": ("--classes", "data"),
        "pie": ("--data", "data"),
    }
    result = run(command, *data[command], code=2)
    assert len(result.stderr.strip().splitlines()) == 1
    assert "run `diffuseit models download " in result.stderr
    wanted = result.stderr.partition("download ")[2].partition("`")[0].split()
    assert all(entry_named(name) for name in wanted)


def test_folders_that_cannot_be_a_list_are_refused(work):
    write_classes("classes", ("winter", "night"), 3)
    assert "the class night has 3 images, and 4 are needed" in folders(code=2).stderr
    Path("classes/winter").rename("winter")
    assert "classes has 1 folders" in folders(code=2).stderr
    Path("classes/empty").mkdir()
    assert "There are no images in classes/empty" in folders(code=2).stderr


def test_results_that_do_not_pair_are_refused_with_the_names(classes):
    save_copy("classes/night/3.png", "theirs/wrong.png")
    result = folders("--results", "theirs", code=2)
    assert (
        "results are named like night/winter/0.png" in result.stderr and "such as wrong.png" in result.stderr
    )
    save_copy("classes/night/3.png", "twice/night/winter/0.png")
    save_copy("classes/night/3.png", "twice/night/winter/0.jpg")
    assert "may be the result of the same request" in folders("--results", "twice", code=2).stderr
    Path("empty").mkdir()
    assert "there are 0 images" in folders("--results", "empty", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shard", "9/3"), "such as 3/16"),
        (("--results", "nowhere"), "nowhere is no folder"),
        (("--prompt", "a photo"), "where the class goes"),
        (("--seed", "-1"), "--seed"),
        (("--preset", "official-image", "--models", "pocket"), "official-image"),
    ],
)
def test_bad_options_are_one_line(classes, arguments, said):
    result = folders(*arguments, code=2)
    assert said in result.stderr and len(result.stderr.strip().splitlines()) <= 2
