"""The words of the nodes: every language and every help page says what the nodes have, and nothing else."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffuseit.images.sheet import captioned, contact_sheet
from diffuseit.losses import SourceAnchorLoss, TextStyleLoss
from diffuseit.presets import default_loss
from tools import locales
from tools.help_pages import DOCS, LANGUAGES, pages
from tools.help_pictures.__main__ import PICTURES
from tools.help_pictures.settings import TEXT, Setting, changed
from tools.locales import LOCALES, english, problems, read
from tools.schemas import node_schemas

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def schemas():
    """What the nodes say of themselves."""
    return node_schemas()


def test_locales_and_help_pages_are_complete(schemas):
    assert problems(schemas) == [], "run: python -m tools.locales"


def test_no_node_is_without_a_tooltip(schemas):
    for schema in schemas.values():
        assert [slot.id for slot in schema.inputs + schema.outputs if not slot.tooltip] == [], schema.node_id


def test_missing_and_stale_keys_are_found(schemas):
    name = "DiffuseITSampler"
    sampler = schemas[name]
    renamed = replace(sampler.inputs[3], id="chance")
    changed = {**schemas, name: replace(sampler, inputs=[*sampler.inputs[:3], renamed, *sampler.inputs[4:]])}
    found = problems(changed)
    assert f"locales/ko: {name}.inputs.chance.tooltip is missing" in found
    assert f"locales/zh: {name}.inputs.seed.name is stale: no node has it" in found
    assert "locales/en/nodeDefs.json is stale" in found
    assert f"web/docs/{name}/en.md is stale" in found


def test_a_node_without_help_is_found(schemas):
    other = "DiffuseITOther"
    words = {language: read(language) for language in LANGUAGES}
    schema = replace(schemas["DiffuseITRangeLoss"], node_id=other)
    words = {language: {other: english({other: schema})[other]} for language in words}
    assert pages({other: schema}, words)[DOCS / other / "en.md"] is None


def test_no_words_for_what_is_gone(schemas):
    assert {path.name for path in DOCS.iterdir()} == set(schemas)
    assert {path.name for path in LOCALES.iterdir()} == set(LANGUAGES)
    for folder in DOCS.iterdir():
        pictures = {path.name for path in folder.iterdir() if path.suffix != ".md"}
        pages_of_it = [path for path in folder.iterdir() if path.suffix == ".md"]
        assert {path.stem for path in pages_of_it} == set(LANGUAGES)
        for page in pages_of_it:
            shown = re.findall(r"!\[.*?\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
            assert set(shown) == {f"{folder.name}/{name}" for name in pictures}, page


def test_help_lies_where_the_front_end_asks_for_it():
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py")
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    assert (ROOT / pack.WEB_DIRECTORY / "docs").resolve() == DOCS


def test_pictures_stay_small():
    assert all(path.stat().st_size < 60_000 for path in DOCS.rglob("*.png"))


def test_every_help_picture_has_its_recipe():
    drawn = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.png")}
    assert drawn == set(PICTURES)


def test_every_node_shows_what_one_of_its_inputs_does(schemas):
    # no picture depends on how files are got and kept
    undrawn = {
        "DiffuseITDownloadModels",
        "DiffuseITLoadFlow",
        "DiffuseITLoadModels",
        "DiffuseITLoadPocketLatent",
        "DiffuseITSavePreset",
    }
    assert {name.split("/")[0] for name in PICTURES} == set(schemas) - undrawn
    for name in PICTURES:
        node, shown = name.split("/")
        assert shown in {slot.id for slot in schemas[node].inputs}, name


def test_pictures_call_default_what_the_node_starts_with(schemas):
    settings = {name: draw for name, draw in PICTURES.items() if isinstance(draw, Setting)}
    assert settings
    for name, setting in settings.items():
        node, shown = name.split("/")
        (slot,) = (slot for slot in schemas[node].inputs if slot.id == shown)
        assert setting.default == slot.default, name


def test_a_loss_that_the_preset_lacks_is_added_for_its_picture():
    anchor = default_loss(SourceAnchorLoss)
    assert changed(TEXT, SourceAnchorLoss, {"weight": 7.0}).losses == (
        *TEXT.losses,
        replace(anchor, weight=7.0),
    )
    kinds = [type(loss) for loss in changed(TEXT, TextStyleLoss, {"weight": 7.0}).losses]
    assert kinds == [type(loss) for loss in TEXT.losses]


def test_captioned_pictures_stand_in_rows():
    tiles = {str(level): torch.full((1, 3, 8, 8), level) for level in (-1.0, 0.0, 1.0)}
    sheet = captioned(tiles, per_row=2, scale=4)
    row = contact_sheet({"a": tiles["0.0"]}, scale=4).height
    assert sheet.height == 2 * row
    middles = [sheet.getpixel((x, y)) for y in (row - 20, 2 * row - 20) for x in (20, 58)]
    assert middles == [(0, 0, 0), (128, 128, 128), (255, 255, 255), (255, 255, 255)]


def test_reworded_english_is_told(tmp_path, monkeypatch, schemas):
    monkeypatch.setattr(locales, "LOCALES", tmp_path)
    assert locales.write({}) == []
    loss = schemas["DiffuseITRangeLoss"]
    assert locales.write({loss.node_id: loss}) == []
    changed = {loss.node_id: replace(loss, description="Other words.")}
    assert locales.write(changed) == ["DiffuseITRangeLoss.description"]


def test_settings_are_named_in_every_language():
    text = (ROOT / "web" / "js" / "shared" / "settings.js").read_text(encoding="utf-8")
    ids = {found.replace(".", "_") for found in re.findall(r"\"(DiffuseIT\.[\w.]+)\"", text)}
    for language in set(LANGUAGES) - {"en"}:
        assert set(read(language, "settings")) == ids
