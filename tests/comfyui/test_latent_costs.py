"""The operations and bytes of ComfyUI's own decoders and diffusion networks."""

import json
import subprocess

import pytest
from comfyui.server import PACK, comfyui_python

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

COUNT = """
import json, sys
from pathlib import Path
from benchmarks import comfyui, latent
comfyui.enter(Path(sys.argv[1]))
decoders = latent.decoder_rows(comfyui.decoders(), (512, 256))
print(json.dumps([decoders, latent.model_rows(comfyui.models((512,)))]))
"""


def test_costs_are_those_of_the_networks_that_comfyui_has(comfyui):
    command = [comfyui_python(comfyui), "-c", COUNT, str(comfyui)]
    result = subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=True)
    decoders, models = json.loads(result.stdout.splitlines()[-1])
    forward = {row["model"]: row["forward_flops"] for row in models if not row["cfg"]}
    # 2 x 2.99e12 multiply-adds of SDXL's layers, as published, and its attention.
    assert forward["SDXL"] == pytest.approx(6.76e12, rel=0.01)
    # 12e9 weights, of which each token meets about half.
    assert forward["Flux.1 dev, 512 text tokens"] == pytest.approx(74.4e12, rel=0.01)
    rows = {(row["decoder"], row["size"], row["recompute"]): row for row in decoders}
    assert len(rows) == len(decoders)
    for (name, size, recompute), row in rows.items():
        # A latent of half the side takes a quarter, with an attention that keeps no matrix.
        quarter = rows[name, 256, recompute]
        assert row["kept_bytes"] == pytest.approx(4 * quarter["kept_bytes"], rel=0.02) or size == 256
        if recompute:
            assert row["peak_bytes"] < 0.85 * rows[name, size, False]["peak_bytes"]
    full, tiny = (rows[name, 512, False] for name in ("KL (SD1.5, SDXL)", "TAESD (SD1.5, SDXL)"))
    assert tiny["kept_bytes"] < 0.1 * full["kept_bytes"]
