"""What an installation beside ComfyUI relies on."""

import importlib.util
import json
import re
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pathspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NPM = "https://registry.npmjs.org/"


def needed() -> list[str]:
    """The lines of requirements.txt that ask for something."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_requirements_leave_alone_what_comfyui_owns():
    assert not {re.split(r"[^\w-]", line)[0] for line in needed()} & {
        "torch",
        "torchvision",
        "torchaudio",
        "numpy",
    }
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'    "{line}",\n' in project for line in needed()), "pyproject.toml says otherwise"


ALLOWED = re.compile(
    r"(MIT(-CMU)?|BSD(-[23]-Clause|[ -]3-Clause)?|0BSD|Apache(-2\.0| 2\.0| Software)?|ISC|HPND|Zlib|Unlicense|CC0-1\.0"
    r"|PSF-2\.0|Python Software Foundation|CNRI-Python|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|Public Domain)"
    r"( License)?( \(ISCL\))?"
)
"""Licenses that let anybody use, change and sell what they cover beside our MIT."""

OWNED_BY_COMFYUI = {"torch", "torchvision", "torchaudio"}
"""Not followed: what lies beneath them is their distributors' affair."""


def runtime_distributions():
    """What requirements.txt and pyproject.toml bring, with all that it brings."""
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"(?ms)^dependencies = \[$(.*?)^\]$", project)
    wanted = [Requirement(line) for line in [*re.findall('"(.*)"', listed[1]), *needed()]]
    found: dict[str, Distribution] = {}
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        environments = [{"extra": extra} for extra in (*requirement.extras, "")]
        if name in found or not any(
            requirement.marker is None or requirement.marker.evaluate(e) for e in environments
        ):
            continue
        found[name] = distribution(name)
        if name not in OWNED_BY_COMFYUI:
            wanted += [Requirement(line) for line in found[name].requires or ()]
    return found


def licenses(found: Distribution) -> list[str]:
    """All that a distribution says of its license, name by name."""
    said = [found.metadata.get("License-Expression") or ""]
    if not said[0]:
        classifiers = found.metadata.get_all("Classifier") or []
        said = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    if not said or said == ["OSI Approved"]:
        said = [(found.metadata.get("License") or "").strip()]
    return [name for line in said for name in re.split(r" AND | OR |, ", line)]


def test_what_a_user_installs_has_a_license_that_lets_them():
    """The GPL of a dependency would bind our users, who chose the MIT license."""
    found = runtime_distributions()
    assert {"timm", "open-clip-torch", "pillow", "rich", "urllib3"} <= found.keys()
    assert "color-matcher" not in found
    strange = {
        name: licenses(one)
        for name, one in found.items()
        if not all(ALLOWED.fullmatch(license) for license in licenses(one))
    }
    assert not strange


def test_a_license_that_binds_is_noticed():
    for name in (
        "GNU GPL V3.0",
        "GPL-3.0-or-later",
        "LGPL-2.1",
        "AGPL-3.0",
        "CC-BY-NC-4.0",
        "",
        "UNKNOWN",
        "Proprietary",
    ):
        assert not ALLOWED.fullmatch(name)
    assert licenses(distribution("color-matcher")) == ["GNU GPL V3.0"]


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
