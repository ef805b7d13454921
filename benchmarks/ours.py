"""The same run as `official.py` through this project's `sample`."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffuseit.guidance.guidance import Guidance
from diffuseit.guidance.loop import sample
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import TextStyleLoss
from diffuseit.performance.memory import offload_bytes, run_bytes
from diffuseit.performance.offload import Offload
from diffuseit.performance.options import BALANCED, FULL_SPEED, LOW_MEMORY, Execution
from diffuseit.presets import PRESETS

from .meter import Meter
from .networks import Scale, build
from .settings import FROM, TO, Task

VARIANTS: dict[str, tuple[Execution, torch.dtype | None]] = {
    "default": (FULL_SPEED, None),
    "balanced": (BALANCED, None),
    "low-memory": (LOW_MEMORY, None),
    "few-crops": (Execution(crop_batch=2), None),
    "checkpoint-unet": (Execution(checkpoint_unet=True), None),
    "channels-last": (Execution(channels_last=True), None),
    "compile": (Execution(compile=True), None),
    "cuda-graphs": (Execution(compile=True, cuda_graphs=True), None),
    "offload": (BALANCED, None),
    "compile-channels-last": (Execution(compile=True, channels_last=True), None),
    "float32": (FULL_SPEED, torch.float32),
    "bfloat16": (FULL_SPEED, torch.bfloat16),
    "float16": (FULL_SPEED, torch.float16),
    "bfloat16-compile": (Execution(compile=True), torch.bfloat16),
    "float16-low-memory": (LOW_MEMORY, torch.float16),
}
"""Options and precision of each variant. None is float32 on a CPU and float16 on a GPU, as in the official code."""

OFFLOADED = ("offload",)
"""Variants whose feature networks are offloaded to the CPU."""


def run(task: Task, scale: Scale, variant: str) -> tuple[Meter, list[Tensor], dict[str, Any]]:
    """Run `task.steps` evaluations. Return the meter, the pred_xstart of each, and the estimated memory."""
    options, dtype = VARIANTS[variant]
    dtype = dtype or (torch.float16 if task.half else torch.float32)
    models = build(scale, task.mode, dtype, task.clips)
    models.ddpm.to(task.device)
    feature_networks = [models.vit, *(models.clip or ())]
    if variant in OFFLOADED:
        options = replace(options, offload=Offload(task.device))
    else:
        for network in feature_networks:
            network.to(task.device)
    preset = PRESETS[f"official-{task.mode}"]
    source, target = (picture.to(task.device) for picture in task.pictures())
    text = task.mode == "text"
    own = (replace(x, crops=task.crops) if isinstance(x, TextStyleLoss) else x for x in preset.losses)
    preset = replace(preset, losses=tuple(own))
    losses = preset.build(models, TO if text else None, FROM if text else None, None if text else target)
    settings = replace(preset.sampler, restart_above=None)
    meter = Meter(task.device)
    if not options.compile:  # a count inside a compiled network would compile it anew in every step
        meter.count("unet", models.ddpm.unet.input_blocks[0][0])
        meter.count("vit", models.vit.model.patch_embed.proj)
        for clip in models.clip or ():
            meter.count(f"clip {clip.name}", clip.model.visual.conv1)
    crops = [(models.vit, 0), *((clip, task.crops) for clip in models.clip or ())]
    step_bytes = run_bytes(models.ddpm, crops, 1, (256, 256), options)
    estimate = {"estimated_bytes": step_bytes + offload_bytes(feature_networks, options)}
    # What is computed once is in the cache after this. The official code has computed it too.
    Guidance(losses, source, models.ddpm, settings, Seeded(task.seed, 1), options=options)
    pictures = []
    steps = sample(models.ddpm, source, losses, settings, task.seed, options=options)
    for step in meter.steps(steps, task.steps):
        pictures.append(step.pred_xstart.float().cpu())
    return meter, pictures, estimate
