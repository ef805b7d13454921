"""What test_tiny_models.py looks at inside ComfyUI."""

import traceback
from pathlib import Path
from typing import Any

import comfy.sample
import folder_paths
import torch
from comfyui.tiny_kinds import KINDS, SIDE
from comfyui.tiny_models import CONTROLNETS, Tiny, missing, tiny, write_controlnet, write_lora

import nodes  # ComfyUI's

STEPS = 3


def every_kind(models: str) -> dict[str, dict[str, Any]]:
    """Facts about each kind: what it is, and what came of sampling and decoding it, as in a node.

    The folder `models` gets a LoRA for each kind, and a ControlNet where there is one, named after the kind.
    """
    for name in ("loras", "controlnet"):
        folder = Path(models, name)
        folder.mkdir()
        folder_paths.add_model_folder_path(name, str(folder))
    with torch.inference_mode():
        return {kind: _facts(kind, Path(models)) for kind in KINDS}


def _facts(kind: str, models: Path) -> dict[str, Any]:
    if reason := missing(kind):
        return {"missing": reason}
    try:
        made = tiny(kind)
        facts = _identity(kind, made) | _samples(made) | _lora(kind, made, models / "loras")
        return facts | (_controlnet(kind, made, models / "controlnet") if kind in CONTROLNETS else {})
    except Exception:
        return {"error": traceback.format_exc()}


def _identity(kind: str, made: Tiny) -> dict[str, Any]:
    sampling = made.model.get_model_object("model_sampling")
    networks = [made.model.model, made.vae.first_stage_model]
    return {
        "model": type(made.model.model).__name__,
        "prediction": [base.__name__ for base in type(sampling).__mro__],
        "latent": _shapes(comfy.sample.fix_empty_latent_channels(made.model, made.latent["samples"])),
        "weights": [sum(weight.numel() for weight in network.parameters()) for network in networks],
        "unfilled": _unfilled(kind),
        "middle": float(made.vae.process_output(torch.zeros(1))),
    }


def _unfilled(kind: str) -> list[str]:
    """The weights that are NaN or all 0 where torch fills fresh memory with NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        made = tiny(kind)
    finally:
        torch.use_deterministic_algorithms(False)
    networks = (made.model.model, made.vae.first_stage_model)
    weights = [item for network in networks for item in network.state_dict().items()]
    return [
        name
        for name, weight in weights
        if weight.is_floating_point() and weight.numel() and not (weight.isfinite().all() and weight.any())
    ]


def _sample(made: Tiny, cfg: float = 3) -> torch.Tensor:
    latent = made.latent["samples"]
    noise = comfy.sample.prepare_noise(latent, seed=0)
    return comfy.sample.sample(
        *(made.model, noise, STEPS, cfg, "euler", "simple", made.positive, made.negative, latent),
        disable_pbar=True,
        seed=0,
    )


def _samples(made: Tiny) -> dict[str, Any]:
    sample = _sample(made)
    (picture,) = nodes.VAEDecode().decode(made.vae, {"samples": sample})
    return {
        "sample": _shapes(sample),
        "finite": bool(_flat(sample).isfinite().all()),
        "spread": float(_flat(sample).std()),
        "of the prompt": _difference(sample, _sample(made, cfg=1)),
        "again": _difference(sample, _sample(made)),
        "picture": list(picture.shape),
        "lowest": float(picture.min()),
        "highest": float(picture.max()),
        "contrast": float(picture.std()),
        "encoded": list(made.vae.encode(torch.rand(1, SIDE, SIDE, 3)).shape)
        if picture.shape[-1] == 3
        else [],
    }


def _shapes(latent: torch.Tensor) -> list[list[int]]:
    return [list(part.shape) for part in _parts(latent)]


def _flat(latent: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in _parts(latent)])


def _parts(latent: torch.Tensor) -> list[torch.Tensor]:
    """The tensors of what may be a NestedTensor."""
    return list(latent.unbind()) if latent.is_nested else [latent]


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square of the difference, in standard deviations of the first."""
    one, other = _flat(one), _flat(other)
    return float((one - other).square().mean().sqrt() / one.std())


def _lora(kind: str, made: Tiny, folder: Path) -> dict[str, Any]:
    write_lora(kind, folder / f"{kind}.safetensors")
    (model,) = nodes.LoraLoaderModelOnly().load_lora_model_only(made.model, f"{kind}.safetensors", 1.0)
    sample = _sample(made)
    parts = made.model.model.diffusion_model.modules()
    return {
        "linear layers": sum(isinstance(part, torch.nn.Linear) for part in parts),
        "layers of the LoRA": len(model.patches),
        "of the LoRA": _difference(sample, _sample(made._replace(model=model))),
        "without it": _difference(sample, _sample(made)),
    }


def _controlnet(kind: str, made: Tiny, folder: Path) -> dict[str, Any]:
    write_controlnet(kind, folder / f"{kind}.safetensors")
    (control,) = nodes.ControlNetLoader().load_controlnet(f"{kind}.safetensors")
    samples = []
    for level in (0.0, 1.0):
        picture = torch.full((1, SIDE, SIDE, 3), level)
        positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
            made.positive, made.negative, control, picture, 1.0, 0.0, 1.0, vae=made.vae
        )
        samples.append(_sample(made._replace(positive=positive, negative=negative)))
    return {
        "of the ControlNet": _difference(_sample(made), samples[0]),
        "of its picture": _difference(*samples),
    }
