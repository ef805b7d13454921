"""From a training state to what ships: half-precision safetensors and a JSON card that tells where it came from."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...errors import InputError
from ...files.atomic import atomic_path
from .evaluate import evaluate
from .networks import NETWORKS


def export(name: str, out: Path, folder: Path) -> dict[str, Any]:
    """Writes `folder/NAME.safetensors` and `NAME.json` from the averaged weights in `out`; returns the card.

    Works while the run goes on, and on a snapshot's state alike.
    """
    state_file = out / f"{name}.state.pt"
    if not state_file.exists():
        raise InputError(f"there is no training state {state_file}: train {name} first")
    training = torch.load(state_file, map_location="cpu", weights_only=True)
    module = NETWORKS[name]
    model = module.build()
    model.load_state_dict(training["average"])
    state, config = module.ships(model)
    state = {key: _to_half(value) for key, value in state.items()}

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.safetensors"
    with atomic_path(weights) as path:
        save_file(state, path, metadata=None if config is None else {"config": json.dumps(config)})
    progressed = training["progressed"]
    card = {
        "network": name,
        "parameters": sum(parameter.numel() for parameter in state.values()),
        "bytes": weights.stat().st_size,
        "minutes": round(progressed["seconds"] / 60, 1),
        "steps": progressed["steps"],
        "images": progressed["images"],
        "device": training.get("device", "cpu"),
        "date": date.today().isoformat(),
        "recipe": training.get("recipe", asdict(module.RECIPE)),
        "figures": evaluate(name, folder),
    }
    with atomic_path(folder / f"{name}.json") as path:
        path.write_text(json.dumps(card, indent=2) + "\n")
    return card


def _to_half(value: torch.Tensor) -> torch.Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()
