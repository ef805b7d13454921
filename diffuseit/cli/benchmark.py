"""The commands `diffuseit demo` and `diffuseit benchmark`, which show and measure the pocket networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InputError
from . import console, protocols
from .options import path

app = typer.Typer(help="Measure how good the translations are.", no_args_is_help=True)


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", parser=path, metavar="DIR", help="The folder for the images.")
    ] = Path("output", "demo"),
) -> None:
    """Translate three images of the pocket world, and show them beside the true results.

    The networks never saw these images in training.
    """
    from ..images.io import check_writable_folder

    check_writable_folder(output)
    from ..pocket.demo import run_demo

    run_demo(output, console.results, console.step_bar)


@app.command()
def pocket(
    n: Annotated[
        int, typer.Option("--n", min=1, metavar="N", help="Images per row. Figures to quote need 100.")
    ] = 100,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=path,
            metavar="DIR",
            help="The folder for the figures and the contact sheet.",
        ),
    ] = None,
    task: Annotated[
        Literal["pixel", "latent", "large", "verdict", "film", "views", "labels", "volume"],
        typer.Option(
            help="The pixel model and its ablations, guidance of the latent model, results larger than the model, "
            "how often the verdict on a result is right, films, views of a scene, what translated images with "
            "their labels are worth, or volumes."
        ),
    ] = "pixel",
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Compare methods at 10, 20, 40 and the official number of steps: 'all', or names separated by "
            "commas. 'presets' stands for those that ship. Rows that DIR has are not measured again.",
        ),
    ] = None,
    guide: Annotated[
        Literal["text", "image", "both"], typer.Option(help="With --methods: what guides the translations.")
    ] = "both",
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Only these rows, separated by commas. With --methods also patterns, such as 'text-*-10'.",
        ),
    ] = None,
    seeds: Annotated[
        Literal["held-out", "tuning"],
        typer.Option(help="Scenes held out for measuring, or scenes for tuning the settings."),
    ] = "held-out",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="The numbers that the networks compute with."),
    ] = "float32",
    scale: Annotated[
        Literal["2", "4"], typer.Option(help="With --task large: how many times larger than the model.")
    ] = "2",
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            metavar="N",
            help="With --task film, views, volume, and labels: how many sequences, or pairs of styles, at a time.",
        ),
    ] = 1,
    frames: Annotated[
        int | None,
        typer.Option(
            min=2, max=1000, metavar="N", help="With --task film, views, and volume: images of each."
        ),
    ] = None,
) -> None:
    """Measure how well style is reached and structure is kept.

    The scenes come from the pocket world, where the true result of every translation is known.
    """
    if output:
        from ..images.io import check_writable_folder

        check_writable_folder(output)
    if guide != "both" and methods is None:
        raise InputError("--guide goes with --methods: add --methods all")
    if scale != "2" and task != "large":
        raise InputError("--scale goes with --task large: add it")
    sequences = task in ("film", "views", "volume")
    if frames is not None and not sequences:
        raise InputError("--frames goes with --task film, views, or volume: add it")
    if processes != 1 and not sequences and task != "labels":
        raise InputError("--processes goes with --task film, views, volume, or labels: add it")
    if task != "pixel" and (methods is not None or dtype != "float32"):
        raise InputError("--methods and --dtype are for the pixel model: leave them out, or leave --task out")
    if task == "verdict" and rows is not None:
        raise InputError("--rows does not go with --task verdict: leave it out")
    import torch

    from ..api import load_models
    from ..pocket.world.seeds import HELD_OUT, TUNING

    scenes = HELD_OUT if seeds == "held-out" else TUNING
    if task == "latent":
        from ..pocket.benchmark.latent import rows_named, run_latent

        run_latent(n, output, rows=rows_named(rows), seeds=scenes, console=console.results)
        return
    if task == "verdict":
        from ..pocket.benchmark.verdict import run_verdict

        run_verdict(n, output, seeds=scenes, console=console.results)
        return
    if task == "large":
        from ..pocket.benchmark.large import ROWS as LARGE_ROWS
        from ..pocket.benchmark.large import run_large

        names = LARGE_ROWS if rows is None else tuple(name.strip() for name in rows.split(","))
        run_large(n, output, scale=int(scale), rows=names, seeds=scenes, console=console.results)
        return
    if task == "labels":
        from ..pocket.benchmark.labels import ROWS as LABELS_ROWS
        from ..pocket.benchmark.labels import run_labels

        names = LABELS_ROWS if rows is None else tuple(name.strip() for name in rows.split(","))
        run_labels(n, output, rows=names, seeds=scenes, processes=processes, console=console.results)
        return
    if task == "film" or task == "views" or task == "volume":
        from ..pocket.benchmark.film import ROWS as FILM_ROWS
        from ..pocket.benchmark.film import run_film
        from ..pocket.benchmark.volume import ROWS as VOLUME_ROWS
        from ..pocket.benchmark.volume import measure_volume

        every = VOLUME_ROWS if task == "volume" else FILM_ROWS
        names = every if rows is None else tuple(name.strip() for name in rows.split(","))
        run_film(
            n,
            output,
            kind=task,
            frames=frames,
            rows=names,
            seeds=scenes,
            processes=processes,
            console=console.results,
            measured=measure_volume if task == "volume" else None,
        )
        return
    models = load_models("pocket", dtype=getattr(torch, dtype))
    if methods is None:
        from ..pocket.benchmark.run import ROWS, run_benchmark

        names = ROWS if rows is None else tuple(name.strip() for name in rows.split(","))
        run_benchmark(n, output, rows=names, seeds=scenes, models=models, console=console.results)
        return
    from ..pocket.benchmark.comparison import run_comparison
    from ..pocket.benchmark.contenders import KINDS

    kinds = tuple(kind for kind in KINDS if guide in (kind, "both"))
    run_comparison(
        n,
        output,
        methods=methods,
        kinds=kinds,
        rows=rows,
        seeds=scenes,
        models=models,
        console=console.results,
    )


@app.command()
def marks(
    n: Annotated[int, typer.Option("--n", min=1, metavar="N", help="Images in each format.")] = 8,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", parser=path, metavar="DIR", help="The folder for the figures."),
    ] = None,
    seeds: Annotated[
        Literal["held-out", "tuning"], typer.Option(help="Scenes held out for measuring, or for tuning.")
    ] = "held-out",
) -> None:
    """Measure what the marks of results survive: saving again, JPEG, resizing, screenshots.

    It needs `pip install 'diffuseit[provenance]'`.
    """
    if output:
        from ..images.io import check_writable_folder

        check_writable_folder(output)
    from ..provenance.library import library

    library()
    from ..pocket.benchmark.marks import run_marks
    from ..pocket.world.seeds import HELD_OUT, TUNING

    run_marks(n, output, seeds=HELD_OUT if seeds == "held-out" else TUNING, console=console.results)


app.command()(protocols.flexit)
app.command()(protocols.folders)
app.command()(protocols.pie)
