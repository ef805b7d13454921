"""The latent pocket models as files for ComfyUI's own loaders: copied whole, over nothing."""

import os

import pytest
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import ModelError
from diffuseit.pocket import files
from diffuseit.pocket.files import FILES, FLUX, TAESD, copy_files

PLACES = (
    "diffusion_models/diffuseit_pocket_flux.safetensors",
    "vae/diffuseit_pocket_taesd.safetensors",
)


def run(*arguments):
    return CliRunner().invoke(app, ["models", "pocket-files", *map(str, arguments)])


def there(folder):
    """What lies in the folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def folders(root):
    return {file.folder: root / file.folder for file in FILES}


def test_the_command_copies_them_whole_and_leaves_copies_alone(tmp_path):
    wanted = dict(zip(PLACES, (file.source.read_bytes() for file in (FLUX, TAESD)), strict=True))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "other.safetensors").write_bytes(b"other")
    first = run(tmp_path)
    assert first.exit_code == 0, first.output
    assert there(tmp_path) == wanted | {"vae/other.safetensors": b"other"}
    for name in PLACES:
        os.utime(tmp_path / name, (1, 1))
        assert str(tmp_path / name) in first.stdout
    assert run(tmp_path).exit_code == 0
    assert {(tmp_path / name).stat().st_mtime for name in PLACES} == {1}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("kind", ["other bytes", "same size", "folder", "broken link"])
def test_another_file_of_that_name_stays_and_nothing_is_copied(tmp_path, name, kind):
    target = tmp_path / name
    target.parent.mkdir()
    if kind == "folder":
        target.mkdir()
    elif kind == "broken link":
        target.symlink_to(tmp_path / "unplugged")
    else:
        size = dict(zip(PLACES, FILES, strict=True))[name].source.stat().st_size
        target.write_bytes(b"x" * (size if kind == "same size" else 3))
    before = there(tmp_path)
    result = run(tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {target} is another file: rename it, and try again\n"
    assert there(tmp_path) == before
    assert not (tmp_path / "unplugged").exists()


def test_a_folder_that_cannot_be_had_is_one_line(tmp_path):
    (tmp_path / "vae").write_bytes(b"no folder")
    with pytest.raises(ModelError, match=r"^(cannot write in .*vae|.*vae.* cannot be read): [^\n]+$"):
        copy_files(folders(tmp_path))


def test_the_command_makes_no_folder_of_a_mistyped_name(tmp_path):
    result = run(tmp_path / "modles")
    assert result.exit_code == 2
    assert "modles is no folder: name the folder 'models' of a ComfyUI" in result.stderr
    assert not there(tmp_path)


def test_a_copy_that_ends_early_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        target.write_bytes(source.read_bytes()[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.shutil, "copyfile", full)
    with pytest.raises(ModelError, match=r"cannot write in .*diffusion_models: No space left on device"):
        copy_files(folders(tmp_path))
    assert there(tmp_path) == {}


@pytest.mark.parametrize("same", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch, same):
    copy = files.shutil.copyfile

    def late(source, target):
        copy(source, target)
        name = FLUX.name if target.parent.name == FLUX.folder else TAESD.name
        (target.parent / name).write_bytes(source.read_bytes() if same else b"somebody else's")

    monkeypatch.setattr(files.shutil, "copyfile", late)
    if same:
        assert [path.name for path in copy_files(folders(tmp_path))] == [FLUX.name, TAESD.name]
        return
    with pytest.raises(ModelError, match="is another file"):
        copy_files(folders(tmp_path))
    assert there(tmp_path) == {PLACES[0]: b"somebody else's"}
