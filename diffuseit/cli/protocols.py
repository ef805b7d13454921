"""The commands `diffuseit benchmark flexit`, `folders` and `pie`: published protocols, for any method's results."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table

from ..errors import InputError, in_words
from ..images.choices import LARGEST_SEED
from ..schema import shown
from ..shards import Shard
from . import console
from .options import is_folder, path

if TYPE_CHECKING:
    import torch

    from ..evaluation.protocols.base import Benchmark, Column
    from ..evaluation.protocols.run import Find, Scored
    from ..evaluation.witnesses import Witnesses
    from ..images.recipe import Recipe

Networks = Literal["standard", "pocket"]
MODELS = "paper"
"""The networks that translate where --preset is given and --models is not."""

Results = Annotated[
    list[Path] | None,
    typer.Option(
        parser=path,
        metavar="DIR",
        help="Another method's results, one for each request: they become a row. It may be given several times.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Translate by this preset too, with --models, and measure that. It takes long.",
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Translate with these networks: a bundle of `diffuseit models list`. [default: paper]",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Where the random numbers of the translations start.")]
ShardOption = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do part I of N alone, such as 3/16. Afterward the command without --shard takes what all parts did.",
    ),
]
NetworksOption = Annotated[
    Networks,
    typer.Option(
        help="What measures: 'standard' is the protocol's, 'pocket' are stand-ins to try the command with."
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Where the networks run: a device of PyTorch.")]
Output = Annotated[
    Path,
    typer.Option(
        "-o", "--output", parser=path, metavar="DIR", help="The folder for the figures and the translations."
    ),
]


@dataclass(frozen=True)
class _Request:
    """What the command line says beside the data."""

    results: tuple[Path, ...]
    preset: str | None
    models: str | None
    seed: int
    shard: Shard
    device: torch.device
    output: Path

    @property
    def translates(self) -> bool:
        return self.preset is not None or self.models is not None


def flexit(
    imagenet: Annotated[
        Path,
        typer.Option(
            parser=path, metavar="DIR", help="ImageNet's validation images, in a folder for each class."
        ),
    ],
    flexit: Annotated[
        Path,
        typer.Option(
            parser=path,
            metavar="DIR",
            help="A clone of github.com/facebookresearch/SemanticImageTranslation: its list and its statistics.",
        ),
    ],
    part: Annotated[
        Literal["test", "dev"],
        typer.Option(help="The requests that the paper reports, or those for settings."),
    ] = "test",
    results: Results = None,
    preset: Preset = None,
    models: Models = None,
    seed: Seed = 0,
    shard: ShardOption = "1/1",
    networks: NetworksOption = "standard",
    device: Device = "cpu",
    output: Output = Path("output", "flexit"),
) -> None:
    """FlexIT's benchmark: 1092 requests on ImageNet, such as beagle to Afghan hound.

    Its rows copy and retrieve check the ruler: they must reach their published figures.
    Results are named by the number of the request, such as 3628.png.
    """
    request = _request(results, preset, models, seed, shard, device, output, (imagenet, flexit))
    from ..evaluation.protocols.flexit import NETWORKS, load_flexit

    witnesses = _witnesses(networks, NETWORKS, "benchmark flexit")
    _run(load_flexit(imagenet, flexit, witnesses, part=part, device=request.device), request)


def folders(
    classes: Annotated[
        Path,
        typer.Option(parser=path, metavar="DIR", help="A folder with one folder of images for each class."),
    ],
    each: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Images of each class that are translated.")
    ] = 4,
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="The text, with {} where the name of the class goes.")
    ] = "{}",
    results: Results = None,
    preset: Preset = None,
    models: Models = None,
    seed: Seed = 0,
    shard: ShardOption = "1/1",
    networks: NetworksOption = "standard",
    device: Device = "cpu",
    output: Output = Path("output", "folders"),
) -> None:
    """The DiffuseIT paper's protocol, Animals and Landscapes: every class to every other.

    The first images of each class by name are translated.
    The others are what results are compared with.
    Results are named SOURCE-CLASS/TARGET-CLASS/IMAGE.png.
    """
    request = _request(results, preset, models, seed, shard, device, output, (classes,))
    from ..evaluation.protocols.folders import NETWORKS, load_folders

    witnesses = _witnesses(networks, NETWORKS, "benchmark folders")
    _run(load_folders(classes, witnesses, each=each, prompt=prompt, device=request.device), request)


def pie(
    data: Annotated[
        Path,
        typer.Option(
            parser=path, metavar="DIR", help="PIE-Bench: mapping_file.json beside annotation_images."
        ),
    ],
    results: Results = None,
    preset: Preset = None,
    models: Models = None,
    seed: Seed = 0,
    shard: ShardOption = "1/1",
    networks: NetworksOption = "standard",
    device: Device = "cpu",
    output: Output = Path("output", "pie"),
) -> None:
    """PIE-Bench: 700 images with texts and masks, in ten kinds of edits.

    Results are named as in annotation_images.
    In a strip of several images the last one counts.
    """
    request = _request(results, preset, models, seed, shard, device, output, (data,))
    from ..evaluation.protocols.pie import NETWORKS, load_pie

    witnesses = _witnesses(networks, NETWORKS, "benchmark pie")
    _run(load_pie(data, witnesses, device=request.device), request)


def _request(
    results: Sequence[Path] | None,
    preset: str | None,
    models: str | None,
    seed: int,
    shard: str,
    device: str,
    output: Path,
    data: Sequence[Path],
) -> _Request:
    """What the options say, checked before anything heavy is imported."""
    for folder in (*data, *(results or ())):
        if not is_folder(folder):
            raise InputError(f"{folder} is no folder")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed is {shown(seed)}: use 0 to {LARGEST_SEED}")
    from ..images.io import check_writable_folder
    from .networks import as_device

    check_writable_folder(output)
    return _Request(tuple(results or ()), preset, models, seed, Shard.parse(shard), as_device(device), output)


def _witnesses(networks: Networks, names: Sequence[str], what: str) -> Witnesses:
    if networks == "pocket":
        from ..pocket.witnesses import pocket_witnesses

        return pocket_witnesses()
    from ..evaluation.witnesses import required_witnesses

    return required_witnesses(names, what)


def _run(benchmark: Benchmark, request: _Request) -> None:
    from ..evaluation.protocols.run import check_folder, save, score
    from ..images.recipe import current_versions

    check_folder(request.output, benchmark)
    console.say(f"{benchmark.title}: {len(benchmark.items)} requests, list {benchmark.fingerprint}")
    for note in benchmark.notes:
        console.note(note)
    rows = _rows(benchmark, request)
    if request.translates:
        rows |= _translated(benchmark, request)
    part = len(request.shard.part(benchmark.items))
    scored = []
    for name, find in rows.items():
        with console.pictures_bar(part) as show:
            scored.append(
                score(
                    benchmark,
                    name,
                    find,
                    request.output / "rows",
                    request.shard,
                    _on_item(show, name),
                )
            )
    _say_what_failed(scored)
    if request.shard.of > 1:
        done = ", ".join(f"{row.row} {len(row.entries)} of {row.total}" for row in scored)
        console.say(
            f"Part {request.shard.number} of {request.shard.of}: {done}. Run without --shard for the figures"
        )
    else:
        save(benchmark, scored, request.output, current_versions(request.device))
        _show(benchmark, scored)
        console.say(f"Saved {request.output / 'benchmark.json'} and benchmark.csv beside it")
    if not all(row.complete for row in scored):
        raise typer.Exit(1)


def _on_item(show: Callable[..., None], row: str) -> Callable[[int, str], None]:
    return lambda done, name: show(done, f"{row}: {name}" if name else row, None)


def _rows(benchmark: Benchmark, request: _Request) -> dict[str, Find]:
    """What finds the results of each row: the references, and the folders that were given."""
    from ..evaluation.protocols.run import results_in

    rows: dict[str, Find] = {name: _from(pictures) for name, pictures in benchmark.references.items()}
    for folder in request.results:
        inner = folder / "annotation_images"
        found, notes = results_in(inner if is_folder(inner) else folder, benchmark.items)
        given = folder.resolve()
        name = _file_name(given.parent.name if given.name == "annotation_images" else given.name)
        if name in rows:
            raise InputError(f"two rows are called {name}: rename {folder}")
        rows[name] = found
        for note in notes:
            console.note(f"{name}: {note}")
    return rows


def _from(pictures: Mapping[str, Path]) -> Find:
    return lambda item: pictures[item.name]


def _file_name(text: str) -> str:
    return re.sub(r"[^\w+-]+", "-", text)[:80].strip("-") or "results"


def _translated(benchmark: Benchmark, request: _Request) -> dict[str, Find]:
    """Translate what the folder of the row does not have yet, and return what finds the results."""
    from ..evaluation.protocols.pictures import read_rgb
    from ..images.io import Picture, check_writable
    from ..images.recipe import Recipe
    from ..preset_files import find_preset, presets_folder
    from ..presets import settle
    from .job import Job
    from .networks import load_named
    from .output import taken

    chosen = None if request.preset is None else find_preset(request.preset, presets_folder())
    networks = load_named(request.models or MODELS, request.device)
    settled = settle(networks.models, "text", chosen)
    for loss in settled.losses:
        loss.with_prompts(benchmark.items[0].to, benchmark.items[0].from_)
    row = _file_name(f"{networks.name}-{settled.name}") + (f"-seed{request.seed}" if request.seed else "")
    folder = request.output / row
    recipe = Recipe(
        models=networks.name,
        weights=networks.weights,
        preset=settled,
        seed=request.seed,
        to="",
        from_="",
        fit=benchmark.fit,
        size=benchmark.size,
        versions=networks.versions,
    )
    todo = request.shard.part(benchmark.items)
    with console.pictures_bar(len(todo)) as show:
        for number, item in enumerate(todo):
            target = folder / f"{item.name}.png"
            own = replace(recipe, to=item.to, from_=item.from_)
            show(number, f"{row}: {item.name}", None)
            if taken(target):
                _check_made_by(target, own)
                continue
            try:
                check_writable(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                job = Job(own, networks.models)
                job.into(item.source, Picture(read_rgb(item.source)), target, _steps(show, number, item.name))
            except FileExistsError:
                pass
            except Exception as error:  # one image's trouble, memory for one, is not the next one's
                console.complain(f"Failed: {item.name}: {in_words(error)}")
        show(len(todo), row, None)
    return {row: lambda item: found if (found := folder / f"{item.name}.png").is_file() else None}


def _check_made_by(made: Path, recipe: Recipe) -> None:
    """Raise `InputError` if an image that is there was made with other settings or networks."""
    from ..images.io import read_text
    from ..images.recipe import Recipe

    text = read_text(made)
    known = None if text is None else Recipe.from_text(text, str(made))
    same = ("models", "weights", "preset", "seed", "to", "from_", "fit", "size")
    if known is None or any(getattr(known, name) != getattr(recipe, name) for name in same):
        raise InputError(f"{made} was made with other settings: give another folder with -o")


def _steps(show: Callable[..., None], number: int, name: str) -> Callable[[object], None]:
    return lambda step: show(number, name, step)


def _say_what_failed(rows: Sequence[Scored]) -> None:
    for row in rows:
        for note in row.notes:
            console.note(f"{row.row}: {note}")
        if row.missing:
            few = ", ".join(row.missing[:5])
            more = f" and {len(row.missing) - 5} more" if len(row.missing) > 5 else ""
            console.complain(
                f"{row.row}: {len(row.missing)} of {row.total} requests have no result: {few}{more}"
            )
        for name, reason in row.failures.items():
            console.complain(f"{row.row}: {name} was not measured: {reason}")
        if len(row.entries) == 1 and any(entry.features for entry in row.entries.values()):
            console.note(f"{row.row}: SFID and CSFID compare sets: 2 results are needed, and there is 1")
        if not row.complete:
            console.note(f"{row.row} is not complete: its figures compare with no others")


def _show(benchmark: Benchmark, rows: Sequence[Scored]) -> None:
    """A line for each figure, a column for each row, and published figures in brackets."""
    from ..evaluation.protocols.run import summary

    found = {row.row: summary(benchmark, row) for row in rows}
    others = [name for name in benchmark.published if name not in found]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure (published)", no_wrap=True)
    for name in (*found, *others):
        table.add_column(console.plain(name), justify="right", overflow="fold")
    for each in benchmark.columns:
        published = {
            name: values[each.key] for name, values in benchmark.published.items() if each.key in values
        }
        if not any(each.key in values for values in found.values()):
            continue
        cells = [
            f"{_number(each, values.get(each.key))}{_bracketed(each, published.get(name))}"
            for name, values in found.items()
        ]
        table.add_row(each.label, *cells, *(_bracketed(each, published.get(name)).strip() for name in others))
    table.add_row("results", *(f"{len(row.entries)}" for row in rows))
    console.show(table)


def _number(column: Column, value: float | None) -> str:
    return "-" if value is None else f"{value:.{column.digits}f}"


def _bracketed(column: Column, value: float | None) -> str:
    return "" if value is None else f" ({_number(column, value)})"
