"""The command `diffuseit translate`: from its options, or from an earlier result, to a recipe.

What is heavy is imported inside the functions, so that `--help` comes at once. Images are read before torch is
imported, so that a wrong name is told at once too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from ..errors import InputError
from ..images.choices import LARGEST_SEED, FitMode, Folder, SizeMode
from ..images.medical.cut import Cut, Plane
from ..schema import LONGEST_TEXT, shown
from ..shards import Shard
from . import console
from .options import is_folder, path
from .signing import credential_for, encoder_for
from .texts import texts_of

if TYPE_CHECKING:
    from ..images.deep import DeepPicture
    from ..images.io import Picture
    from ..images.recipe import FileRef
    from ..images.window import Window
    from .batch import Outcome

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

    PNG, WebP, JPEG, TIFF, DICOM and NIfTI results carry their settings.
    `--again RESULT SOURCE` repeats them and gives the same pixels. Add --models for a diffusers checkpoint and for your
    own networks.
    """
    if again is not None:
        given = _given(ctx)
        if others := given - _BESIDE_AGAIN:
            names = ", ".join(f"--{name.rstrip('_').replace('_', '-')}" for name in sorted(others))
            raise InputError(f"--again takes every setting from {again}: leave out {names}")
        if is_folder(source):
            raise InputError(f"{source} is a folder: --again takes one image")
        where = models if "models" in given else None
        _translate_again(
            again, source, output, style, mask, where, device, mark, (sign, cert, key), keep_identity
        )
        return
    texts = texts_of(to or [], targets)
    in_styles = len(texts) > 1 or targets is not None
    if (not texts) == (style is None):
        raise InputError("Say what to translate to: either --to TEXT or --style IMAGE")
    if from_ is not None and not texts:
        raise InputError("--from says what SOURCE shows and needs --to TEXT beside it")
    if from_ is not None and len(from_) > LONGEST_TEXT:
        raise InputError(f"--from has {len(from_)} characters: use at most {LONGEST_TEXT}")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed is {shown(seed)}: use 0 to {LARGEST_SEED}")
    part = Shard.parse(shard)
    if part.of > 1 and not is_folder(source):
        raise InputError(f"--shard is for a folder: {source} is none")

    from ..frames.base import Range
    from ..images.io import check_readable, read_source
    from ..images.labels import Labels
    from ..images.medical.kinds import kind_of
    from ..images.window import parse_window
    from .batch import Outcome, follow, save_sheet, translate_all, work_in
    from .film import find_sequence, target_of
    from .output import folder_for, is_medical, taken, target_for
    from .stacks import StackOptions, only_picture, open_masks, open_source, translate_stack

    if engine == "ray" and not (is_folder(source) or in_styles):
        raise InputError("--engine ray is for a folder or several texts: leave it out for one result")
    if engine == "ray" and sign:
        raise InputError("--engine ray goes without --sign: a private key stays on its machine")
    if engine == "ray" and watermark:
        raise InputError("--engine ray goes without --watermark: leave it out")
    if workers is not None and engine != "ray":
        raise InputError("--workers goes with --engine ray: add it")
    if variations > 1 and with_labels is not None:
        raise InputError("--variations goes without --with-labels: give each seed a run of its own")
    chosen_window = parse_window(window)
    picture = labels = stack = cut = None
    is_stack = not is_folder(source) and kind_of(source) is not None
    options = StackOptions(
        Cut.parse(slices, axis, volume),
        size or "source",
        detail,
        keep_identity,
        consensus=consensus or 0.0,
        at_once=at_once,
    )
    if options.cut != Cut() and not is_folder(source) and kind_of(source) is None:
        raise InputError(f"--slices, --axis, and --volume are for DICOM and NIfTI files: {source} is none")
    some = None if frames is None else Range.parse(frames)
    sequence = find_sequence(source, as_, some, fps, output)
    if sequence is None and not is_stack and (consensus is not None or at_once is not None):
        name = "--at-once" if consensus is None else "--consensus"
        raise InputError(f"{name} is for films, views, and volumes: {source} is none")
    results: list[Path] = []
    if sequence is not None:
        contradictions = {
            "--variations": variations > 1,
            "--with-labels": with_labels is not None,
            "--shard": part.of > 1,
            "--window": window != "auto",
            "--sign": sign,
            "several texts": in_styles,
            "--engine ray": engine == "ray",
        }
        if refused := [name for name, there in contradictions.items() if there]:
            raise InputError(f"{source} is a sequence of frames, which goes without {refused[0]}")
        numbers = (some or Range()).within(sequence.count, str(source))
        film_target = target_of(sequence, source, output)
        folder = film_target.path.parent
    elif is_folder(source) or in_styles:
        if variations > 1:
            what = f"{source} is a folder" if is_folder(source) else "there are several texts"
            raise InputError(f"{what}: --variations takes one image and one text")
        folder = folder_for(source, output)
        whole = work_in(source, folder, texts, in_styles)
        work = [each for each in whole if part.has(each.source.name)]
        todo = [each for each in work if not taken(each.target)]
        if with_labels is not None and (bare := Labels.lacking(each.target for each in work)):
            those = "1 result that is there has no labels: remove it to make it again"
            console.note(
                those
                if bare == 1
                else f"{bare} results that are there have no labels: remove them to make them again"
            )
        if not todo:
            _say_batch(source, folder, len(work), Outcome())
            return
        results = [each.target for each in todo]
        if not is_folder(source):
            check_readable(source)
        if with_labels is not None:
            # Workers of Ray have another current folder.
            labels = Labels.find(
                with_labels.absolute() if engine == "ray" else with_labels,
                dict.fromkeys(each.source for each in work),
                folder,
            )
    else:
        target = target_for(source, output, variations)
        target.check_is_none_of({"source": source, "style image": style, "mask": mask})
        folder, results = target.path.parent, [target.path]
        if kind_of(source) is None:
            with console.notes():
                picture = read_source(source, chosen_window)
        else:
            stack = open_source(source, chosen_window, options)
            cut = stack.cut
            if not is_medical(target.path, source):
                picture, stack = only_picture(stack), None
            elif variations > 1:
                raise InputError("--variations makes pictures: end the name in .png or .tif with -o")
            elif with_labels is not None and len(stack) > 1:
                raise InputError(
                    "--with-labels is for images: the labels of a volume fit its result, whose grid is the same"
                )
            else:
                size = options.size
        if with_labels is not None:
            labels = Labels.find(with_labels, [source], folder)
    if mask is not None and kind_of(mask) == "NIfTI":
        options = replace(options, masks=open_masks(mask, stack))
    credential = credential_for(sign, cert, key, marked=mark, targets=results)
    if watermark and (sequence is not None or any(is_medical(each, source) for each in results)):
        raise InputError("--watermark is for images: films, DICOM, and NIfTI files get none")
    encoder = encoder_for(watermark, picture)
    from ..images.marks import of_result
    from ..images.recipe import FileRef
    from .request import Request

    size = size or ("model" if sequence is None else "source")
    request = Request(
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
        device="cpu" if engine == "ray" else device,
        fit=fit,
        size=size,
        detail=detail,
        window=window,
        mark=mark,
    )
    jobs = request.jobs(folder, credential, encoder)
    job = jobs[None] if cut is None else replace(jobs[None], recipe=replace(jobs[None].recipe, cut=cut))
    if sequence is not None:
        from ..film import FilmSettings
        from .film import FilmJob

        if not is_folder(source):
            job = replace(job, recipe=replace(job.recipe, source=FileRef.of(source, folder)))
        settings = FilmSettings()
        settings = replace(
            settings,
            during=settings.during * (1 if consensus is None else consensus),
            consensus=settings.consensus if consensus is None else consensus,
            window=settings.window if at_once is None else at_once,
        )
        film = FilmJob(job, sequence, numbers, film_target, settings)
        film.check()
        film.run()
    elif stack is not None:
        if labels is not None:
            job.with_labels(labels, source, stack.size, target.path)
        translate_stack(job, source, stack, target, options)
    elif picture is None:
        if engine == "ray":
            from .ray import translate_on_ray

            settled = translate_on_ray(
                todo, replace(request, device=device), folder, labels, options, workers
            )
            outcome = follow(settled, len(todo))
        else:
            outcome = translate_all(todo, jobs, labels, options)
        _say_batch(source, folder, len(work), outcome)
        if in_styles and (sheet := save_sheet(whole, folder, of_result(None) if mark else None)):
            console.say(f"Saved {sheet}")
        if outcome.failed or outcome.lacking:
            raise typer.Exit(1)
    elif variations > 1:
        job.variations(source, picture, target, variations)
    else:
        if labels is not None:
            job.with_labels(labels, source, picture.size, target.path)
        job.one(source, picture, target)


