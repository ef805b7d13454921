"""The commands `diffuseit models`, which list, show, download, verify, convert, and copy networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.table import Table

from ..errors import InputError, ModelError
from ..models.hub.catalog import (
    Entry,
    Kind,
    bundles,
    catalog,
    entry_named,
    find_model,
    format_size,
    members,
    models_folder,
)
from . import console
from .console import plain
from .options import path

app = typer.Typer(help="List, download, check and convert the networks.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        metavar="DIR",
        help="The models folder. By default $DIFFUSEIT_MODELS, or else a folder in the user's cache.",
    ),
]
Names = Annotated[
    list[str], typer.Argument(metavar="NAME", help="Models or bundles, by the names that the list shows.")
]
_KINDS = {
    "ddpm": "Diffusion models",
    "vit": "Transformers",
    "clip": "CLIPs",
    "measure": "For measuring",
    "watermark": "For watermarks",
    "flow": "For films",
}


@app.command("list")
def list_models(
    kind: Annotated[Kind | None, typer.Option(help="Only models of this kind.")] = None,
    folder: Folder = None,
) -> None:
    """List models and bundles, and mark those that are installed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("model", "size", "here", "license"):
        table.add_column(title, no_wrap=True, justify="right" if title == "size" else "left")
    table.add_column("what it is for")
    for each, title in _KINDS.items():
        if kind in (None, each):
            table.add_section()
            table.add_row(plain(title, "bold"))
            for entry in catalog().values():
                if entry.kind == each:
                    _add_row(table, entry.name, [entry], folder, entry.terms, entry.purpose)
    if kind is None:
        table.add_section()
        table.add_row(plain("Bundles", "bold"))
        for bundle in bundles().values():
            _add_row(table, bundle.name, members(bundle.name), folder, "", bundle.purpose)
    console.show(table)
    console.say("* must be downloaded by hand: `diffuseit models show NAME` says how")
    console.say(f"Folder: {models_folder(folder)}")


def _add_row(
    table: Table, name: str, entries: list[Entry], folder: Path | None, terms: str, purpose: str
) -> None:
    mark = "*" if any(entry.manual for entry in entries) else ""
    size = format_size(sum(entry.size for entry in entries))
    here = all(find_model(entry, folder) for entry in entries)
    tick = "✓" if console.can_show("✓") else "yes"
    cells = (f"{name}{mark}", size, f" {tick}" if here else "", terms, purpose)
    table.add_row(*map(plain, cells))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model or a bundle.")], folder: Folder = None
) -> None:
    """Show everything that is known about a model or a bundle."""
    members(name)  # or the error that names similar ones
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if name in bundles():
        bundle = bundles()[name]
        facts = {
            "bundle": name,
            "what it is for": bundle.purpose,
            "models": "\n".join(
                f"{entry.name}  {format_size(entry.size)}  {'here' if find_model(entry, folder) else 'not here'}"
                for entry in members(name)
            ),
        }
    else:
        facts = _facts(entry_named(name), folder)
    for label, value in facts.items():
        table.add_row(plain(label, "bold"), plain(value))
    console.show(table)


def _facts(entry: Entry, folder: Path | None) -> dict[str, str]:
    here = find_model(entry, folder)
    approximate = "" if entry.bytes else "about "
    facts = {
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
        facts["tokenizer"] = f"{', '.join(entry.tokenizer)} in {entry.tokenizer_folder}"
    return facts


def _pairs(values: dict[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


@app.command()
def download(names: Names, folder: Folder = None) -> None:
    """Download models and bundles.

    Existing files stay as they are. An interrupted download continues where it stopped.
    """
    from ..models.hub.download import download as fetch

    for name in names:
        members(name)  # unknown names before the first byte
    for name in names:
        for entry in members(name):
            if not find_model(entry, folder):
                console.inform(f"{entry.name}: {entry.license}. {entry.limits}")
        with console.download_bars() as on_progress:
            paths = fetch(name, folder, on_progress)
        for saved in paths:
            console.say(f"{saved} is here")


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models or bundles. By default all that are here."),
    ] = None,
    folder: Folder = None,
) -> None:
    """Compare installed files with their checksums.

    The exit code is 2 if a file is damaged.
    """
    from ..models.hub.download import verify as check

    entries = [entry for name in names for entry in members(name)] if names else list(catalog().values())
    damaged = []
    checked = 0
    for entry in entries:
        file = find_model(entry, folder)
        if file is None:
            if names:
                console.say(f"{entry.name}  not here")
            continue
        checked += 1
        fault = check(entry, file)
        console.say(f"{entry.name}  {fault or 'right'}")
        if fault:
            damaged.append(file)
    if damaged:
        raise ModelError(f"delete and download again: {', '.join(map(str, damaged))}")
    if not checked:
        console.say(f"Nothing to check in {models_folder(folder)}")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="MODEL", help="A name that the list shows, or a file.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=path,
            metavar="FILE",
            help="The file to write. By default MODEL-fp16.safetensors, where MODEL is.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp16", "bf16"], typer.Option(help="The numbers to store. fp16 is closer to the original.")
    ] = "fp16",
    architecture: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For a CLIP file in open_clip's layout: its architecture there."),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="The name of its weights there. It decides activation and colors."),
    ] = None,
    folder: Folder = None,
) -> None:
    """Write a model in half precision, as a safetensors file with its configuration."""
    from ..models.convert import convert as write

    saved = write(source, output, precision, folder, architecture=architecture, tag=tag)
    console.say(f"Saved {saved} ({format_size(saved.stat().st_size)})")


@app.command("pocket-files")
def pocket_files(
    folder: Annotated[
        Path, typer.Argument(parser=path, metavar="DIR", help="The folder 'models' of a ComfyUI.")
    ],
) -> None:
    """Copy the latent pocket models to a ComfyUI, for its own loaders.

    They become DIR/diffusion_models/diffuseit_pocket_flux.safetensors and DIR/vae/diffuseit_pocket_taesd.safetensors.
    Other files stay as they are.
    """
    from ..pocket.files import FILES, copy_files

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the folder 'models' of a ComfyUI")
    for saved in copy_files({file.folder: folder / file.folder for file in FILES}):
        console.say(f"{saved} is here")
