"""The command `diffuseit`. Everything heavy is imported inside the commands, so that `--help` comes at once."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import DiffuseITError
from . import benchmark, console, evaluate, gallery, inspect, models, presets, translate, verify

# click's. Newer versions of typer have a copy of click, under no public name.
_UsageError: Any = typer.BadParameter.__base__


class _Group(TyperGroup):
    """Commands whose errors are one line on stderr, with exit code 2. Errors of usage come with a hint at the help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _escaped_usage():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _escaped_usage():
                return super().invoke(ctx)
        except DiffuseITError as error:
            console.complain(f"Error: {error}")
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe has gone: no error to talk about
                raise
            where = "" if error.filename is None else f"{error.filename}: "
            console.complain(f"Error: {where}{error.strerror or error}")
        raise typer.Exit(2)


@contextmanager
def _escaped_usage() -> Iterator[None]:
    """Escape what an error of usage quotes from the command line: a shell puts names of files there."""
    try:
        yield
    except _UsageError as error:
        error.message = console.escaped(error.message)
        raise


app = typer.Typer(
    cls=_Group,
    help="Translate images toward a text or a style image, by guided diffusion, without training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(translate.translate)
app.command()(presets.presets)
app.command()(evaluate.evaluate)
app.command()(verify.verify)
app.command()(benchmark.demo)
app.command()(gallery.gallery)
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(inspect.app, name="inspect")
app.add_typer(models.app, name="models")


def main() -> None:
    """The console script."""
    console.prepare_streams()
    if not console.can_show("─"):
        app.rich_markup_mode = None  # help without frames
    app(prog_name="diffuseit")
