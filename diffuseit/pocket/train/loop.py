"""The training loop all pocket networks share: bounded by minutes, resumable, with averaged weights."""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from timm.optim.muon import Muon
from torch import Tensor, nn

from ...files.atomic import atomic_path

Loss = Callable[[Any, torch.Generator], dict[str, Tensor]]  # (network, random numbers) -> terms to add up


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. `lr` is constant after a warm-up and falls to 0 over the last `decay` of the run.

    The optimizer is Muon on matrices and convolutions and AdamW on the rest (timm's, step sizes matched to
    AdamW's). `half` computes in bfloat16 with float32 master weights.
    """

    batch: int
    minutes: float
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay: float = 0.35
    ema: float = 0.998
    half: bool = True
    snapshots: int = 0


@dataclass
class Progressed:
    """What a run has done so far; saved with its weights."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0


def learning_rate(recipe: Recipe, progressed: Progressed) -> float:
    """Trapezoid: linear warm-up by steps, linear decay by time."""
    left = 1 - progressed.seconds / (60 * recipe.minutes)
    warm = min(1.0, (progressed.steps + 1) / recipe.warmup_steps)
    return recipe.lr * warm * min(1.0, max(left, 0.0) / recipe.decay)


def fit(
    name: str,
    model: nn.Module,
    loss: Loss,
    recipe: Recipe,
    out: Path,
    device: torch.device,
    max_steps: int | None = None,
) -> Progressed:
    """Trains `model` in place for `recipe.minutes`, or to `max_steps`, and leaves the averaged weights in it.

    `loss(network, generator)` draws its own batch and returns the terms to add up, by name. State lies in
    `out/NAME.state.pt`; a second call goes on from it. One JSON line per ~30 s goes to `out/NAME.log.jsonl`, and
    `recipe.snapshots` averaged copies to `out/NAME-<images>.pt`.
    """
    out.mkdir(parents=True, exist_ok=True)
    state_file = out / f"{name}.state.pt"
    model.to(device).train()
    network = _compute_copy(model, recipe, device)
    average = {key: value.detach().clone().float() for key, value in model.state_dict().items()}
    optimizer = Muon(_parameter_groups(model, recipe), lr=recipe.lr, nesterov=True)
    progressed = Progressed()
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, progressed = state["average"], Progressed(**state["progressed"])
        _copy_weights(model, network)

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average,
            "progressed": vars(progressed),
            "recipe": asdict(recipe),
            "device": describe_device(device),
        }
        # torch.save takes no path whose name begins with a dot.
        with atomic_path(state_file) as path, path.open("wb") as file:
            torch.save(state, file)

    columns = (TextColumn(f"{name} {{task.description}}"), BarColumn(), TimeRemainingColumn())
    generator = torch.Generator().manual_seed(progressed.steps)
    running: dict[str, Tensor] = {}
    logged = saved = shown_at = time.monotonic()
    with Progress(*columns) as bar, (out / f"{name}.log.jsonl").open("a") as log:
        task = bar.add_task("", total=60 * recipe.minutes)
        while progressed.seconds < 60 * recipe.minutes and progressed.steps != max_steps:
            start = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, progressed)
            terms = loss(network, generator)
            torch.stack(list(terms.values())).sum().backward()
            _take_gradients(network, model)
            optimizer.step()
            model.zero_grad(set_to_none=True)
            _copy_weights(model, network)
            _update_average(average, model, recipe.ema, progressed.steps)

            progressed.steps += 1
            progressed.images += recipe.batch
            before, progressed.seconds = progressed.seconds, progressed.seconds + time.monotonic() - start
            for key, value in terms.items():
                running[key] = torch.lerp(running.get(key, value.detach()), value.detach(), 0.02)
            # Reading a number from a GPU waits for it.
            if time.monotonic() - shown_at > 0.5:
                shown = " ".join(f"{key} {value.item():.4f}" for key, value in running.items())
                bar.update(
                    task, completed=progressed.seconds, description=f"{progressed.images:,} images {shown}"
                )
                shown_at = time.monotonic()
            if _passed_snapshot(before, progressed.seconds, recipe):
                _save_snapshot(average, out / f"{name}-{progressed.images}.pt")
            if time.monotonic() - logged > 30:
                line = {**vars(progressed), "lr": learning_rate(recipe, progressed)}
                line |= {key: value.item() for key, value in running.items()}
                log.write(json.dumps(line) + "\n")
                log.flush()
                logged = time.monotonic()
            if time.monotonic() - saved > 240:
                save()
                saved = time.monotonic()
        save()
    model.load_state_dict(average)
    model.eval()
    return progressed


def describe_device(device: torch.device) -> str:
    """What a card says about where a network was trained."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread(s)"


def _parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Vectors do not decay; tables of embeddings stay out of Muon, which is for matrices that multiply."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    rest = [parameter for parameter in model.parameters() if not any(parameter is table for table in tables)]
    groups = [
        {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
        {
            "params": [parameter for parameter in rest if parameter.ndim >= 2],
            "weight_decay": recipe.weight_decay,
        },
        {"params": tables, "weight_decay": 0.0, "use_fallback": True},
    ]
    return [group for group in groups if group["params"]]


def _compute_copy(model: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """The network that runs: the model itself, or a bfloat16 twin."""
    if not recipe.half:
        return model
    twin = copy.deepcopy(model).to(device, torch.bfloat16)
    return twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def _copy_weights(model: nn.Module, network: nn.Module) -> None:
    if network is not model:
        torch._foreach_copy_(list(network.parameters()), list(model.parameters()))


def _take_gradients(network: nn.Module, model: nn.Module) -> None:
    if network is model:
        return
    for source, target in zip(network.parameters(), model.parameters(), strict=True):
        target.grad = None if source.grad is None else source.grad.float()
        source.grad = None


@torch.no_grad()
def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    decay = min(decay, (step + 1) / (step + 10))
    for key, value in model.state_dict().items():
        if average[key].is_floating_point():
            average[key].lerp_(value.float(), 1 - decay)


def _passed_snapshot(before: float, after: float, recipe: Recipe) -> bool:
    if not recipe.snapshots:
        return False
    interval = 60 * recipe.minutes / recipe.snapshots
    return int(before / interval) != int(after / interval)


def _save_snapshot(average: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save({key: value.half() for key, value in average.items()}, file)
