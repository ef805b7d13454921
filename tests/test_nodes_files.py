"""The folder of models and the user's files, with odd things in them, without a ComfyUI."""

import os

import pytest
from nodes_alone import import_node_module

from tools import fake_comfyui

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folders(monkeypatch, tmp_path):
    module = import_node_module(monkeypatch, "comfy.folders", fake_comfyui.modules(tmp_path))
    module.register()
    (tmp_path / "models" / "diffuseit").mkdir(parents=True)
    return module


@pytest.fixture
def user_files(monkeypatch, tmp_path):
    (tmp_path / "user" / "default").mkdir(parents=True)
    return import_node_module(monkeypatch, "comfy.user_files", fake_comfyui.modules(tmp_path))


def test_a_model_is_a_file_that_is_there(folders, tmp_path):
    folder = tmp_path / "models" / "diffuseit"
    (folder / "here.pt").write_bytes(b"x")
    (folder / "linked.pt").symlink_to(folder / "here.pt")
    (folder / "gone.pt").symlink_to("/mnt/usb/unplugged/gone.pt")
    (folder / "circle.pt").symlink_to(folder / "circle.pt")
    (folder / "folder.pt").mkdir()
    (folder / ".unfinished.pt").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    os.mkfifo(folder / "pipe.pt")
    assert folders.model_paths() == {name: folder / name for name in ("here.pt", "linked.pt")}
    with pytest.raises(ValueError, match=r"'gone.pt' is not in models/diffuseit: press R"):
        folders.model_path("gone.pt")


SETTINGS = {
    "set": ('{"Pause": 300}', 300),
    "set to a fraction": ('{"Pause": 0.5}', 0.5),
    "below": ('{"Pause": -5}', 150),
    "above": ('{"Pause": 1e9}', 150),
    "not set": ("{}", 150),
    "a text": ('{"Pause": "150"}', 150),
    "null": ('{"Pause": null}', 150),
    "yes": ('{"Pause": true}', 150),
    "a list": ('{"Pause": [1]}', 150),
    "not a number": ('{"Pause": NaN}', 150),
    "endless": ('{"Pause": 1e400}', 150),
    "of many digits": ('{"Pause": 1' + "0" * 400 + "}", 150),
    "of too many digits": ('{"Pause": 1' + "0" * 5000 + "}", 150),
    "file is a list": ("[]", 150),
    "file is null": ("null", 150),
    "file is a text": ('"x"', 150),
    "file is empty": ("", 150),
    "file is deep": (DEEP, 150),
    "file is no text": (b"\xff\xfe\x00", 150),
    "file is large": ('{"Pause": 300, "x": "' + "x" * 10**6 + '"}', 150),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_is_what_the_user_chose_or_the_default(user_files, case):
    content, expected = SETTINGS[case]
    path = user_files.user_file("comfy.settings.json")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert user_files.number_setting("Pause", 150, 0, 1000) == expected


def test_settings_that_are_no_file_keep_nobody_waiting(user_files):
    path = user_files.user_file("comfy.settings.json")
    assert user_files.number_setting("Pause", 150, 0, 1000) == 150
    os.mkfifo(path)
    assert user_files.number_setting("Pause", 150, 0, 1000) == 150
    path.unlink()
    path.mkdir()
    assert user_files.number_setting("Pause", 150, 0, 1000) == 150
