"""The command `diffuseit`. Everything heavy is imported inside the commands, so that `--help` comes at once."""

from __future__ import annotations

import time
import warnings
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from .errors import DiffuseITError, InputError

if TYPE_CHECKING:
    from PIL import Image

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


@app.command()
def translate(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The picture to translate.")],
    to: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the result shows, e.g. 'a photo of a leopard'.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TEXT", help="What SOURCE shows; sharpens --to.")
    ] = None,
    style: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="A picture with the style wanted, instead of --to.")
    ] = None,
    models: Annotated[
        str, typer.Option(metavar="NAME", help="The networks: 'pocket' ships with the package.")
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
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="OUT", help="The result; by default SOURCE-translated.png, here."
        ),
    ] = None,
) -> None:
    """Translate SOURCE to what a text says or a style picture shows."""
    if (to is None) == (style is None):
        raise InputError("Say what to translate to: either --to TEXT or --style IMAGE")
    if from_ is not None and to is None:
        raise InputError("--from says what the source shows and needs --to TEXT beside it")
    from .pictures import check_writable, cover, fit_to, save_picture, to_pil, to_tensor

    output = output or _free_name(source)
    check_writable(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"{output} is the source itself: give another name with -o")
    picture = _load(source)
    look = None if style is None else _load(style)

    import diffuseit

    from .progress import step_bar

    networks = diffuseit.load_models(models)
    picture = fit_to(picture, networks.ddpm.image_size, networks.ddpm.size_multiple)
    began = time.monotonic()
    with step_bar(source.name, messages) as show:
        result = diffuseit.translate(
            to_tensor(picture),
            to=to,
            from_=from_,
            style=None if look is None else to_tensor(cover(look, picture.size)),
            models=networks,
            preset=preset,
            seed=seed,
            steps=steps,
            skip=skip,
            resample=resample,
            on_step=show,
        )
    save_picture(to_pil(result), output)
    console.print(
        f"Saved {output} ({picture.width}x{picture.height}, {time.monotonic() - began:.1f} s)",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder for the pictures.")
    ] = Path("output", "demo"),
) -> None:
    """Translate held-out pocket-world pictures and lay them beside the ground truth."""
    from .pictures import check_writable_folder

    check_writable_folder(output)
    from .pocket.demo import run_demo

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
) -> None:
    """Measure style reached and structure kept on held-out pocket scenes, against the ground truth."""
    if output:
        from .pictures import check_writable_folder

        check_writable_folder(output)
    from .pocket.benchmark import run_benchmark

    run_benchmark(n, output)


@app.command()
def presets() -> None:
    """List the presets that --preset takes."""
    from .presets import PRESETS

    table = Table("preset", "what it is")
    for preset in PRESETS.values():
        table.add_row(preset.name, preset.description)
    console.print(table)


def _load(path: Path) -> Image.Image:
    from .pictures import load_picture

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        picture = load_picture(path)
    for note in notes:
        messages.print(f"Note: {note.message}", markup=False)
    return picture


def _free_name(source: Path) -> Path:
    """SOURCE-translated.png in this folder, numbered where that is taken: nothing is overwritten unasked."""
    names = (Path(f"{source.stem}-translated{'' if n == 1 else f'-{n}'}.png") for n in count(1))
    return next(name for name in names if not name.exists())


def main() -> None:
    """The console script."""
    app(prog_name="diffuseit")


if __name__ == "__main__":
    main()
