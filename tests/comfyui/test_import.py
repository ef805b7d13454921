"""What the pack costs a server that starts."""

import re
import subprocess

import pytest
from comfyui.server import PACK, PACK_FOLDER, comfyui_python

pytestmark = pytest.mark.comfyui

HEAVY = {"timm", "open_clip", "typer", "rich"}

COUNT_IMPORTS = """
import asyncio, importlib.util, sys
root = sys.argv.pop()
import comfy.options
comfy.options.enable_args_parsing()
import comfy_api.latest, comfy.model_management, comfy.model_patcher, comfy.utils, folder_paths
before = set(sys.modules)

spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
async def nodes():
    extension = await module.comfy_entrypoint()
    await extension.on_load()
    return [node.GET_SCHEMA().node_id for node in await extension.get_node_list()]
print("nodes:", *asyncio.run(nodes()))
print("imported:", *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_the_pack_loads_quickly_and_whole(server):
    log = server.log()
    found = re.search(rf"([\d.]+) seconds( \(IMPORT FAILED\))?: .*{re.escape(PACK_FOLDER)}", log)
    assert found, "ComfyUI's list of import times lacks the pack"
    print(f"ComfyUI {server.get('/system_stats')['system']['comfyui_version']}: {found[1]} s")
    assert not found[2]
    assert float(found[1]) < 2
    assert "are missing, because" not in log


def test_the_libraries_of_the_networks_are_not_imported_before_they_are_used(comfyui):
    script = [comfyui_python(comfyui), "-c", COUNT_IMPORTS, "--cpu", str(PACK)]
    result = subprocess.run(script, cwd=comfyui, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines() if ": " in line)
    assert "DiffuseITSampler" in lines["nodes"].split()
    assert not HEAVY & set(lines["imported"].split())
