"""The command `diffuseit evaluate`: figures for a folder of results, whoever made them."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table

from ..errors import InputError
from ..schema import LONGEST_TEXT
from . import console
from .options import is_folder, path

if TYPE_CHECKING:
    from ..evaluation.pairs import Pairs
    from ..evaluation.report import Report
    from ..evaluation.witnesses import Witnesses

Networks = Literal["auto", "pocket", "standard"]
_POCKET_SIZE = (64, 64)


def evaluate(
    results: Annotated[
        Path, typer.Argument(parser=path, metavar="RESULTS", help="The folder with the images to measure.")
    ],
    sources: Annotated[
        Path,
        typer.Option(
            parser=path, metavar="DIR", help="The images that they were made from, by the same names."
        ),
    ],
    to: Annotated[str | None, typer.Option(metavar="TEXT", help="What all results should show.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TEXT", help="What the sources show. It goes with --to.")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="CSV",
            help="A table with the column file, and any of source, to, from, class: what each result should show.",
        ),
    ] = None,
    style: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="DIR",
            help="Style images: one for each result by its name, or all of them for all results, or a folder of them "
            "for each class.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            parser=path, metavar="DIR", help="Masks by the same names: white where the source may change."
        ),
    ] = None,
    networks: Annotated[
        Networks,
        typer.Option(
            help="What measures: 'standard' for photos, 'pocket' for images of the pocket world, 'auto' by their size."
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where the networks run: a device of PyTorch, such as cuda.")
    ] = "cpu",
    output: Annotated[
        Path, typer.Option("-o", "--output", parser=path, metavar="DIR", help="The folder for the report.")
    ] = Path("report"),
) -> None:
    """Measure what a folder of results is worth.

    Whether each result kept its place, its edges and its structure, and reached its text or style.
    RESULTS may come from any program.

    DIR gets report.html, report.csv and report.json. Images that DIR has measured already are not measured again.
    """
    _check_options(results, sources, mask, style, to, from_)
    from ..evaluation.pairs import find_pairs
    from ..evaluation.report import check_folder, save
    from ..images.io import check_writable_folder

    check_writable_folder(output)
    check_folder(output, str(results))
    pairs = find_pairs(results, sources, targets=targets, style=style, masks=mask)
    from ..evaluation.folder import measure_folder
    from ..evaluation.page import page
    from .networks import as_device

    where = as_device(device)
    texts = to is not None or any(pair.target is not None and pair.target.to for pair in pairs.pairs)
    witnesses = _witnesses(networks, pairs, texts, style is not None)
    with console.pictures_bar(len(pairs.pairs)) as show:
        report = measure_folder(
            pairs,
            witnesses,
            output,
            results=str(results),
            sources=str(sources),
            to=to,
            from_=from_,
            device=where,
            on_picture=lambda done, name: show(done, name, None),
        )
    if not report.rows:
        name, reason = next(iter(report.failures.items()))
        raise InputError(f"None of the images could be measured: the first is {name}, {reason}")
    by_name = {pair.name: pair for pair in pairs.pairs}

    def files(row: object) -> list[tuple[str, Path]]:
        pair = by_name[row.name]  # type: ignore[attr-defined]
        found = [("source", pair.source), ("result", pair.result)]
        return found if pair.style is None else [*found, ("style", pair.style)]

    save(report, output, page(report, files))
    _say(report, output)
    if report.failures:
        raise typer.Exit(1)


def _check_options(
    results: Path, sources: Path, mask: Path | None, style: Path | None, to: str | None, from_: str | None
) -> None:
    for name, folder in (("RESULTS", results), ("--sources", sources), ("--mask", mask)):
        if folder is not None and not is_folder(folder):
            raise InputError(f"{name} is {folder}, which is no folder: give a folder of images")
    if style is not None and not style.exists():
        raise InputError(f"--style is {style}, which is not there: give an image or a folder of images")
    if from_ is not None and to is None:
        raise InputError("--from says what the sources show and needs --to TEXT beside it")
    for option, text in (("--to", to), ("--from", from_)):
        if text is not None and not text.strip():
            raise InputError(f"{option} is empty: say in a few words what the images show, or leave it out")
        if text is not None and len(text) > LONGEST_TEXT:
            raise InputError(f"{option} has {len(text)} characters: use at most {LONGEST_TEXT}")


def _witnesses(networks: Networks, pairs: Pairs, text: bool, sets: bool) -> Witnesses:
    """The networks that measure, with notes of what is missing."""
    if networks == "pocket" or (networks == "auto" and _all_are_pocket_sized(pairs)):
        from ..pocket.witnesses import pocket_witnesses

        return pocket_witnesses()
    from ..evaluation.witnesses import standard_witnesses

    classes = any(pair.target is not None and pair.target.class_ for pair in pairs.pairs)
    found = standard_witnesses(text=text, sets=sets, classes=classes)
    for line in found.broken:
        console.note(line)
    if more := found.how_to_get_more():
        console.note(f"not measured without {more}")
    return found


def _all_are_pocket_sized(pairs: Pairs) -> bool:
    from ..images.decode import look_into

    sizes = set()
    for pair in pairs.pairs:
        with warnings.catch_warnings(), suppress(InputError):  # what cannot be read is reported later
            warnings.simplefilter("ignore")
            sizes.add(look_into(pair.result, lambda image, _: image.size))
    return sizes == {_POCKET_SIZE}


def _say(report: Report, output: Path) -> None:
    from ..evaluation.figures import SETS, figure_of, label_of
    from ..evaluation.report import HTML

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure")
    for title in ("mean", "95 % interval", "images"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in report.summaries:
        figure = figure_of(each.key)
        if each.key in ("shift_down", "shift_right"):
            continue
        ends = "" if each.interval is None else " to ".join(map(figure.show_mean, each.interval))
        table.add_row(console.plain(label_of(each.key)), figure.show_mean(each.mean), ends, str(each.count))
    for key, (label, _) in SETS.items():
        if key in report.sets:
            table.add_row(label, f"{report.sets[key]:.3f}")
    console.show(table)
    for note in report.notes:
        console.note(note)
    for name, reason in report.failures.items():
        console.complain(f"Not measured: {reason if name in reason else f'{name}: {reason}'}")
    console.say(f"Saved {output / HTML} and the tables beside it ({len(report.rows)} images)")
