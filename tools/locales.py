"""Locales: English comes from the node schemas, and the other languages are compared with it.

    python -m tools.locales            # write the generated files, then list what is missing or stale
    python -m tools.locales --check    # only list it

Generated are `locales/en/nodeDefs.json`, the tables of inputs and outputs in the help pages of `web/docs/`, and the
whole help pages of the languages whose pages are not written by hand. Edit `locales/<language>/nodeDefs.json` by hand.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .help_pages import LANGUAGES, pages
from .schemas import ROOT, Schema, node_schemas

LOCALES = ROOT / "locales"
BY_HAND = ("main", "settings")
SPECIAL = re.compile(
    r"[{}@|]"
)  # vue-i18n, which the front end reads messages with, takes these for its syntax

Definitions = dict[str, Any]


def english(schemas: dict[str, Schema]) -> Definitions:
    """Return the schemas in the format in which ComfyUI's front end looks up their texts."""
    return {name: _definition(schema) for name, schema in schemas.items()}


def _definition(schema: Schema) -> Definitions:
    inputs = {str(slot.id): _words(slot.id, slot.tooltip) for slot in schema.inputs}
    outputs = {
        str(number): _words(slot.display_name, slot.tooltip) for number, slot in enumerate(schema.outputs)
    }
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": inputs,
        "outputs": outputs,
    }


def _words(name: str | None, tooltip: str) -> Definitions:
    return {key: text for key, text in (("name", name), ("tooltip", tooltip)) if text}


def read(language: str, file: str = "nodeDefs") -> Definitions:
    """Return a file of a language; empty if it does not exist."""
    path = LOCALES / language / f"{file}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def messages(definitions: Definitions, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts with their dotted keys."""
    for key, value in definitions.items():
        if isinstance(value, dict):
            yield from messages(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def problems(schemas: dict[str, Schema]) -> list[str]:
    """Return what is missing, stale, or unfit in the locales and the help pages, one line each."""
    source = english(schemas)
    found = [] if read("en") == source else ["locales/en/nodeDefs.json is stale"]
    for language in LANGUAGES:
        found += [f"locales/{language}: {line}" for line in _compare(source, read(language), schemas)]
    for file in BY_HAND:
        found += _uneven(file)
    for path, text in pages(schemas, {language: read(language) for language in LANGUAGES}).items():
        if text is None:
            found.append(f"{_name(path)} is missing")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(f"{_name(path)} is stale")
    return found


def _uneven(file: str) -> Iterator[str]:
    """Yield what some languages have in `file` and others lack. English is elsewhere: in paths and scripts."""
    keys = {language: set(dict(messages(read(language, file)))) for language in LANGUAGES if language != "en"}
    known = set().union(*keys.values())
    for language, own in keys.items():
        yield from (f"locales/{language}: {file}.json lacks {key}" for key in sorted(known - own))


def _compare(source: Definitions, other: Definitions, schemas: dict[str, Schema]) -> Iterator[str]:
    ours, theirs = dict(messages(source)), dict(messages(other))
    yield from (f"{key} is missing" for key in ours.keys() - theirs.keys())
    yield from (f"{key} is stale: no node has it" for key in theirs.keys() - ours.keys())
    for key, text in theirs.items():
        if not text.strip():
            yield f"{key} is empty"
        if SPECIAL.search(text):
            yield f"{key} has a character that the front end takes for syntax: {text}"
    for key, choices in _choices(schemas).items():
        mentioned = [choice for choice in choices if choice in ours[key]]
        yield from (
            f"{key} does not mention {word}" for word in mentioned if word not in theirs.get(key, word)
        )


def _choices(schemas: dict[str, Schema]) -> dict[str, list[str]]:
    """Return the options of each combo by the key of its tooltip. They are the same in every language."""
    return {
        f"{schema.node_id}.inputs.{slot.id}.tooltip": list(slot.options)
        for schema in schemas.values()
        for slot in schema.inputs
        if slot.kind == "COMBO"
    }


def write(schemas: dict[str, Schema]) -> list[str]:
    """Write the generated files. Return the keys whose English has changed, so that translations can follow."""
    before, now = dict(messages(read("en"))), dict(messages(english(schemas)))
    text = json.dumps(english(schemas), ensure_ascii=False, indent=2) + "\n"
    _write(LOCALES / "en" / "nodeDefs.json", text)
    definitions = {language: read(language) for language in LANGUAGES}
    for path, page in pages(schemas, definitions).items():
        if page is not None:
            _write(path, page)
    return [key for key, text in now.items() if before.get(key, text) != text]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    schemas = node_schemas()
    if not parser.parse_args().check:
        for key in write(schemas):
            print(f"{key}: the English has changed; check the translations")
    found = problems(schemas)
    print("\n".join(found) or "All locales and help pages are complete.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
