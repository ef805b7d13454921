"""The command `diffuseit verify`, which says what the marks of images say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..schema import printable
from . import console
from .options import path

if TYPE_CHECKING:
    from ..provenance.verify import Report

CHANGED, UNREADABLE, UNSIGNED = 1, 2, 3
"""Exit codes, in the order in which one hides another: 2, 1, 3."""


def verify(
    files: Annotated[list[Path], typer.Argument(parser=path, metavar="FILE...", help="The images to check.")],
    source: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="IMAGE", help="Also check that FILE was made of this image."),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="PEM",
            help="Root certificates to trust beside that of the local key: root.pem of another machine, for one.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of text.")] = False,
) -> None:
    """Say what the marks of images say: the signature, the kind of image, what it was made of, and the settings.

    A watermark is looked for if `trustmark-read` of `diffuseit models` is there.

    The exit code is 0 if every FILE is signed and unchanged (and made of --source), 1 if one was changed after signing
    or is not shown to be made of --source, 2 if one cannot be read or c2pa-python is missing, else 3: one is unsigned.
    """
    from ..provenance.credential import local_root, read_roots
    from ..provenance.library import available
    from ..provenance.verify import verify as look_at
    from ..provenance.watermark import Decoder
    from ..provenance.words import lines

    roots = ""
    if available():
        roots = local_root() + ("" if trust is None else read_roots(trust))
    decoder = Decoder.if_here()
    found: list[dict[str, Any]] = []
    codes: set[int] = set()
    for file in files:
        try:
            with console.notes():
                report = look_at(file, source=source, roots=roots, decoder=decoder)
        except InputError as error:
            codes.add(UNREADABLE)
            found.append({"file": printable(str(file)), "error": str(error)})
            console.complain(f"Error: {error}")
            continue
        found.append(report.to_json())
        codes.add(_code(report, source))
        if not as_json:
            for line in lines(report):
                console.say(line)
    if as_json:
        console.say(json.dumps(found))
    for code in (UNREADABLE, CHANGED, UNSIGNED):
        if code in codes:
            raise typer.Exit(code)


def _code(report: Report, source: Path | None) -> int:
    if report.holds:
        return 0 if source is None or report.of_source else CHANGED
    return {"absent": UNSIGNED, "unchecked": UNREADABLE}.get(report.signature, CHANGED)
