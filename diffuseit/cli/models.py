"""The command `diffuseit models`: what there is, what is here, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from ..errors import InputError, ModelError
from ..models.hub.catalog import (
    Entry,
    bundles,
    catalog,
    entry_named,
    find_model,
    format_size,
    members,
    models_folder,
)

if TYPE_CHECKING:
    from ..models.hub import http as hub

console = Console(highlight=False)
messages = Console(stderr=True, highlight=False)
app = typer.Typer(help="Checkpoints: list, download, check and convert them.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where checkpoints lie; by default $DIFFUSEIT_MODELS, else the user's cache."
    ),
]
_KINDS = {"ddpm": "Diffusion models", "vit": "Transformers", "clip": "CLIPs"}


@app.command("list")
def list_models(
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only ddpm, vit or clip.")] = None,
    folder: Folder = None,
) -> None:
    """List the checkpoints and bundles; a tick marks those that are here."""
    if kind is not None and kind not in _KINDS:
        raise InputError(f"there is no kind {kind!r}: use {', '.join(_KINDS)}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("model", "size", "here", "license"):
        table.add_column(title, no_wrap=True, justify="right" if title == "size" else "left")
    table.add_column("what it is for")
    for each, title in _KINDS.items():
        if kind in (None, each):
            table.add_section()
            table.add_row(f"[bold]{title}[/bold]")
            for entry in catalog().values():
                if entry.kind == each:
                    name = f"{entry.name}*" if entry.manual else entry.name
                    table.add_row(
                        name, format_size(entry.size), _tick([entry], folder), entry.terms, entry.purpose
                    )
    if kind is None:
        table.add_section()
        table.add_row("[bold]Bundles[/bold]")
        for bundle in bundles().values():
            entries = members(bundle.name)
            name = f"{bundle.name}*" if any(entry.manual for entry in entries) else bundle.name
            size = format_size(sum(entry.size for entry in entries))
            table.add_row(name, size, _tick(entries, folder), "", bundle.purpose)
    console.print(table)
    _line("* to be got by hand: `diffuseit models show NAME` says how")
    _line(f"Folder: {models_folder(folder)}")


def _tick(entries: list[Entry], folder: Path | None) -> str:
    return " ✓" if all(find_model(entry, folder) for entry in entries) else ""


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")], folder: Folder = None) -> None:
    """Show all that is known of a checkpoint or a bundle."""
    members(name)  # or the error that names similar ones
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    if name in bundles():
        bundle = bundles()[name]
        rows = {
            "bundle": name,
            "what it is for": bundle.purpose,
            "models": "\n".join(
                f"{entry.name}  {format_size(entry.size)}  {'here' if find_model(entry, folder) else 'not here'}"
                for entry in members(name)
            ),
        }
    else:
        rows = _facts(entry_named(name), folder)
    for label, value in rows.items():
        table.add_row(label, value)
    console.print(table)


def _facts(entry: Entry, folder: Path | None) -> dict[str, str]:
    here = find_model(entry, folder)
    approximate = "" if entry.bytes else "about "
    rows = {
        "model": entry.name,
        "kind": f"{entry.kind} ({_KINDS[entry.kind]})",
        "what it is for": entry.purpose,
        "license": entry.license,
        "limits": entry.limits,
        "size": f"{approximate}{format_size(entry.size)}, {entry.parameters / 1e6:.1f} M parameters",
        "SHA-256": entry.sha256 or ("the hub's own" if entry.hub else "none published"),
        "address": entry.address or f"none: {entry.manual}",
        "file": entry.file,
        "config": entry.config if isinstance(entry.config, str) else _pairs(dict(entry.config)),
        "here": str(here) if here else f"no; it would be {models_folder(folder) / entry.file}",
    }
    if entry.tokenizer_folder:
        rows["tokenizer"] = f"{', '.join(entry.tokenizer)} in {entry.tokenizer_folder}"
    return rows


def _pairs(values: dict[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models or bundles.")],
    folder: Folder = None,
) -> None:
    """Download checkpoints; what is there stays, what broke off goes on."""
    from ..models.hub.download import download as fetch

    for name in names:
        members(name)  # unknown names before the first byte
    for name in names:
        for entry in members(name):
            if not find_model(entry, folder):
                _line(f"{entry.name}: {entry.license}. {entry.limits}", messages)
        with download_bar() as show_progress:
            paths = fetch(name, folder, show_progress)
        for path in paths:
            _line(f"{path} is here")


@contextmanager
def download_bar() -> Iterator[hub.OnProgress]:
    """Bars on stderr, one a file."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=messages,
    )
    tasks = {}
    with progress:

        def update(state: hub.Progress) -> None:
            if state.file not in tasks:
                tasks[state.file] = progress.add_task(state.file)
            text = f"{state.file} ({state.note})" if state.note else state.file
            progress.update(tasks[state.file], description=text, completed=state.done, total=state.total)

        yield update


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="All by default.")] = None,
    folder: Folder = None,
) -> None:
    """Check the files that are here against their checksums; exit code 2 where one is damaged."""
    from ..models.hub.download import verify as check

    entries = [entry for name in names for entry in members(name)] if names else list(catalog().values())
    damaged = []
    checked = 0
    for entry in entries:
        path = find_model(entry, folder)
        if path is None:
            if names:
                _line(f"{entry.name}  not here")
            continue
        checked += 1
        fault = check(entry, path)
        _line(f"{entry.name}  {fault or 'right'}")
        if fault:
            damaged.append(path)
    if damaged:
        raise ModelError(f"delete and download again: {', '.join(map(str, damaged))}")
    if not checked:
        _line(f"Nothing to check in {models_folder(folder)}")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="MODEL", help="A name of the list, or a file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="By default MODEL-fp16.safetensors."),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="fp16|bf16", help="fp16 is the closer one.")] = "fp16",
    architecture: Annotated[
        str | None, typer.Option(metavar="NAME", help="open_clip's, for a CLIP file in its layout.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="open_clip's name of the weights: activation, colours.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Write a checkpoint in half precision as safetensors with its configuration."""
    from ..models.convert import convert as write

    path = write(source, output, precision, folder, architecture=architecture, tag=tag)
    _line(f"Saved {path} ({format_size(path.stat().st_size)})")


def _line(text: str, where: Console = console) -> None:
    where.print(text, markup=False, soft_wrap=True)
