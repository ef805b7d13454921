"""One source and one text or style image: a result, or several seeds of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..images.io import read_source
from ..images.labels import Labels
from ..images.medical.cut import Cut
from ..images.medical.kinds import kind_of
from ..images.medical.stack import Stack
from . import console
from .command import Command
from .output import is_medical, target_for
from .signing import credential_for, encoder_for
from .stacks import StackOptions, only_picture, open_source, translate_stack

if TYPE_CHECKING:
    from .job import AnyPicture


def translate_one(command: Command) -> None:
    """Translate an image or a medical file. Raise `InputError` for what cannot be."""
    command.check_still()
    source, variations = command.source, command.variations
    options = StackOptions.of(command)
    target = target_for(source, command.output, variations)
    target.check_is_none_of({"source": source, "style image": command.style, "mask": command.mask})
    opened, cut = _opened(command, target.path, options)
    stack = opened if isinstance(opened, Stack) else None
    labels = None
    if command.with_labels is not None:
        labels = Labels.find(command.with_labels, [source], target.path.parent)
    options = options.masked(command.mask, stack)
    credential = credential_for(command.signing, [target.path])
    if command.watermark and stack is not None:
        raise InputError("--watermark is for images: films, DICOM, and NIfTI files get none")
    encoder = encoder_for(command.watermark, None if isinstance(opened, Stack) else opened)

    size = command.size or "model" if stack is None else options.size
    job = command.request(size).jobs(target.path.parent, credential, encoder)[None]
    if cut is not None:
        job = replace(job, recipe=replace(job.recipe, cut=cut))
    if labels is not None:
        job.with_labels(labels, source, opened.size, target.path)
    if isinstance(opened, Stack):
        translate_stack(job, source, opened, target, options)
    elif variations > 1:
        job.variations(source, opened, target, variations)
    else:
        job.one(source, opened, target)


def _opened(command: Command, target: Path, options: StackOptions) -> tuple[AnyPicture | Stack, Cut | None]:
    """Return the image, or the slices of a medical file, and which slices these are.

    Raise `InputError` for options that do not go with slices.
    """
    source = command.source
    if kind_of(source) is None:
        with console.notes():
            return read_source(source, command.window), None
    stack = open_source(source, command.window, options)
    if not is_medical(target, source):
        return only_picture(stack), stack.cut
    if command.variations > 1:
        raise InputError("--variations makes pictures: end the name in .png or .tif with -o")
    if command.with_labels is not None and len(stack) > 1:
        raise InputError(
            "--with-labels is for images: the labels of a volume fit its result, whose grid is the same"
        )
    return stack, stack.cut
