"""The help pages of the nodes: tables from the schemas and locales, in pages that people write, or around nothing.

ComfyUI's front end asks for `web/docs/<node>/<language>.md` and takes pictures from `web/docs/`, so a page names
its own as `<node>/<picture>`. A picture is called after the input that it is about.
"""

import re
from pathlib import Path
from typing import Any

from .schemas import ROOT, Schema, Slot

DOCS = ROOT / "web" / "docs"
WRITTEN = ("en", "ko")  # languages whose pages people write
LANGUAGES = (*WRITTEN, "ja", "zh")

Definitions = dict[str, Any]

_HEADINGS = {
    "en": ("Inputs", "Outputs", "Name", "What it does"),
    "ko": ("입력", "출력", "이름", "설명"),
    "ja": ("入力", "出力", "名前", "説明"),
    "zh": ("输入", "输出", "名称", "说明"),
}
_OPTIONAL = {"en": "optional", "ko": "선택", "ja": "任意", "zh": "可选"}
_TABLES = re.compile(r"<!-- tables:[^\n]*-->\n.*?<!-- /tables -->", re.DOTALL)
_OPEN = "<!-- tables: written by `python -m tools.locales` -->"
_CLOSE = "<!-- /tables -->"


def pages(schemas: dict[str, Schema], definitions: dict[str, Definitions]) -> dict[Path, str | None]:
    """The text that each help page should have; None for one that somebody still has to write."""
    found: dict[Path, str | None] = {}
    for name, schema in schemas.items():
        for language in LANGUAGES:
            words = definitions[language].get(name)
            if words is None:
                continue  # reported as missing keys
            path = DOCS / name / f"{language}.md"
            tables = _tables(schema, words, language)
            found[path] = _filled(path, tables) if language in WRITTEN else _made(name, words, tables)
    return found


def _filled(path: Path, tables: str) -> str | None:
    """The page as written by hand, with its tables renewed."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return _TABLES.sub(lambda match: tables, text) if _TABLES.search(text) else None


def _made(name: str, words: Definitions, tables: str) -> str:
    """A page of a language that nobody writes pages in: description, pictures, tables."""
    inputs = words.get("inputs", {})
    pictures = [
        f"![{inputs.get(path.stem, {}).get('name', path.stem)}]({name}/{path.name})"
        for path in sorted((DOCS / name).glob("*.png"))
    ]
    return (
        "\n\n".join([f"# {words.get('display_name', name)}", words.get("description", ""), *pictures, tables])
        + "\n"
    )


def _tables(schema: Schema, words: Definitions, language: str) -> str:
    inputs, outputs, *heading = _HEADINGS[language]
    input_words, output_words = words.get("inputs", {}), words.get("outputs", {})
    taken = [_row(slot, input_words.get(slot.id, {}), language) for slot in schema.inputs]
    given = [_row(slot, output_words.get(str(n), {}), language) for n, slot in enumerate(schema.outputs)]
    parts = [_OPEN, f"## {inputs}", _table(heading, taken), f"## {outputs}", _table(heading, given), _CLOSE]
    return "\n\n".join(parts)


def _row(slot: Slot, words: Definitions, language: str) -> list[str]:
    """Name with type and default under it, for the help panel is narrow, and what it does."""
    own = slot.id or slot.display_name or slot.kind
    shown = words.get("name", own)  # beside it the name in workflow files and messages, where that is another
    details = [slot.kind]
    if slot.default not in (None, ""):
        details.append(f"`{slot.default}`")
    if slot.optional:
        details.append(_OPTIONAL[language])
    name = f"`{own}`" if shown == own else f"{shown} `{own}`"
    return [f"{name}<br>{', '.join(details)}", words.get("tooltip", "")]


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---" for _ in heading], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
