"""C2PA manifests for results: what was made of which source, how, and by which key it is signed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, in_words
from ..files.atomic import atomic_path
from ..files.checksum import sha256_of
from ..images.marks import TERMS, SourceType
from ..schema import printable
from .credential import Credential
from .library import RECIPE, SIGNABLE, SOURCE, context, library, media_type

LONGEST_TITLE = 255
_UNKNOWN = "application/octet-stream"


@dataclass(frozen=True)
class Origin:
    """What a manifest says of a result: the file it was made of, its kind, and its settings as JSON text.

    The manifest of the source, if it has one, becomes part of that of the result. Without a source, the result is said
    to be created. `watermark` is the identifier that its pixels hold.
    """

    mark: SourceType
    source: Path | None = None
    recipe: str | None = None
    watermark: str | None = None


@dataclass
class Signature:
    """Signs the file of one result, which `save_picture` is about to put in its place.

    A failure leaves the file as it is. `failure` then says why, and `notes` what else is worth knowing.
    """

    credential: Credential
    origin: Origin
    failure: str | None = None
    notes: list[str] = field(default_factory=list)

    def __call__(self, file: Path, suffix: str) -> None:
        """Sign `file`, whose name will end in `suffix`."""
        self.failure, self.notes = None, []
        try:
            self.notes = sign(file, suffix, self.credential, self.origin)
        except Exception as error:  # the image took long to make, and is there
            self.failure = in_words(error)


def check_signable(suffix: str) -> None:
    """Raise `InputError` unless results with this extension (lower case) can be signed."""
    if suffix not in SIGNABLE:
        raise InputError(
            f"{suffix[1:].upper() or 'Such'} files cannot hold a signature: take one of {', '.join(SIGNABLE)}"
        )


def sign(file: Path, suffix: str, credential: Credential, origin: Origin) -> list[str]:
    """Put a signed manifest into an image file, whole or not at all. Return what is worth knowing.

    Raise `InputError` for a format that cannot be signed, and c2pa's own errors. Metadata that are written afterwards
    break the signature.
    """
    check_signable(suffix)
    kind, notes = SIGNABLE[suffix], []
    builder = _builder(origin)
    if origin.source is not None:
        title = printable(origin.source.name)[:LONGEST_TITLE]
        try:
            _add_source(builder, origin.source, title, _media_type(origin.source))
        except library().C2paError as error:
            notes.append(
                f"the provenance of {title} is damaged, so it is not passed on: {printable(str(error)[:200])}"
            )
            builder = _builder(origin)
            _add_source(builder, origin.source, title, _UNKNOWN)
    with atomic_path(file) as temporary, file.open("rb") as unsigned, temporary.open("w+b") as signed:
        builder.sign(credential.signer(), kind, unsigned, signed)
    return notes


def _builder(origin: Origin) -> Any:
    c2pa = library()
    from ..images.recipe import own_version

    agent = {"name": "DiffuseIT", "version": own_version()}
    made: dict[str, Any] = {}
    if origin.recipe is not None:
        made[RECIPE] = origin.recipe
    if origin.source is not None:
        made[SOURCE] = sha256_of(origin.source)
    action: dict[str, Any] = {
        "action": "c2pa.created" if origin.source is None else "c2pa.edited",
        "digitalSourceType": TERMS + origin.mark,
        "softwareAgent": agent,
    }
    if made:
        action["parameters"] = made
    actions = [action]
    manifest: dict[str, Any] = {
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions.v2", "created": True, "data": {"actions": actions}}],
    }
    if origin.watermark is not None:
        from .watermark import binding

        actions.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent})
        manifest["assertions"].append({"created": True} | binding(origin.watermark))
    builder = c2pa.Builder(json.dumps(manifest), context())
    if origin.source is not None:
        # It puts the action c2pa.opened before ours.
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    return builder


def _add_source(builder: Any, source: Path, title: str, kind: str) -> None:
    with source.open("rb") as file:
        builder.add_ingredient({"title": title, "relationship": "parentOf"}, kind, file)


def _media_type(source: Path) -> str:
    try:
        return media_type(source) or _UNKNOWN
    except InputError:  # a volume, or a kind of file that Pillow does not know
        return _UNKNOWN
