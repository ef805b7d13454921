"""The command `diffuseit gallery`: what each preset and each setting does, as a page of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..schema import LONGEST_TEXT
from . import console
from .options import is_folder, path

if TYPE_CHECKING:
    from ..guidance.loop import Step

    OnPicture = Callable[[int, str, Step | None], None]

PAGE, SUFFIX = "gallery.md", ".jpg"


def gallery(
    photos: Annotated[
        Path | None,
        typer.Argument(
            parser=path, metavar="[PHOTOS]", help="A folder of images. By default scenes of the pocket world."
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="TEXT", help="With PHOTOS: what the results should show.")
    ] = "a watercolor painting",
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TEXT", help="With PHOTOS: what they show.")
    ] = None,
    style: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="IMAGE",
            help="With PHOTOS: the style image. By default the next of the PHOTOS.",
        ),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The networks, as `diffuseit translate` takes them: 'pocket' or a bundle."
        ),
    ] = "pocket",
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A preset to show. Repeat it for more. By default those for the networks."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where the networks run, such as 'cuda' or 'mps'.")
    ] = "cpu",
    output: Annotated[
        Path, typer.Option("-o", "--output", parser=path, metavar="DIR", help="The folder for the page.")
    ] = Path("output", "gallery"),
) -> None:
    """Show what each preset and each setting does.

    DIR gets the page gallery.md and the folder gallery with its pictures. PHOTOS are cropped to a square.
    """
    for option, text in (("--to", to), ("--from", from_)):
        if text is not None and not 0 < len(text.strip()) <= LONGEST_TEXT:
            raise InputError(f"{option} has {len(text)} characters: use 1 to {LONGEST_TEXT}")
    if photos is not None and not is_folder(photos):
        raise InputError(f"PHOTOS is {photos}, which is no folder: give a folder of images")
    if photos is None and style is not None:
        raise InputError("--style goes with PHOTOS: give a folder of images too")
    from ..images.io import check_writable_folder

    check_writable_folder(output)
    from ..files.atomic import atomic_path
    from ..gallery.page import FOLDER, page
    from ..gallery.photos import photo_subjects
    from ..gallery.sheets import draw, plan, presets_for
    from ..images.io import save_picture
    from ..presets import preset_named
    from .networks import as_device, load_named

    shown = [preset_named(name) for name in preset or ()]
    networks = load_named(models, as_device(device)).models
    if photos is None:
        from ..pocket.gallery import pocket_subjects

        subjects = pocket_subjects(networks.ddpm)
    else:
        with console.notes():
            subjects = photo_subjects(photos, networks.ddpm, to, from_, style)
    sheets = plan(subjects, shown or presets_for(networks), networks)
    with console.pictures_bar(sum(sheet.count for sheet in sheets)) as show:
        before = 0
        for sheet in sheets:
            picture = draw(sheet, networks, _shown(show, before, sheet.title))
            save_picture(picture, output / FOLDER / f"{sheet.name}{SUFFIX}")
            before += sheet.count
        show(before, "", None)
    with atomic_path(output / PAGE) as temporary:
        temporary.write_text(page(sheets, models, photos is None, SUFFIX), encoding="utf-8")
    console.say(f"Saved {output / PAGE} ({len(sheets)} pictures)")


def _shown(show: OnPicture, before: int, title: str) -> Callable[[int, Step | None], None]:
    return lambda number, step: show(before + number, title, step)
