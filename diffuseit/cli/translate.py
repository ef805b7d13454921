"""The command `diffuseit translate`: from its options, or from an earlier result, to a recipe.

What is heavy is imported inside the functions, so that `--help` comes at once. Images are read before torch is
imported, so that a wrong name is told at once too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import InputError
from ..images.choices import LARGEST_SEED, FitMode, Folder, SizeMode
from ..images.medical.cut import Cut, Plane
from ..schema import LONGEST_TEXT, shown
from ..shards import Shard
from .options import is_folder, path
from .texts import texts_of

if TYPE_CHECKING:
    from .request import Request

MOST_VARIATIONS = 64
_BESIDE_AGAIN = {
    "keep_identity",
    "source",
    "again",
    "output",
    "style",
    "mask",
    "models",
    "device",
    "mark",
    "sign",
    "cert",
    "key",
}

# The groups of options in the help.
_what = partial(typer.Option, rich_help_panel="What the result shows")
_how = partial(typer.Option, rich_help_panel="How it is made")
_checkpoint = partial(typer.Option, rich_help_panel="With a diffusers checkpoint")
_shape = partial(typer.Option, rich_help_panel="Size and shape")
_results = partial(typer.Option, rich_help_panel="Results")
_film = partial(typer.Option, rich_help_panel="Films and views")
_medical = partial(typer.Option, rich_help_panel="DICOM and NIfTI files")


def translate(
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            parser=path, metavar="SOURCE", help="The image, film, or volume to translate, or a folder."
        ),
    ],
    to: Annotated[
        list[str] | None,
        _what(metavar="TEXT", help="A text, such as 'a photo of a leopard'. Several make a result each."),
    ] = None,
    targets: Annotated[
        Path | None,
        _what(parser=path, metavar="FILE", help="A text on each line of a file, as several --to."),
    ] = None,
    from_: Annotated[
        str | None, _what("--from", metavar="TEXT", help="What SOURCE shows. It makes --to more precise.")
    ] = None,
    style: Annotated[
        Path | None,
        _what(parser=path, metavar="IMAGE", help="Instead of --to: an image with the target style."),
    ] = None,
    mask: Annotated[
        Path | None,
        _what(parser=path, metavar="IMAGE", help="White where SOURCE may change, black where it stays."),
    ] = None,
    models: Annotated[
        str,
        _how(
            metavar="NAME",
            help="The networks: 'pocket' ships with this package, `diffuseit models list` shows other bundles. "
            "Or the folder of a diffusers checkpoint, or a JSON file that names your own.",
        ),
    ] = "pocket",
    preset: Annotated[
        str | None,
        _how(
            metavar="NAME|FILE",
            help="Settings by name, or a file that DiffuseIT Save Preset has written. `diffuseit presets` lists the "
            "names.",
        ),
    ] = None,
    seed: Annotated[
        int, _how(metavar="N", help="Where the random numbers start. Each seed gives another result.")
    ] = 0,
    steps: Annotated[
        int | None, _how(min=1, metavar="N", help="Steps of the whole schedule. More are slower and finer.")
    ] = None,
    skip: Annotated[
        int | None,
        _how(min=0, metavar="N", help="Steps left out at the noisy end. More stay closer to SOURCE."),
    ] = None,
    resample: Annotated[
        int | None,
        _how(min=0, metavar="N", help="Visits of the first step. More depart further from SOURCE."),
    ] = None,
    features: Annotated[
        str | None,
        _checkpoint(
            metavar="NAME", help="Whose ViT and CLIP the losses use, a name for --models; by default 'paper'."
        ),
    ] = None,
    cfg: Annotated[
        float | None,
        _checkpoint(
            min=0,
            max=100,
            metavar="X",
            help="How strongly the model itself follows --to. More gives less variety. By default 3.",
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        _checkpoint(
            min=32,
            max=4096,
            metavar="N",
            help="Side of a square image in pixels. By default that of its training.",
        ),
    ] = None,
    device: Annotated[
        str, _how(metavar="NAME", help="Where the networks run, such as 'cuda' or 'mps'.")
    ] = "cpu",
    fit: Annotated[
        FitMode, _shape(help="Keep the shape of SOURCE, crop its middle to a square, or stretch it to one.")
    ] = "keep",
    size: Annotated[
        SizeMode | None,
        _shape(
            help="Leave the result at the model's size, or bring it to the size of SOURCE. "
            "By default 'model' for images, 'source' for films, views, and results in DICOM and NIfTI."
        ),
    ] = None,
    detail: Annotated[
        float,
        _shape(
            min=0,
            max=1,
            metavar="X",
            help="At the size of SOURCE: how much of the detail of SOURCE the result gets. 0 only resizes it.",
        ),
    ] = 1.0,
    window: Annotated[
        str,
        _shape(
            metavar="LEVEL,WIDTH|auto|full",
            help="Which levels of a 16-bit or float SOURCE become black to white: a range by its middle and its width, "
            "all that the file can hold, or (auto) what is there.",
        ),
    ] = "auto",
    variations: Annotated[
        int,
        _results(
            min=1,
            max=MOST_VARIATIONS,
            metavar="K",
            help="Try K seeds and rank them by the losses: OUT is the best, OUT-2 the next, OUT-grid shows all.",
        ),
    ] = 1,
    shard: Annotated[
        str,
        _results(
            metavar="I/N",
            help="If SOURCE is a folder: translate part I of N of it alone, such as 3/16. Parts differ in the names.",
        ),
    ] = "1/1",
    with_labels: Annotated[
        Path | None,
        _results(
            parser=path,
            metavar="DIR",
            help="The folder with the labels of SOURCE (mask, label map, JSON), by its name. They follow into "
            "OUT/labels, on the pixels of the results.",
        ),
    ] = None,
    again: Annotated[
        Path | None,
        _results(parser=path, metavar="RESULT", help="Take every setting from this earlier result."),
    ] = None,
    mark: Annotated[
        bool,
        _results(
            "--mark/--no-mark",
            help="Say in the metadata that a trained model has changed the image (IPTC's DigitalSourceType).",
        ),
    ] = True,
    sign: Annotated[
        bool,
        _results(
            "--sign",
            help="Sign results (C2PA), with SOURCE as their origin. Without --key, with a local key that is made on "
            "first use.",
        ),
    ] = False,
    cert: Annotated[
        Path | None,
        _results(parser=path, metavar="PEM", help="With --sign: your certificate and those above it."),
    ] = None,
    key: Annotated[
        Path | None, _results(parser=path, metavar="PEM", help="With --sign: the private key of --cert.")
    ] = None,
    watermark: Annotated[
        bool,
        _results(
            "--watermark",
            help="Hide a watermark in the pixels (TrustMark), which survives more than metadata do. See `diffuseit "
            "models list`.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        _results(
            "-o",
            "--output",
            parser=path,
            metavar="OUT",
            help="The file or folder to write. By default SOURCE-translated in the current folder.",
        ),
    ] = None,
    as_: Annotated[
        Folder | None,
        _film(
            "--as",
            help="What a folder is: single images, the frames of a film, or views of a scene. Views are known by their "
            "transforms.json, or by the text files of COLMAP.",
        ),
    ] = None,
    frames: Annotated[
        str | None,
        _film(
            metavar="A:B", help="Only the frames from A on, up to B, counted from 0. Either may be left out."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        _film(min=0.01, max=1000, metavar="X", help="Frames a second of a folder, by default 24."),
    ] = None,
    consensus: Annotated[
        float | None,
        _film(
            min=0,
            max=1,
            metavar="X",
            help="How far frames are averaged along what moves, by default 1, or slices of a volume with those beside "
            "them while they are made, by default 0. More flickers less, and is softer.",
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        _film(
            min=1,
            max=1000,
            metavar="N",
            help="Frames translated together, or slices with --consensus. Fewer need less memory. By default 8.",
        ),
    ] = None,
    flow: Annotated[
        str | None,
        _film(
            metavar="dis|raft|DIR",
            help="How it is known what moves: estimated by OpenCV (dis, the default) or by the network RAFT, or from "
            "files of 3D software (.flo, or OpenEXR with Blender's Vector pass). Views with depth maps need none.",
        ),
    ] = None,
    slices: Annotated[
        str | None,
        _medical(
            metavar="A:B", help="Translate slices (frames) A up to, but not including, B, counted from 0."
        ),
    ] = None,
    axis: Annotated[
        Plane | None, _medical(help="The plane of the slices of a NIfTI volume. [default: axial]")
    ] = None,
    volume: Annotated[
        int | None, _medical(min=0, metavar="N", help="Which volume of a NIfTI file of several, from 0.")
    ] = None,
    keep_identity: Annotated[
        bool,
        _medical(
            "--keep-identity",
            help="Copy patient and study into the result. Without it, the result has none of them.",
        ),
    ] = False,
    engine: Annotated[
        Literal["here", "ray"],
        _results(help="Who makes the results of a folder: this process, or the workers of a Ray cluster."),
    ] = "here",
    workers: Annotated[
        int | None,
        _results(
            min=1,
            metavar="N",
            help="With --engine ray: how many workers. By default as many as there are processors, or GPUs with "
            "--device cuda.",
        ),
    ] = None,
) -> None:
    """Translate an image or a film toward a text or a style image.

    If SOURCE is a folder, translate every image in it that OUT does not have yet.
    Video files and animated images keep their times and their sound. A run that was stopped goes on by the same
    command.
    With several texts, OUT is a folder with a result for each, and a contact sheet.
    Several commands may work on one folder, also on several machines: each takes what no other one has.

    PNG, WebP, JPEG, TIFF, OpenEXR, DICOM and NIfTI results carry their settings.
    `--again RESULT SOURCE` repeats them and gives the same pixels. Add --models for a diffusers checkpoint and for your
    own networks.
    """
    from .signing import Signing

    signing = Signing(sign, cert, key, mark)
    if again is not None:
        from .again import translate_again

        given = _given(ctx)
        if others := given - _BESIDE_AGAIN:
            names = ", ".join(f"--{name.rstrip('_').replace('_', '-')}" for name in sorted(others))
            raise InputError(f"--again takes every setting from {again}: leave out {names}")
        if is_folder(source):
            raise InputError(f"{source} is a folder: --again takes one image")
        translate_again(
            again,
            source,
            output,
            style=style,
            mask=mask,
            models=models if "models" in given else None,
            device=device,
            signing=signing,
            keep_identity=keep_identity,
        )
        return
    texts = texts_of(to or [], targets)
    if (not texts) == (style is None):
        raise InputError("Say what to translate to: either --to TEXT or --style IMAGE")
    if from_ is not None and not texts:
        raise InputError("--from says what SOURCE shows and needs --to TEXT beside it")
    if from_ is not None and len(from_) > LONGEST_TEXT:
        raise InputError(f"--from has {len(from_)} characters: use at most {LONGEST_TEXT}")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed is {shown(seed)}: use 0 to {LARGEST_SEED}")

    from ..frames.base import Range
    from ..images.window import parse_window
    from .command import Command, FilmOptions
    from .film import find_sequence, translate_film
    from .many import translate_many
    from .one import translate_one

    def request(size: SizeMode) -> Request:
        # It imports torch.
        from .request import Request

        return Request(
            to=texts,
            from_=from_,
            style=style,
            mask=mask,
            models=models,
            preset=preset,
            seed=seed,
            steps=steps,
            skip=skip,
            resample=resample,
            features=features,
            cfg=cfg,
            resolution=resolution,
            device=device,
            fit=fit,
            size=size,
            detail=detail,
            window=window,
            mark=mark,
        )

    command = Command(
        source=source,
        output=output,
        texts=texts,
        in_styles=len(texts) > 1 or targets is not None,
        style=style,
        mask=mask,
        size=size,
        detail=detail,
        window=parse_window(window),
        variations=variations,
        part=Shard.parse(shard),
        with_labels=with_labels,
        signing=signing,
        watermark=watermark,
        engine=engine,
        workers=workers,
        film=FilmOptions(as_, None if frames is None else Range.parse(frames), fps, consensus, at_once, flow),
        cut=Cut.parse(slices, axis, volume),
        keep_identity=keep_identity,
        request=request,
    )
    command.check()
    if (sequence := find_sequence(command)) is not None:
        translate_film(command, sequence)
    elif is_folder(source) or command.in_styles:
        if not translate_many(command):
            raise typer.Exit(1)
    else:
        translate_one(command)


def _given(ctx: typer.Context) -> set[str]:
    """The parameters that are on the command line."""
    return {
        name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
