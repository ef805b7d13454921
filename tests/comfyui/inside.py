"""Functions of tests that run inside ComfyUI: in its Python, with its core imported, without a server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from comfyui.server import comfyui_python

TESTS = Path(__file__).resolve().parents[1]

_CALL = """
import importlib, json, sys
answer, sys.stdout = sys.stdout, sys.stderr
tests, module, function, arguments = (sys.argv.pop() for _ in range(4))
sys.path.append(tests)
import comfy.options
comfy.options.enable_args_parsing()
result = getattr(importlib.import_module(module), function)(*json.loads(arguments))
json.dump(result, answer)
"""

_NODES = """
import sys
sys.path.append({tests!r})
from comfyui.{module} import NODE_CLASS_MAPPINGS
"""


def call_inside(
    comfyui: Path, module: str, function: str, *arguments: Any, options: tuple[str, ...] = ()
) -> Any:
    """What `function` of the file `module`.py in this folder returns inside ComfyUI. JSON goes in and comes out.

    `options` are those of main.py, beside `--cpu`. Raises `RuntimeError` with the output of a process that failed.
    """
    command = [comfyui_python(comfyui), "-c", _CALL, "--cpu", *options]
    command += [json.dumps(arguments), function, f"comfyui.{module}", str(TESTS)]
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        command, cwd=comfyui, capture_output=True, text=True, timeout=500, env=quiet | os.environ
    )
    if done.returncode:
        raise RuntimeError(f"{module}.{function} failed inside ComfyUI:\n{done.stderr[-6000:]}")
    return json.loads(done.stdout)


def give_nodes(base: Path, module: str) -> None:
    """Makes a server with the base directory `base`, not started yet, load the nodes of `module`.py."""
    folder = base / "custom_nodes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(_NODES.format(tests=str(TESTS), module=module))
