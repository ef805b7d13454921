"""`diffuseit translate --again`: one source with every setting of an earlier result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..images.io import check_readable, read_picture, read_source, read_text
from ..images.medical.cut import Cut
from ..images.medical.kinds import kind_of
from . import console
from .output import is_medical, target_for
from .signing import Signing, credential_for
from .stacks import StackOptions, only_picture, open_source, translate_stack

if TYPE_CHECKING:
    from ..images.deep import DeepPicture
    from ..images.io import Picture
    from ..images.recipe import FileRef
    from ..images.window import Window


def translate_again(
    made: Path,
    source: Path,
    output: Path | None,
    *,
    style: Path | None,
    mask: Path | None,
    models: str | None,
    device: str,
    signing: Signing,
    keep_identity: bool,
) -> None:
    """Translate one image or medical file with the settings in the metadata of the result `made`.

    `style` and `mask` say where these images are now, if they are no longer where they were, and `models` where the
    diffusers checkpoint is, or the file of own networks. Raise `InputError` for what cannot be.
    """
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
    credential = credential_for(signing, [target.path])

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
    options = options.masked(mask, stack)
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
    job = Job(now, networks.models, style_picture, mask_picture, marked=signing.marked, credential=credential)
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


def _read(file: Path, window: Window | None) -> Picture | DeepPicture:
    """The image with the window of a recipe, at 8 bits without one."""
    return read_picture(file) if window is None else read_source(file, window)


def _reference(file: Path | None, folder: Path) -> FileRef | None:
    from ..images.recipe import FileRef

    return None if file is None else FileRef.of(file, folder)
