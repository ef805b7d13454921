"""`python -m diffuseit.pocket.train NETWORK [--minutes M] [--out DIR] [--device cpu|cuda]`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from . import unet
from .loop import fit


def main(
    network: Annotated[str, typer.Argument(help="unet, vit, clip or judge")],
    minutes: Annotated[float | None, typer.Option(help="Length of the whole run; resuming counts it on.")] = None,
    out: Annotated[Path, typer.Option(help="Where states, logs and weights go.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="Where to train.")] = "cpu",
) -> None:
    """Trains one pocket network on freshly rendered pictures; run again to resume."""
    torch.manual_seed(0)
    recipe = unet.RECIPE if minutes is None else replace(unet.RECIPE, minutes=minutes)
    model = unet.build()
    loss = unet.VelocityLoss(recipe.batch, torch.device(device))
    fit(network, model.unet, loss, recipe, out, torch.device(device))


typer.run(main)
