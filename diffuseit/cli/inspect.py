"""The commands `diffuseit inspect`, which show and measure what a vision transformer sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table

from ..errors import InputError
from . import console
from .options import is_folder, path

if TYPE_CHECKING:
    from ..inspection.design import Design
    from ..inspection.gram import Place
    from ..inspection.separation import Separation
    from ..models.vit import ViT

app = typer.Typer(help="See and measure what a vision transformer tells apart.", no_args_is_help=True)

POCKET = "pocket"
CONTENTS = 32

Vit = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The vision transformer: 'pocket', a model of `diffuseit models list --kind vit`, or a file.",
    ),
]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="Where the network runs: a device of PyTorch, such as cuda.")
]
Random = Annotated[
    bool,
    typer.Option("--random-weights", help="The same network before any training, to compare with."),
]


@app.command("separation")
def separation_command(
    vit: Vit = POCKET,
    random_weights: Random = False,
    layers: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Which layers: 'all', or numbers such as 0,5,-1.")
    ] = "all",
    pairs: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="DIR",
            help="Your own images: a folder for each style, with the same names in each, as in DIR/winter/house.png "
            "and DIR/night/house.png. Without it: scenes of the pocket world.",
        ),
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(
            metavar="FACET",
            help="The facet of the score that should know the content: query, key, value, token, cls, or similarity; "
            "with a layer as in key:5. By default the keys that the structure loss compares.",
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            metavar="FACET",
            help="The facet of the score that should know the style. By default the last [CLS].",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=2, max=500, help=f"How many scenes of the pocket world. By default {CONTENTS}."
        ),
    ] = None,
    domain: Annotated[
        Literal["landscape", "animal", "both"] | None,
        typer.Option(help="Which scenes of the pocket world. By default both."),
    ] = None,
    seeds: Annotated[
        Literal["held-out", "tuning"] | None,
        typer.Option(help="Scenes held out for measuring (the default), or scenes for trying things out."),
    ] = None,
    device: Device = "cpu",
    output: Annotated[
        Path, typer.Option("-o", "--output", parser=path, metavar="DIR", help="The folder for the figures.")
    ] = Path("separation"),
) -> None:
    """Measure how far a vision transformer separates content from style.

    The images show every content in every style.
    So the variance of the features splits into content, style, and a rest.
    The shares are corrected for chance. They are measured for each layer of
    queries, keys, values, tokens, [CLS], and the self-similarity of keys.

    Content found: how often the nearest image of another style has this content.
    Style found: how often the nearest image of another content has this style.

    DIR gets separation.json, separation.csv and separation.png.
    """
    from ..images.io import check_writable_folder

    check_writable_folder(output)
    if pairs is not None:
        given = {"--n": n, "--domain": domain, "--seeds": seeds}
        if named := [option for option, value in given.items() if value is not None]:
            raise InputError(
                f"{named[0]} is for scenes of the pocket world: leave it out, or leave out --pairs"
            )
        if not is_folder(pairs):
            raise InputError(
                f"--pairs is {pairs}, which is no folder: give a folder with a folder for each style"
            )
    from ..images.recipe import current_versions, sha256_of_network
    from ..inspection.design import folder_design
    from ..inspection.report import Report, save
    from ..inspection.separation import default_pair, parse_layers, parse_place
    from .networks import as_device

    with console.notes():
        designs = [folder_design(pairs)] if pairs else _pocket_designs(n or CONTENTS, domain, seeds)
        for design in designs:
            for line in design.notes:
                console.note(line)
        where = as_device(device)
        network = _load(vit, random_weights).to(where)
        numbers = parse_layers(layers, network)
        keys, cls = default_pair(network)
        pair = (
            keys if structure is None else parse_place(structure, network, "--structure"),
            cls if style is None else parse_place(style, network, "--style"),
        )
        found = [_measured(network, design, numbers, *pair) for design in designs]
    name = f"{vit} with random weights" if random_weights else vit
    save(Report(name, sha256_of_network(network), found, current_versions(where)), output)
    for each in found:
        _say(each)
    console.say(f"Saved {output / 'separation.json'}, and the table and the plot beside it")


@app.command("picture")
def picture_command(
    files: Annotated[
        list[Path], typer.Argument(parser=path, metavar="FILE...", help="The images, or folders of images.")
    ],
    vit: Vit = POCKET,
    random_weights: Random = False,
    layer: Annotated[int, typer.Option(metavar="N", help="The layer; -1 is the last.")] = -1,
    facet: Annotated[
        Literal["key", "query", "value", "token"], typer.Option(help="Which features of the layer.")
    ] = "key",
    point: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y",
            help="Also show how similar everything is to what is there: from 0,0 at the top left to 1,1.",
        ),
    ] = None,
    device: Device = "cpu",
    output: Annotated[
        Path, typer.Option("-o", "--output", parser=path, metavar="DIR", help="The folder for the images.")
    ] = Path("inspected"),
) -> None:
    """Show the features of a layer as colors.

    The colors are the first three principal components of all images together.
    What has the same color is alike to the network, also across images.

    DIR gets NAME-pca.png for each image, and with --point NAME-similarity.png.
    """
    from ..images.io import check_writable_folder, load_picture, save_picture, to_pil, to_tensor

    check_writable_folder(output)
    where = None if point is None else _point(point)
    named = _named(files)
    with console.notes():
        pictures = [to_tensor(load_picture(file)) for file in named.values()]
    from ..inspection.facets import enlarged, patch_features
    from ..inspection.pca import principal_colors
    from ..inspection.similarity import point_similarity, similarity_colors
    from .networks import as_device

    network = _load(vit, random_weights).to(as_device(device))
    features = [patch_features(network, picture, layer, facet)[0] for picture in pictures]
    colors, shares = principal_colors(features)
    shown = {"pca": colors}
    if where is not None:
        shown["similarity"] = similarity_colors([point_similarity(one, where) for one in features], where)
    for kind, parts in shown.items():
        for name, part, picture in zip(named, parts, pictures, strict=True):
            size = (picture.shape[-2], picture.shape[-1])
            save_picture(to_pil(enlarged(part, size)), output / f"{name}-{kind}.png")
    percent = ", ".join(f"{100 * share:.0f}" for share in shares)
    console.say(f"Red, green, and blue have {percent} % of the variance")
    console.say(f"Saved {len(shown) * len(pictures)} images in {output}")


def _measured(vit: ViT, design: Design, layers: list[int], structure: Place, style: Place) -> Separation:
    from ..inspection.separation import separation

    with console.pictures_bar(len(design)) as show:
        # The images may go through the network several times: the bar shows the share of all that is done.
        return separation(
            vit,
            design,
            layers,
            structure,
            style,
            on_pictures=lambda done, total: show(done * len(design) // total, design.name, None),
        )


def _load(name: str, random_weights: bool) -> ViT:
    from ..models.hub.catalog import catalog, entry_named
    from ..models.vit import ViTConfig, load_vit, random_vit
    from ..pocket.models import pocket_vit

    file = path(name)
    if name == POCKET:
        vit = pocket_vit()
    elif name not in catalog() and file.exists():
        vit = load_vit(file)
    else:
        entry = entry_named(name)
        if entry.kind != "vit":
            raise InputError(
                f"{name} is no vision transformer: `diffuseit models list --kind vit` shows those that there are"
            )
        if random_weights:
            from ..schema import from_json

            return random_vit(from_json(ViTConfig, entry.config, f"the catalog's config of {name}"))
        from ..models.hub.catalog import require_models
        from ..models.load import load_entry

        vit = load_entry(entry, require_models([entry])[name])  # type: ignore[assignment]
    if random_weights:
        assert vit.config is not None
        return random_vit(vit.config)
    return vit


def _pocket_designs(n: int, domain: str | None, seeds: str | None) -> list[Design]:
    from ..pocket.designs import pocket_design
    from ..pocket.world.render import DOMAINS
    from ..pocket.world.seeds import HELD_OUT, TUNING

    chosen = DOMAINS if domain in (None, "both") else (domain,)
    return [pocket_design(str(one), n, TUNING if seeds == "tuning" else HELD_OUT) for one in chosen]


def _point(text: str) -> tuple[float, float]:
    from ..inspection.similarity import patch_at

    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--point is {text!r}: give x and y between 0 and 1, such as 0.5,0.25") from None
    patch_at((x, y), (1, 1))
    return x, y


def _named(files: list[Path]) -> dict[str, Path]:
    """The images by the names of their results: without extension, unless two would have the same name."""
    from ..images.folder import images_in

    every = [one for file in files for one in (images_in(file) if is_folder(file) else [file])]
    stems = [file.stem for file in every]
    names = stems if len(set(stems)) == len(stems) else [file.name for file in every]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two images are named {twice}: give them one after the other, with an -o for each")
    return dict(zip(names, every, strict=True))


def _say(found: Separation) -> None:
    design, score = found.design, found.score
    contents, styles = len(design.contents), len(design.styles)
    table = Table(
        title=console.plain(f"{design.name}: {contents} contents in {styles} styles"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("facet")
    table.add_column("layer", justify="right")
    for title in ("content %", "style %", "rest %", "content found %", "style found %"):
        table.add_column(title, justify="right")
    last = None
    for row in found.rows:
        if last not in (None, row.place.facet):
            table.add_section()
        last = row.place.facet
        shares = ["-"] * 3 if row.constant else [_percent(x) for x in (row.content, row.style, row.rest)]
        layer = "" if row.layer is None else str(row.layer)
        table.add_row(row.place.facet, layer, *shares, _percent(row.content_found), _percent(row.style_found))
    table.add_section()
    table.add_row("chance", "", "0.0", "0.0", "100.0", _percent(1 / contents), _percent(1 / styles))
    console.show(table)
    low, high = score.interval
    console.say(
        f"Separation by {score.structure} and {score.style}: {score.value:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}); with shuffled labels {score.shuffled:.3f}, p = {score.p:.3f}"
    )


def _percent(share: float) -> str:
    # Not "-0.0".
    return f"{100 * share + 0.0:.1f}" if abs(share) >= 0.0005 else "0.0"
