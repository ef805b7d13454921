"""A folder of sources, several texts, or both: many results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..images.folder import unread_in
from ..images.io import check_readable
from ..images.labels import Labels
from . import console
from .batch import Outcome, follow, save_sheet, translate_all, work_in
from .command import Command
from .options import is_folder
from .output import folder_for, is_medical, taken
from .signing import credential_for, encoder_for
from .stacks import StackOptions


def translate_many(command: Command) -> bool:
    """Make the results that are not there. Return whether all could be made. Raise `InputError` for what cannot be."""
    command.check_still()
    source, on_ray = command.source, command.engine == "ray"
    if command.variations > 1:
        what = f"{source} is a folder" if is_folder(source) else "there are several texts"
        raise InputError(f"{what}: --variations takes one image and one text")
    folder = folder_for(source, command.output)
    whole = work_in(source, folder, command.texts, command.in_styles)
    work = [each for each in whole if command.part.has(each.source.name)]
    todo = [each for each in work if not taken(each.target)]
    if command.with_labels is not None and (bare := Labels.lacking(each.target for each in work)):
        those = "1 result that is there has" if bare == 1 else f"{bare} results that are there have"
        again = "it to make it" if bare == 1 else "them to make them"
        console.note(f"{those} no labels: remove {again} again")
    if not todo:
        _say(source, folder, len(work), Outcome())
        return True
    if not is_folder(source):
        check_readable(source)
    labels, options = None, StackOptions.of(command).masked(command.mask, None)
    if command.with_labels is not None:
        # Workers of Ray have another current folder.
        where = command.with_labels.absolute() if on_ray else command.with_labels
        labels = Labels.find(where, dict.fromkeys(each.source for each in work), folder)
    credential = credential_for(command.signing, [each.target for each in todo])
    if command.watermark and any(is_medical(each.target, each.source) for each in todo):
        raise InputError("--watermark is for images: films, DICOM, and NIfTI files get none")
    encoder = encoder_for(command.watermark, None)

    request = command.request(command.size or "model")
    # Ray has the devices. Here, what cannot be is told before its workers start.
    here = replace(request, device="cpu") if on_ray else request
    jobs = here.jobs(folder, credential, encoder)
    if on_ray:
        from .ray import translate_on_ray

        settled = translate_on_ray(todo, request, folder, labels, options, command.workers)
        outcome = follow(settled, len(todo))
    else:
        outcome = translate_all(todo, jobs, labels, options)
    _say(source, folder, len(work), outcome)
    if command.in_styles:
        from ..images.marks import of_result

        if sheet := save_sheet(whole, folder, of_result(None) if command.signing.marked else None):
            console.say(f"Saved {sheet}")
    return not (outcome.failed or outcome.lacking)


def _say(source: Path, output: Path, count: int, outcome: Outcome) -> None:
    there = count - outcome.done - outcome.failed
    console.say(f"{outcome.done} translated into {output}, {there} there already, {outcome.failed} failed")
    if is_folder(source) and (unread := unread_in(source)):
        console.note(f"{source} has {unread}")
    for picture, reason in outcome.failures:
        console.complain(f"Failed: {reason if str(picture) in reason else f'{picture}: {reason}'}")
    for failure in outcome.lacking:
        console.complain(failure)
