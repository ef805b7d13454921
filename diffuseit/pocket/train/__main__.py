"""`python -m diffuseit.pocket.train NETWORK [--minutes M] [--out DIR] [--device cpu|cuda]`, and `export`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from ..models import WEIGHTS
from .export import export
from .loop import fit
from .networks import NETWORKS

Minutes = Annotated[float | None, typer.Option(help="Length of the whole run; resuming counts it on.")]
Out = Annotated[Path, typer.Option(help="Where states, logs and weights go.")]
Device = Annotated[str, typer.Option(help="Where to train.")]

app = typer.Typer(no_args_is_help=True, help="Train the pocket networks on freshly rendered images.")


def train(name: str, minutes: float | None, out: Path, device: torch.device) -> None:
    """One network from its recipe, resuming what lies in `out`, and its weights and card there."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    recipe = network.RECIPE if minutes is None else replace(network.RECIPE, minutes=minutes)
    fit(name, network.build(), network.Loss(recipe.batch, device), recipe, out, device)
    _report(name, out, out)


def _report(name: str, out: Path, folder: Path) -> None:
    card = export(name, out, folder)
    figures = json.dumps(card["figures"])
    typer.echo(f"{folder / name}.safetensors: {card['bytes']:,} bytes, {card['images']:,} images, {figures}")


def _add_command(name: str) -> None:
    @app.command(name, help=f"Train the {name}; run again to resume.")
    def command(minutes: Minutes = None, out: Out = Path("runs"), device: Device = "cpu") -> None:
        train(name, minutes, out, torch.device(device))


for _name in NETWORKS:
    _add_command(_name)


@app.command("all")
def train_all(minutes: Minutes = None, out: Out = Path("runs"), device: Device = "cpu") -> None:
    """Train one network after the other (--minutes: each of them)."""
    for name in NETWORKS:
        train(name, minutes, out, torch.device(device))


@app.command("export")
def export_weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks; all with a state in --out if none.")
    ] = None,
    out: Out = Path("runs"),
    to: Annotated[Path, typer.Option(help="Folder of the weights and cards.")] = WEIGHTS,
) -> None:
    """Write the averaged weights of training runs (finished or not) into the package, with their cards."""
    for name in names or [name for name in NETWORKS if (out / f"{name}.state.pt").exists()]:
        if name not in NETWORKS:
            raise typer.BadParameter(f"no network {name!r}: use {', '.join(NETWORKS)}")
        _report(name, out, to)


@app.command("curve")
def curve(
    out: Out = Path("runs"),
    n: Annotated[int, typer.Option(help="Translations per snapshot.")] = 100,
    to: Annotated[Path, typer.Option(help="The JSON file; what it has is kept.")] = Path(
        "docs/unet_curve.json"
    ),
) -> None:
    """Measure translations at every snapshot of the U-Net's training run, on the tuning seeds."""
    from .curve import measure_curve

    for point in measure_curve(out, n, to)["points"]:
        typer.echo(
            f"{point['images']:>9,} images: Fréchet {point['frechet']:.3f}, style {point['style_success']:.0%}"
        )


app()
