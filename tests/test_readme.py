"""The README's example runs as it stands, and its commands are the ones CI types."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from diffuseit.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        command = [sys.executable, "-c", example]
        subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert Image.open(tmp_path / "winter.png").size == (64, 64)


def test_ci_types_what_the_readme_says():
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert last in README


def test_the_command_translates_a_file(tmp_path):
    Image.new("L", (90, 80), 120).save(tmp_path / "gray.png")
    arguments = ["translate", str(tmp_path / "gray.png"), "--to", "winter", "--steps", "6", "--resample", "1"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "out.png").size == (72, 64)


def test_a_bad_number_of_steps_is_one_line_and_exit_code_2(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    arguments = ["translate", str(tmp_path / "in.png"), "--to", "winter", "--steps", "5", "--skip", "5"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 2
    assert "skip is 5 of 5" in result.output
    assert not (tmp_path / "out.png").exists()
