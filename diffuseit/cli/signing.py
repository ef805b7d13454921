"""Signatures of results, as `diffuseit translate` makes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from . import console

if TYPE_CHECKING:
    from ..images.deep import DeepPicture
    from ..images.io import Picture
    from ..provenance.credential import Credential
    from ..provenance.sign import Signature
    from ..provenance.watermark import Encoder


class Signing(NamedTuple):
    """Whether results are signed and marked, and with which key; None is the local one."""

    sign: bool
    certificates: Path | None
    key: Path | None
    marked: bool


def credential_for(signing: Signing, targets: Iterable[Path]) -> Credential | None:
    """Return the key for the results `targets`, if they are to be signed.

    Raise `InputError` for options that contradict each other, for a key that cannot be used, and for a target of a
    format that cannot be signed.
    """
    sign, certificates, key, marked = signing
    if not sign:
        if certificates is not None or key is not None:
            raise InputError("--cert and --key go with --sign: add it")
        return None
    if not marked:
        raise InputError("A signature says what has made an image: leave out --no-mark or --sign")
    if (certificates is None) != (key is None):
        raise InputError("--cert and --key belong together: give both, or neither for the local key")

    from ..provenance.credential import KEY_FILE, keys_folder, local_credential, read_credential
    from ..provenance.sign import check_signable

    for suffix in {target.suffix.lower() for target in targets}:
        check_signable(suffix)
    if certificates is not None and key is not None:
        return read_credential(certificates, key)
    file = keys_folder() / KEY_FILE
    new = not file.exists()
    found = local_credential()
    if new:
        console.note(f"{file} is your new signing key, for results of this machine: keep it to yourself")
    return found


def encoder_for(watermark: bool, picture: Picture | DeepPicture | None) -> Encoder | None:
    """Return what hides watermarks, if results are to have them.

    Raise `ModelError` if something is missing, and `InputError` if the source has more than 8 bits.
    """
    if not watermark:
        return None
    from ..images.deep import DeepPicture

    if isinstance(picture, DeepPicture):
        raise InputError("--watermark is for images of 8 bits: leave it out, or convert the source")
    from ..provenance.watermark import Encoder

    return Encoder.load()


class Hidden(NamedTuple):
    """The identifier of the watermark in a result, or why there is none."""

    identifier: str | None = None
    failure: str | None = None


def lacking(saved: Path, signature: Signature | None, hidden: Hidden | None) -> str | None:
    """Return why a saved result is not signed, or has no watermark, if it was to; and say what is worth knowing."""
    for line in [] if signature is None else signature.notes:
        console.note(f"{saved}: {line}")
    if signature is not None and signature.failure is not None:
        return f"{saved} is saved, but not signed: {signature.failure}"
    if hidden is not None and hidden.failure is not None:
        return f"{saved} is saved, but has no watermark: {hidden.failure}"
    return None
