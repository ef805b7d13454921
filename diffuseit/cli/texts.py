"""The texts to translate to: `--to`, given once or several times, and `--targets`. Names of files that say them."""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from pathlib import Path

from ..errors import InputError
from ..schema import LONGEST_TEXT

MOST_TEXTS = 1000
_LARGEST_FILE = MOST_TEXTS * LONGEST_TEXT * 4
LONGEST_SLUG = 48
"""Characters of a text in the name of a file, before a hash of nine."""


def texts_of(to: list[str], targets: Path | None) -> tuple[str, ...]:
    """Return the texts on the command line and in the file `targets`, each once.

    A line of the file is a text; empty lines and those that begin with # are none. Raise `InputError` for a file that
    is no list of texts, and for too many and too long ones.
    """
    listed = [] if targets is None else _lines(targets)
    for where, texts in (("--to", to), (str(targets), listed)):
        for text in texts:
            if len(text) > LONGEST_TEXT:
                raise InputError(f"{where} has {len(text)} characters: use at most {LONGEST_TEXT}")
    every = tuple(dict.fromkeys([*to, *listed]))
    if len(every) > MOST_TEXTS:
        raise InputError(f"there are {len(every)} texts to translate to: give at most {MOST_TEXTS}")
    return every


def slug(text: str) -> str:
    """Return a name for `text` that every file system takes: a to z, digits, and hyphens.

    It says the text itself where that is made of few small words. Else a hash follows, so that different texts have
    different names, whatever other texts there are.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = "-".join(re.findall("[a-z0-9]+", plain))[:LONGEST_SLUG].strip("-")
    if name.replace("-", " ") == text and name:
        return name
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def _lines(file: Path) -> list[str]:
    try:
        if not file.is_file():
            raise InputError(f"{file} cannot be opened: it is no regular file")
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{file} is too large for a list of texts: at most {MOST_TEXTS} are read")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = "it is no text in UTF-8" if isinstance(error, UnicodeError) else error
        raise InputError(f"{file} cannot be opened: {getattr(error, 'strerror', None) or reason}") from None
    texts = [text for line in lines if (text := line.strip()) and not text.startswith("#")]
    if not texts:
        raise InputError(f"{file} has no text: write one on each line")
    return texts
