"""The command `diffuseit`. Everything heavy is imported inside the commands, so that `--help` comes at once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from ..errors import DiffuseITError, InputError
from . import models as models_cli

console = Console()
messages = Console(stderr=True, soft_wrap=True, highlight=False)


class Group(TyperGroup):
    """Says what a caller can mend in one line on stderr, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DiffuseITError as error:
            messages.print(f"Error: {error}", style="red", markup=False)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=Group,
    help="Training-free image translation: a picture, a text or a style picture, and no training (DiffuseIT).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
benchmarks = typer.Typer(help="Measure what the translations are worth.", no_args_is_help=True)
app.add_typer(benchmarks, name="benchmark")
app.add_typer(models_cli.app, name="models")


class Fit(str, Enum):
    """How a picture comes to the model's size; `diffuseit/images/resize.py` says more."""

    keep = "keep"
    crop = "crop"
    stretch = "stretch"


class Size(str, Enum):
    """The size that a result has."""

    model = "model"
    source = "source"


class Guide(str, Enum):
    """What guides the translations of a benchmark."""

    text = "text"
    image = "image"
    both = "both"


class Seeds(str, Enum):
    """Which scenes a benchmark has."""

    held_out = "held-out"
    tuning = "tuning"


class Precision(str, Enum):
    """The numbers that networks compute with."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@app.command()
def translate(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The picture to translate, or a folder.")],
    to: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the result shows, e.g. 'a photo of a leopard'.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TEXT", help="What SOURCE shows; sharpens --to.")
    ] = None,
    style: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="A picture with the style wanted, instead of --to.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="White where SOURCE may change, black where it stays."),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The networks: 'pocket' ships with the package; else a bundle of `models list`.",
        ),
    ] = "pocket",
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Settings by name, see `diffuseit presets`.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another seed, another picture.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Steps of the whole schedule: slower, finer.")
    ] = None,
    skip: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Steps left out at the noisy end: closer to SOURCE."),
    ] = None,
    resample: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Repeats of the first step: freer of SOURCE.")
    ] = None,
    fit: Annotated[
        Fit,
        typer.Option(help="Keep SOURCE's shape, crop its middle to a square, or stretch it to one."),
    ] = Fit.keep,
    size: Annotated[
        Size, typer.Option(help="Leave the result at the model's size, or bring it back to SOURCE's.")
    ] = Size.model,
    variations: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="K",
            help="Translate with K seeds, ranked by the losses: OUT is the best, OUT-2 the next, OUT-grid all.",
        ),
    ] = 1,
    again: Annotated[
        Path | None,
        typer.Option(metavar="RESULT", help="Take every setting from this earlier result's metadata."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="The result, or a folder for a folder's; by default SOURCE-translated(.png), here.",
        ),
    ] = None,
) -> None:
    """Translate SOURCE to what a text says or a style picture shows.

    Of a folder, every picture that OUT does not have yet. PNG, WebP, JPEG and TIFF results carry their settings:
    --again RESULT SOURCE gives the same pixels.
    """
    from .translate import (
        Order,
        Screen,
        translate_again,
        translate_file,
        translate_folder,
        translate_variations,
    )

    screen = Screen(console, messages)
    if again is not None:
        if given := _given(ctx) - {"source", "again", "output", "style", "mask"}:
            names = ", ".join(f"--{name.rstrip('_')}" for name in sorted(given))
            raise InputError(f"--again takes every setting from {again}: leave out {names}")
        if source.is_dir():
            raise InputError(f"{source} is a folder: --again takes one picture")
        translate_again(again, source, output, style, mask, screen)
        return
    order = Order(to, from_, style, mask, models, preset, seed, steps, skip, resample, fit.value, size.value)
    if variations > 1 and source.is_dir():
        raise InputError(f"{source} is a folder: --variations takes one picture")
    if variations > 1:
        translate_variations(source, output, order, variations, screen)
    elif not source.is_dir():
        translate_file(source, output, order, screen)
    elif not translate_folder(source, output, order, screen):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder for the pictures.")
    ] = Path("output", "demo"),
) -> None:
    """Translate held-out pocket-world pictures and lay them beside the ground truth."""
    from ..images.io import check_writable_folder

    check_writable_folder(output)
    from ..pocket.demo import run_demo

    run_demo(output)


@benchmarks.command("pocket")
def benchmark_pocket(
    n: Annotated[
        int, typer.Option("--n", min=1, metavar="N", help="Pictures per row; 100 for figures to quote.")
    ] = 100,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="A folder for the JSON and the contact sheet."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Compare methods at 10, 20, 40 and the official steps: 'all', or names with commas between; "
            "'presets' are those that ship. Goes on where DIR left off.",
        ),
    ] = None,
    guide: Annotated[Guide, typer.Option(help="With --methods: what guides.")] = Guide.both,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Only these rows, with commas between; with --methods also patterns, e.g. 'text-*-10'.",
        ),
    ] = None,
    seeds: Annotated[
        Seeds, typer.Option(help="Held-out scenes, or those to find settings with.")
    ] = Seeds.held_out,
    dtype: Annotated[Precision, typer.Option(help="What the networks compute with.")] = Precision.float32,
) -> None:
    """Measure style reached and structure kept on held-out pocket scenes, against the ground truth."""
    if output:
        from ..images.io import check_writable_folder

        check_writable_folder(output)
    if guide is not Guide.both and methods is None:
        raise InputError("--guide goes with --methods: add --methods all")
    import torch

    from ..api import load_models
    from ..pocket.world.seeds import HELD_OUT, TUNING

    scenes = HELD_OUT if seeds is Seeds.held_out else TUNING
    models = load_models("pocket", dtype=getattr(torch, dtype.value))
    if methods is None:
        from ..pocket.benchmark.run import ROWS, run_benchmark

        names = ROWS if rows is None else tuple(name.strip() for name in rows.split(","))
        run_benchmark(n, output, rows=names, seeds=scenes, models=models)
        return
    from ..pocket.benchmark.comparison import run_comparison
    from ..pocket.benchmark.contenders import KINDS

    kinds = tuple(kind for kind in KINDS if guide.value in (kind, "both"))
    run_comparison(n, output, methods=methods, kinds=kinds, rows=rows, seeds=scenes, models=models)


@app.command()
def presets() -> None:
    """List the presets that --preset takes."""
    from ..presets import PRESETS

    table = Table("preset", "what it is")
    for preset in PRESETS.values():
        table.add_row(preset.name, preset.description)
    console.print(table)


def _given(ctx: typer.Context) -> set[str]:
    """The parameters that stand on the command line."""
    return {
        name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def main() -> None:
    """The console script."""
    app(prog_name="diffuseit")
