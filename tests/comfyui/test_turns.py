"""Networks that do not fit on the device together, in a real server: they come one after the other."""

import numpy as np
import pytest
from comfyui.conftest import write_inputs
from comfyui.prompts import VISITS, text_prompt
from comfyui.server import ComfyServer
from comfyui.test_variations import prompt as variations

from diffuseit.presets import PRESETS

pytestmark = pytest.mark.comfyui

CROWD = '''
import logging
import sys
from dataclasses import replace

class Crowd:
    """Leaves the pack no other way than turns, as a small GPU would."""
    FUNCTION, CATEGORY, OUTPUT_NODE, RETURN_TYPES = "crowd", "test", True, ()
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})

    def crowd(self):
        (memory,) = [m for name, m in list(sys.modules.items()) if name.endswith(".nodes.comfy.memory")]
        offload = sys.modules[memory.Offload.__module__]

        def fetched(tensors, device):
            logging.info("a copy of %d tensors", len(tensors))
            return [tensor.data.clone() for tensor in tensors], None

        offload._fetched = fetched
        memory.plans = lambda needs: [replace(memory.LOW_MEMORY, offload=memory.Offload("cpu"))]
        return {}

NODE_CLASS_MAPPINGS = {"Crowd": Crowd}
'''


def test_networks_in_turns_paint_the_same_picture(comfyui, tmp_path):
    write_inputs(tmp_path / "input")
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "crowd.py").write_text(CROWD)
    with ComfyServer(comfyui, tmp_path) as server:
        (free,) = server.images(server.run(text_prompt(seed=100)), "save")
        server.run({"crowd": ("Crowd", {})})  # another prompt: nothing of the first one is remembered
        outcome = server.run(text_prompt(seed=100))
        (crowded,) = server.images(outcome, "save")
    assert "sampler" in outcome.executed
    assert np.abs(crowded.astype(int) - free.astype(int)).mean() < 1
    log = server.log_path.read_text()
    before = 4  # CLIP's for the source and both prompts, the ViT's for the source
    assert log.count("a copy of") == before + 2 * VISITS
    assert "Traceback" not in log


def test_variations_are_scored_in_turns_where_they_were_made_so(comfyui, tmp_path):
    """Elsewhere than in its turn a network is not on the device."""
    write_inputs(tmp_path / "input")
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "crowd.py").write_text(CROWD)
    prompt = {node: what for node, what in variations().items() if node not in ("sampler", "single")}
    with ComfyServer(comfyui, tmp_path) as server:
        server.run({"crowd": ("Crowd", {})})
        server.run(prompt)
    guided, bound = len(PRESETS["fast-text"].sampler.timetable) - 1, 4
    made = bound + 2 * guided
    assert server.log_path.read_text().count("a copy of") == made + bound + 2