def presets() -> None:
    """List the presets that `diffuseit translate --preset` takes."""
    from ..preset_files import list_presets, presets_folder, read_preset
    from ..presets import PRESETS

    table = Table("preset", "what it is")
    for preset in PRESETS.values():
        table.add_row(preset.name, preset.description)
    for name, file in list_presets(presets_folder()).items():
        try:
            description = read_preset(file).description
        except InputError as error:
            description = f"cannot be used: {error}"
        table.add_row(*map(console.plain, (name, description)))
    console.show(table)
    console.say(f"Folder of saved presets: {presets_folder()}")


def _translate_again(
    made: Path,
    source: Path,
    output: Path | None,
    style: Path | None,
    mask: Path | None,
    models: str | None,
    device: str,
    marked: bool,
    signing: tuple[bool, Path | None, Path | None],
    keep_identity: bool,
) -> None:
    """Translate one image with the settings in the metadata of the result `made`.

    `style` and `mask` say where these images are now, if they are no longer where they were, and `models` where the
    diffusers checkpoint is, or the file of own networks.
    """
    from ..images.io import check_readable, read_picture, read_text
    from ..images.medical.kinds import kind_of
    from .output import is_medical, target_for
    from .stacks import StackOptions, only_picture, open_masks, open_source, translate_stack

    text = read_text(made)
    if text is None:
        raise InputError(
            f"{made} holds no settings: `diffuseit translate` did not make it, or another program saved it again"
        )
    target = target_for(source, output)
    target.check_is_none_of({"source": source, "earlier result": made})
    folder = target.path.parent
    # A wrong name is told before the seconds that torch takes. How to read the pixels, the recipe says.
    check_readable(source)
    sign, certificates, key = signing
    credential = credential_for(sign, certificates, key, marked=marked, targets=[target.path])

    from ..images.recipe import FileRef, Recipe
    from .job import Job
    from .networks import again

    recipe = Recipe.from_text(text, str(made))
    style = _found(made, "style", recipe.style, style)
    mask = _found(made, "mask", recipe.mask, mask)
    target.check_is_none_of({"style image": style, "mask": mask})
    stack = None
    cut = recipe.cut or Cut()
    options = StackOptions(
        cut, recipe.size, recipe.detail, keep_identity, consensus=cut.together, at_once=cut.at_once
    )
    if kind_of(source) is not None:
        stack = open_source(source, recipe.window or "auto", options)
        if not is_medical(target.path, source):
            picture, stack = only_picture(stack), None
    with console.notes():
        if kind_of(source) is None:
            picture = _read(source, recipe.window)
        style_picture = None if style is None else _read(style, recipe.style_window)
        mask_picture = None if mask is None or kind_of(mask) == "NIfTI" else read_picture(mask)
    if mask is not None and mask_picture is None:
        options = replace(options, masks=open_masks(mask, stack))
    networks = again(recipe, made, models, device)
    now = replace(
        recipe,
        weights=networks.weights,
        versions=networks.versions,
        checkpoint=networks.checkpoint,
        own=networks.own,
        source=FileRef.of(source, folder),
        style=_reference(style, folder),
        mask=_reference(mask, folder),
    )
    for difference in recipe.differences(now):
        console.note(f"the pixels may differ from {made}: {difference}")
    job = Job(now, networks.models, style_picture, mask_picture, marked=marked, credential=credential)
    if stack is None:
        job.one(source, picture, target)
    else:
        translate_stack(job, source, stack, target, options)


