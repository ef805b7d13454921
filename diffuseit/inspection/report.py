"""The figures of separation as JSON, CSV, and a plot."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_path
from ..files.tables import to_csv
from ..images.io import save_picture
from .plot import plot
from .separation import RESAMPLES, SHUFFLES, Row, Score, Separation
from .variance import chance_shares

JSON, CSV, PNG = "separation.json", "separation.csv", "separation.png"
FORMAT = 1

COLUMNS = (
    *("design", "facet", "layer"),
    *("content", "content_low", "content_high", "style", "style_low", "style_high", "rest"),
    *("content_uncorrected", "style_uncorrected", "content_found", "style_found", "constant"),
)


@dataclass(frozen=True)
class Report:
    """The separations of a ViT, one for each design. `vit` is its name, `sha256` the checksum of its weights."""

    vit: str
    sha256: str
    separations: Sequence[Separation]
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "format": FORMAT,
            "vit": self.vit,
            "vit_sha256": self.sha256,
            "versions": self.versions,
            "designs": [_design(one) for one in self.separations],
        }

    def to_csv(self) -> str:
        """Return one line a facet of a layer, and a first one with the names of the columns."""
        return to_csv(COLUMNS, [_cells(one.design.name, row) for one in self.separations for row in one.rows])


def save(report: Report, folder: Path) -> None:
    """Write all three files into `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        JSON: json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n",
        CSV: report.to_csv(),
    }
    for name, content in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")
    save_picture(plot(report.vit, report.separations), folder / PNG)


def _design(one: Separation) -> dict[str, Any]:
    contents, styles = len(one.design.contents), len(one.design.styles)
    content, style = chance_shares(contents, styles)
    return {
        "name": one.design.name,
        "contents": contents,
        "styles": list(one.design.styles),
        "size": list(one.design.size),
        "notes": list(one.design.notes),
        "chance": {
            "content_uncorrected": content,
            "style_uncorrected": style,
            "content_found": 1 / contents,
            "style_found": 1 / styles,
        },
        "score": _score(one.score),
        "rows": [_row(row) for row in one.rows],
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "structure": str(score.structure),
        "style": str(score.style),
        "value": score.value,
        "interval95": list(score.interval),
        "bootstrap_samples": RESAMPLES,
        "shuffled": score.shuffled,
        "shuffles": SHUFFLES,
        "p": score.p,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "facet": row.place.facet,
        "layer": row.layer,
        "content": row.content,
        "content_interval95": list(row.content_interval),
        "style": row.style,
        "style_interval95": list(row.style_interval),
        "rest": row.rest,
        "content_uncorrected": row.uncorrected[0],
        "style_uncorrected": row.uncorrected[1],
        "content_found": row.content_found,
        "style_found": row.style_found,
        "constant": row.constant,
    }


def _cells(design: str, row: Row) -> list[str | float | None]:
    return [
        *(design, row.place.facet, row.layer),
        *(row.content, *row.content_interval, row.style, *row.style_interval, row.rest),
        *(*row.uncorrected, row.content_found, row.style_found, "yes" if row.constant else "no"),
    ]
