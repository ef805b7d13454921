"""CONTRIBUTING's lists of files are true: a loss and a method are added in a copy, by those files alone."""

import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

LOSS = '''"""A loss that pulls to gray."""

from dataclasses import dataclass
from typing import ClassVar

from .base import Context, Label, Labels, Loss, Term, weight_field


@dataclass(frozen=True, kw_only=True)
class GrayLoss(Loss):
    """Pulls pixels to gray."""

    labels: ClassVar[Labels] = {"gray": Label("gray", "#808080")}

    weight: float = weight_field(3.0)

    def terms(self, source, inputs, features_of):
        def value(context: Context):
            return context.features.square().mean(dim=(1, 2, 3))

        return [Term("gray", self.weight, value, view="pred_xstart")]
'''

NODE = '''class GrayLossNode(io.ComfyNode):
    """`GrayLoss`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITGrayLoss",
            display_name="DiffuseIT Gray Loss",
            category=MENU,
            description="Pulls pixels to gray.",
            inputs=[weight_input("weight", default_loss(GrayLoss).weight, "Up: grayer."), *common_inputs()],
            outputs=losses_output(),
            hidden=own_id(),
            not_idempotent=True,
        )


'''

METHOD = '''"""A method that ignores the gradient."""

from dataclasses import dataclass

from .base import Method, Move


@dataclass(frozen=True, kw_only=True)
class Idle(Method):
    """Takes the mean of every step."""

    def step(self, state, gradient, inner):
        return Move(state.prediction.mean, state.prediction.pred_xstart)
'''

USE_LOSS = """
import torch
from diffuseit import GrayLoss, RangeLoss, PRESETS, bind, load_models, sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import AnyLoss
from diffuseit.presets import Preset, default_loss
from diffuseit.schema import from_json, to_json
from dataclasses import replace
from tools.schemas import node_schemas

settings = SamplerSettings(steps=3, skip=1, resample=1)
steps = list(sample(load_models().ddpm, torch.zeros(1, 3, 64, 64), bind([GrayLoss()]), settings))
assert all(step.terms["gray"].item() > 0 for step in steps)
preset = replace(PRESETS["best-text"], losses=(GrayLoss(weight=2.0),))
assert from_json(Preset, to_json(preset), "a preset") == preset
assert default_loss(GrayLoss) == GrayLoss()
assert "DiffuseITGrayLoss" in node_schemas()
"""

USE_METHOD = """
import torch
from diffuseit import Idle, RangeLoss, bind, load_models, sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.pocket.benchmark.contenders import contenders
from diffuseit.schema import from_json, to_json
from tools.schemas import node_schemas

settings = SamplerSettings(steps=3, skip=1, resample=1, method=Idle(step_size=2.0))
assert len(list(sample(load_models().ddpm, torch.zeros(1, 3, 64, 64), bind([RangeLoss()]), settings))) == 2
assert from_json(SamplerSettings, to_json(settings), "settings") == settings
(method,) = (slot for slot in node_schemas()["DiffuseITSampler"].inputs if slot.id == "method")
assert "idle" in method.options
assert {one.method for one in contenders("idle", ("text",))} == {"idle"}
"""


def section(title: str) -> str:
    return re.split(r"\n## ", TEXT.split(f"\n## {title}\n")[1])[0]


def files(text: str) -> set[str]:
    """The paths that a text names, braces spelled out."""
    found = set()
    for path in re.findall(r"`([\w./{},<> -]+/[\w./{},<> -]+)`", text):
        parts = re.split(r"\{([^}]*)\}", path)
        choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
        found |= {"".join(chosen) for chosen in product(*choices)}
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the package and its nodes are made of."""
    for folder in ("diffuseit", "nodes", "tools"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "train")
        )
    for name in ("__init__.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def edit(copy: Path, path: str, *changes: tuple[str, str]) -> None:
    text = (copy / path).read_text(encoding="utf-8")
    for before, after in changes:
        assert text.count(before) == 1, (path, before)
        text = text.replace(before, after)
    (copy / path).write_text(text, encoding="utf-8")


def run(copy: Path, code: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(copy)!r})\n{code}"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_every_file_that_is_named_exists():
    stand_ins = {
        "<name>": ("range", "dsg", "ddpm"),
        "<node id>": ("DiffuseITRangeLoss",),
        "<input>": ("weight",),
        "<language>": ("ko",),
    }
    for path in files(TEXT):
        names = [path]
        for placeholder, values in stand_ins.items():
            names = [name.replace(placeholder, value) for name in names for value in values]
        if "<subject>" not in path and not path.startswith((".venv", "~")):
            assert any((ROOT / name).exists() for name in names), path


@pytest.mark.slow
def test_a_loss_takes_the_files_that_are_listed(copy: Path):
    listed = files(section("Add a loss"))
    edited = {"diffuseit/losses/__init__.py", "diffuseit/__init__.py", "nodes/losses.py"}
    assert {"diffuseit/losses/<name>.py", *edited} <= listed
    (copy / "diffuseit/losses/gray.py").write_text(LOSS, encoding="utf-8")
    edit(
        copy,
        "diffuseit/losses/__init__.py",
        ("from .identity import", "from .gray import GrayLoss\nfrom .identity import"),
        ("    | IdentityLoss\n", "    | GrayLoss\n    | IdentityLoss\n"),
        ('    "IdentityLoss",\n', '    "GrayLoss",\n    "IdentityLoss",\n'),
    )
    edit(
        copy,
        "diffuseit/__init__.py",
        ("        IdentityLoss,\n", "        GrayLoss,\n        IdentityLoss,\n"),
        ('        "IdentityLoss",\n', '        "GrayLoss",\n        "IdentityLoss",\n'),
    )
    edit(
        copy,
        "nodes/losses.py",
        ("    ImageStyleLoss,\n    Loss,\n", "    GrayLoss,\n    ImageStyleLoss,\n    Loss,\n"),
        ("class CombineLosses(", f"{NODE}class CombineLosses("),
        ("    RangeLossNode,\n    SourceAnchor", "    RangeLossNode,\n    GrayLossNode,\n    SourceAnchor"),
    )
    run(copy, USE_LOSS)


@pytest.mark.slow
def test_a_method_takes_the_files_that_are_listed(copy: Path):
    listed = files(section("Add a guidance method"))
    assert {"diffuseit/methods/<name>.py", "diffuseit/methods/__init__.py", "diffuseit/__init__.py"} <= listed
    (copy / "diffuseit/methods/idle.py").write_text(METHOD, encoding="utf-8")
    edit(
        copy,
        "diffuseit/methods/__init__.py",
        ("from .mpgd import MPGD\n", "from .idle import Idle\nfrom .mpgd import MPGD\n"),
        ("| MPGD | DSG\n", "| MPGD | DSG | Idle\n"),
        ('    "dsg": DSG,\n', '    "dsg": DSG,\n    "idle": Idle,\n'),
        ('    "Inner",\n', '    "Idle",\n    "Inner",\n'),
    )
    edit(
        copy,
        "diffuseit/__init__.py",
        ("DiffuseITDDIM, OfficialAGG\n", "DiffuseITDDIM, Idle, OfficialAGG\n"),
        ('"DiffuseITDDIM", "OfficialAGG")', '"DiffuseITDDIM", "Idle", "OfficialAGG")'),
    )
    run(copy, USE_METHOD)
