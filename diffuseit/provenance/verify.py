"""What the marks of an image file say, and whether its signature holds. The file may come from a stranger."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, ModelError
from ..files.checksum import sha256_of
from ..images.io import read_mark, read_picture, read_text
from ..images.marks import TERMS
from ..schema import parse, printable
from .library import RECIPE, SOURCE, context, library, media_type
from .watermark import Decoder, bound

State = Literal["trusted", "valid", "tampered", "expired", "damaged", "absent", "unchecked"]
"""What a signature is worth.

- trusted: it holds, and its certificate leads to a root that is trusted here;
- valid: it holds, and nobody has confirmed who signed;
- tampered: the file or its manifest was changed after signing;
- expired: the certificate has expired, and no time stamp shows that it had not at signing;
- damaged: there is a manifest that cannot be read;
- absent: there is none in the file;
- unchecked: c2pa-python is not installed.
"""

HOLDS = ("trusted", "valid")
Watermark = Literal["unchecked", "absent", "present", "other"]
"""Unchecked where TrustMark's decoder is missing; other: there is one, and not the one that the manifest declares."""

MOST_INGREDIENTS = 20
LONGEST = 300
"""Characters of a text from a manifest in a report."""

_UNTRUSTED, _EXPIRED = "signingCredential.untrusted", "signingCredential.expired"


@dataclass(frozen=True)
class Ingredient:
    """An image that went into another one, and what its own signature was worth when that one was made."""

    title: str
    relationship: str
    signature: State


