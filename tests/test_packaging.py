"""What an installation beside ComfyUI relies on."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pathspec
import pytest

ROOT = Path(__file__).parents[1]
NPM = "https://registry.npmjs.org/"


def test_requirements_leave_alone_what_comfyui_owns():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    needed = [line for line in lines if line and not line.startswith("#")]
    assert not {re.split(r"[^\w-]", line)[0] for line in needed} & {
        "torch",
        "torchvision",
        "torchaudio",
        "numpy",
    }
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'    "{line}",\n' in project for line in needed), "pyproject.toml says otherwise"


def test_the_lock_names_public_addresses_only():
    addresses = re.findall(r'(?:url|registry|path|find-links) = "([^"]*)"', (ROOT / "uv.lock").read_text())
    assert {address.split("/")[2] for address in addresses} == {"pypi.org", "files.pythonhosted.org"}


def test_the_folder_imports_under_any_name_and_imports_nothing():
    name = "any-name with.dots_x_"
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    spec.loader.exec_module(module)
    assert set(sys.modules) == before
    assert callable(module.comfy_entrypoint)
    assert (ROOT / module.WEB_DIRECTORY).is_dir()


@pytest.fixture
def ignored():
    """What the registry does not hand out."""
    return pathspec.GitIgnoreSpec.from_lines((ROOT / ".comfyignore").read_text().splitlines())


def test_the_registry_hands_out_what_the_front_end_reads(ignored):
    served = [
        path.relative_to(ROOT).as_posix() for room in ("web", "locales") for path in (ROOT / room).rglob("*")
    ]
    assert not [path for path in served if ignored.match_file(path)]
    assert ignored.match_file("docs/contact_sheet.png")


def test_the_tools_of_developers_are_not_handed_out(ignored):
    tools = ("package.json", "package-lock.json", "tsconfig.json", "eslint.config.js", "tools/comfyui.d.ts")
    assert all((ROOT / name).is_file() for name in tools)
    assert all(ignored.match_file(name) for name in (*tools, "node_modules/eslint/package.json"))


def test_what_npm_installs_is_pinned_and_public():
    lock = json.loads((ROOT / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages and all(package["integrity"].startswith("sha512-") for package in packages)
    assert {package.get("resolved", NPM).split("/")[2] for package in packages} == {NPM.split("/")[2]}
    assert all(package["dev"] for package in packages)
