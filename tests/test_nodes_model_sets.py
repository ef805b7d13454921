"""Sets of networks by name: what a person is told if files are missing, without a ComfyUI."""

import pytest
from nodes_alone import import_node_module

from diffuseit.models.hub.catalog import bundles, catalog, members
from tools import fake_comfyui


@pytest.fixture
def sets(monkeypatch, tmp_path):
    fakes = fake_comfyui.modules(tmp_path)
    import_node_module(monkeypatch, "comfy.folders", fakes).register()
    (tmp_path / "models" / "diffuseit").mkdir(parents=True)
    return import_node_module(monkeypatch, "model_sets", fakes)


def put(folder, *names):
    for name in names:
        entry = catalog()[name]
        (folder / "models" / "diffuseit" / entry.file).write_bytes(b"x")
        for file in entry.tokenizer:
            (folder / "models" / "diffuseit" / entry.tokenizer_folder).mkdir(exist_ok=True)
            (folder / "models" / "diffuseit" / entry.tokenizer_folder / file).write_bytes(b"x")


def test_every_bundle_is_a_set(sets):
    assert ("pocket", *bundles()) == sets.SETS
    assert sets.files_of("pocket") == sets.SetFiles("pocket", "pocket", ("pocket",))


def test_what_is_missing_is_told_in_one_line(sets, tmp_path):
    with pytest.raises(
        ValueError, match=r"^the set paper lacks adm256-uncond, dino-b8, and 5 more: "
    ) as told:
        sets.files_of("paper")
    assert "download the bundle paper in the DiffuseIT sidebar, under Models (6.0 GB)" in str(told.value)
    assert "\n" not in str(told.value)
    put(tmp_path, *(entry.name for entry in members("light") if entry.kind != "vit"))
    with pytest.raises(ValueError, match=r"^the set light lacks dino-s16: .* \(87 MB\)$"):
        sets.files_of("light")
    put(tmp_path, "dino-s16")
    files = sets.files_of("light")
    assert (files.ddpm, files.vit, *files.clip) == tuple(entry.file for entry in members("light"))


def test_what_has_no_address_is_told_too(sets, tmp_path):
    put(tmp_path, *(entry.name for entry in members("paper-faces") if not entry.manual))
    with pytest.raises(ValueError, match=r"^the set paper-faces lacks ffhq-10m: get ffhq-10m by hand: open"):
        sets.files_of("paper-faces")


def test_each_set_has_presets_for_its_networks(sets):
    for kind in ("text", "image"):
        assert sets.preset_of("pocket", kind).name == f"best-{kind}"
        for name in bundles():
            assert sets.preset_of(name, kind).name == f"official-{kind}"