@dataclass(frozen=True)
class Report:
    """What is known of a file.

    `reasons` are C2PA's codes of what is wrong with the signature. `source_type` is a term of IPTC's
    DigitalSourceType. `recipe` holds the settings of the result. `of_source` says whether the file was made of the
    given source, None if that cannot be told. `watermark` is about its pixels, and `declared_watermark` the identifier
    in its manifest. Only if the `signature` holds are these more than claims.
    """

    file: str
    signature: State
    reasons: tuple[str, ...] = ()
    signer: str | None = None
    made_with: str | None = None
    source_type: str | None = None
    ingredients: tuple[Ingredient, ...] = ()
    of_source: bool | None = None
    recipe: Mapping[str, Any] | None = None
    watermark: Watermark = "unchecked"
    declared_watermark: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the file is signed and unchanged."""
        return self.signature in HOLDS

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def verify(
    path: Path, *, source: Path | None = None, roots: str = "", decoder: Decoder | None = None
) -> Report:
    """Return what is known of the image in `path`, and whether `source` is what it was made of.

    With a `decoder`, its pixels are searched for a watermark. `roots` are trusted root certificates (PEM). Raise
    `InputError` if a file cannot be read or is no image.
    """
    mark, text = read_mark(path), read_text(path)
    name = printable(str(path))
    state, store, reasons = _read(path, roots)
    manifests = _dict(store.get("manifests"))
    manifest = _dict(manifests.get(str(store.get("active_manifest"))))
    action = _action(manifest)
    parameters = _dict(action.get("parameters"))
    signature = _dict(manifest.get("signature_info"))
    declared = bound(_list(manifest.get("assertions")))
    recipe = _recipe(parameters.get(RECIPE), name) or _recipe(text, name)
    return Report(
        file=name,
        signature=state,
        reasons=reasons,
        signer=_text(signature.get("common_name")) or _text(signature.get("issuer")),
        made_with=_made_with(manifest),
        source_type=_term(action.get("digitalSourceType")) or mark,
        ingredients=tuple(map(_ingredient, _list(manifest.get("ingredients"))[:MOST_INGREDIENTS])),
        of_source=None if source is None else _of_source(source, manifest, parameters, recipe),
        recipe=recipe,
        watermark="unchecked" if decoder is None else _watermark(path, decoder, declared),
        declared_watermark=declared,
    )


def _read(path: Path, roots: str) -> tuple[State, dict[str, Any], tuple[str, ...]]:
    """The state of the signature, c2pa's report, and what is wrong."""
    try:
        c2pa = library()
    except ModelError as error:
        return "unchecked", {}, (str(error),)
    kind = media_type(path)
    if kind is None:
        return "absent", {}, ()
    try:
        with path.open("rb") as file, c2pa.Reader(kind, file, context=context(roots)) as reader:
            store = _dict(json.loads(reader.json()))
            judged = reader.get_validation_state()
    except c2pa.C2paError as error:
        what = str(error)
        if what.startswith(("ManifestNotFound", "NotSupported")):
            return "absent", {}, ()
        if what.startswith("Remote"):
            return (
                "absent",
                {},
                (f"its manifest is elsewhere and is not fetched: {printable(what[:LONGEST])}",),
            )
        return "damaged", {}, (printable(what[:LONGEST]),)
    except OSError as error:
        raise InputError(f"{printable(str(path))} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # of json.loads
        return "damaged", {}, (type(error).__name__,)
    codes = _codes(store.get("validation_results"))
    wrong = tuple(code for code in codes if code != _UNTRUSTED)
    if judged == "Trusted":
        return "trusted", store, ()
    if judged == "Valid":
        return "valid", store, ()
    return "expired" if wrong == (_EXPIRED,) else "tampered", store, wrong


def _watermark(path: Path, decoder: Decoder, declared: str | None) -> Watermark:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = decoder.read(read_picture(path).over())
    if found is None:
        return "absent"
    return "other" if declared is not None and found != declared else "present"


def _codes(results: object) -> list[str]:
    """C2PA's codes of what failed in the manifest itself."""
    failures = _list(_dict(_dict(results).get("activeManifest")).get("failure"))
    codes = [_text(_dict(failure).get("code")) for failure in failures]
    return list(dict.fromkeys(code for code in codes if code))


def _action(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The last action that says how the image was made."""
    found: Mapping[str, Any] = {}
    for assertion in _list(manifest.get("assertions")):
        if str(_dict(assertion).get("label")).startswith("c2pa.actions"):
            for action in map(_dict, _list(_dict(_dict(assertion).get("data")).get("actions"))):
                if "digitalSourceType" in action:
                    found = action
    return found


def _ingredient(found: object) -> Ingredient:
    values = _dict(found)
    codes = [code for code in _codes(values.get("validation_results")) if code != _UNTRUSTED]
    state: State = "valid" if "active_manifest" in values else "absent"
    if state == "valid" and codes:
        state = "expired" if codes == [_EXPIRED] else "tampered"
    return Ingredient(_text(values.get("title")) or "", _text(values.get("relationship")) or "", state)


def _of_source(
    source: Path,
    manifest: Mapping[str, Any],
    parameters: Mapping[str, Any],
    recipe: Mapping[str, Any] | None,
) -> bool | None:
    """Whether the file `source` is what the image was made of, by its checksum or by its own manifest."""
    checksum = parameters.get(SOURCE) or _dict(_dict(recipe).get("source")).get("sha256")
    if isinstance(checksum, str):
        return sha256_of(source) == checksum
    parents = [
        _dict(each).get("active_manifest")
        for each in _list(manifest.get("ingredients"))
        if _dict(each).get("relationship") == "parentOf"
    ]
    if not any(parents):
        return None
    _, store, _ = _read(source, "")
    return store.get("active_manifest") in parents


def _made_with(manifest: Mapping[str, Any]) -> str | None:
    generators = _list(manifest.get("claim_generator_info"))
    if not generators:
        return _text(manifest.get("claim_generator"))
    first = _dict(generators[0])
    return _text(" ".join(str(first[key]) for key in ("name", "version") if key in first))


def _recipe(document: object, name: str) -> dict[str, Any] | None:
    if not isinstance(document, str):
        return None
    try:
        values = parse(document, name)
    except InputError:
        return None
    return values if isinstance(values, dict) and "preset" in values else None


def _term(value: object) -> str | None:
    text = _text(value)
    return text.removeprefix(TERMS) if text else None


def _text(value: object) -> str | None:
    return printable(value[:LONGEST]) if isinstance(value, str) and value else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
