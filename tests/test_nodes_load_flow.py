"""DiffuseIT Load Flow: the folders that it lists and opens, without a ComfyUI."""

from pathlib import Path

import pytest
import torch
from flow_files import save_both_ways, save_flo, save_vectors
from nodes_alone import import_node_module

from tools import fake_comfyui


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A ComfyUI's folder, with flow of three images of 6x4 pixels in input/walk."""
    (tmp_path / "input").mkdir()
    forward = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 2, 4, 6) + 1
    save_both_ways(tmp_path / "input" / "walk", forward, -forward)
    return tmp_path


@pytest.fixture
def node(base: Path, monkeypatch: pytest.MonkeyPatch):
    return import_node_module(monkeypatch, "load_flow", fake_comfyui.modules(base)).LoadFlow


def test_flow_comes_as_images(node):
    forward, backward = node.execute(folder="walk").args
    assert forward.shape == backward.shape == (2, 4, 6, 3)
    assert forward[:, 0, 0].tolist() == [[1, 1, 0], [2, 2, 0]]
    assert torch.equal(backward, -forward)


def test_the_menu_has_the_folders_with_flow(base, node):
    (base / "input" / "photos").mkdir()
    (base / "input" / "shots" / "one").mkdir(parents=True)
    save_vectors(base / "input" / "shots" / "one" / "1.exr", *torch.zeros(2, 2, 4, 6))
    save_flo(base / "input" / "loose.flo", torch.zeros(2, 4, 6))
    (folder,) = node.define_schema().inputs
    assert folder.options == ["shots/one", "walk"]


def test_folders_outside_the_input_folder_are_refused(base, node):
    save_both_ways(base / "secret", *torch.zeros(2, 1, 2, 4, 6))
    (base / "input" / "link").symlink_to(base / "secret")
    for name in ("../secret", str(base / "secret"), "link", "", ".", "nowhere", "walk\0"):
        assert "is no folder in ComfyUI's input folder" in node.validate_inputs(folder=name)
    assert node.validate_inputs(folder="walk") is True


def test_a_changed_file_is_read_again(base, node):
    before = node.fingerprint_inputs(folder="walk")
    assert node.fingerprint_inputs(folder="walk") == before
    save_flo(base / "input" / "walk" / "forward" / "flow8.flo", torch.full((2, 4, 6), 9.0))
    assert node.fingerprint_inputs(folder="walk") != before