def _found(made: Path, name: str, reference: FileRef | None, given: Path | None) -> Path | None:
    """Where the image `reference` of the result `made` is. Raise `InputError` if it is not there, or is another."""
    from ..files.checksum import sha256_of

    if reference is None:
        if given is not None:
            raise InputError(f"{made} was made without a {name} image: leave out --{name}")
        return None
    found = given or reference.find(made.parent)
    if found is None:
        raise InputError(
            f"The {name} image of {made} was not found{f' at {reference.path}' if reference.path else ''}: "
            f"say with --{name} where it is"
        )
    if sha256_of(found) != reference.sha256:
        raise InputError(
            f"{found} is not the {name} image that {made} was made with: say with --{name} where that is"
        )
    return found


def _say_batch(source: Path, output: Path, count: int, outcome: Outcome) -> None:
    from ..images.folder import unread_in

    there = count - outcome.done - outcome.failed
    console.say(f"{outcome.done} translated into {output}, {there} there already, {outcome.failed} failed")
    if is_folder(source) and (unread := unread_in(source)):
        console.note(f"{source} has {unread}")
    for picture, reason in outcome.failures:
        console.complain(f"Failed: {reason if str(picture) in reason else f'{picture}: {reason}'}")
    for failure in outcome.lacking:
        console.complain(failure)


def _read(file: Path, window: Window | None) -> Picture | DeepPicture:
    """The image with the window of a recipe, at 8 bits without one."""
    from ..images.io import read_picture, read_source

    return read_picture(file) if window is None else read_source(file, window)


def _reference(file: Path | None, folder: Path) -> FileRef | None:
    from ..images.recipe import FileRef

    return None if file is None else FileRef.of(file, folder)


def _given(ctx: typer.Context) -> set[str]:
    """The parameters that are on the command line."""
    return {
        name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
