"""A report as one HTML page: no scripts, nothing from elsewhere, and every word of a stranger escaped."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable
from html import escape
from pathlib import Path

from PIL import Image

from ..errors import DiffuseITError
from ..images.io import read_levels
from ..schema import printable
from .figures import SETS, Figure, figure_of, label_of
from .registration import SURE
from .report import CSV, JSON, Report
from .rows import Row

MOST_SHOWN = 300
"""Pictures on the page. The others are in the CSV file."""

_SIDE = 160
"""Pixels of the longer side of a thumbnail."""

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p { max-width: 50rem; } .soft { opacity: .75; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
.figures th, .figures td { border-bottom: 1px solid var(--line); } .number { text-align: right; white-space: nowrap; }
.result { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; border-top: 1px solid var(--line); padding: 1rem 0; }
.result h3 { flex-basis: 100%; margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
figure { margin: 0; } figcaption { font-size: .8rem; opacity: .75; }
img { display: block; width: 160px; height: 160px; object-fit: contain; background: var(--soft); }
img.small { image-rendering: pixelated; }
.values { columns: 2 20rem; column-gap: 2rem; flex: 1 1 20rem; margin: 0; }
.values div { display: flex; justify-content: space-between;
gap: 1rem; border-bottom: 1px dotted var(--line); break-inside: avoid; } dd { margin: 0; white-space: nowrap; }
.note { flex-basis: 100%; margin: 0; font-size: .9rem; } .bad { color: var(--bad); font-weight: 600; }
ul { padding-left: 1.2rem; overflow-wrap: anywhere; }
@media (max-width: 45rem) {
.figures thead { display: none; }
.figures tr { display: grid; grid-template-columns: 1fr auto auto auto; border-bottom: 1px solid var(--line); }
.figures th, .figures td { border: 0; } .figures td:last-child { grid-column: 1 / -1; opacity: .75; }
}
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a7a; } }
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

Files = Callable[[Row], list[tuple[str, Path]]]
"""The pictures to show beside a row, with what each is."""


def page(report: Report, files: Files) -> str:
    """Return the page. Thumbnails are made of the files that `files` names for each row that is shown."""
    rows = report.worst_first
    shown = rows[:MOST_SHOWN]
    parts = [
        f"<h1>{len(rows)} {'image' if len(rows) == 1 else 'images'} measured</h1>",
        f'<p class="soft">Results: {_text(report.results)}<br>Sources: {_text(report.sources)}</p>',
        _summary(report),
        _sets(report),
        _notes("Worth knowing", report.notes),
        _notes("Not measured", [f"{name}: {reason}" for name, reason in report.failures.items()]),
        "<h2>Every image, the worst first</h2>",
        "<p class='soft'>The order is that of the worst rank in any of the figures marked *."
        + (
            f" The worst {len(shown)} of {len(rows)} are shown; {CSV} has all."
            if len(shown) < len(rows)
            else ""
        )
        + "</p>",
        *(_row(row, report.keys, files(row)) for row in shown),
        _made(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation of {_text(report.results)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _summary(report: Report) -> str:
    lines = []
    for each in report.summaries:
        figure = figure_of(each.key)
        interval = ""
        if each.interval is not None:
            interval = " to ".join(figure.show_mean(end) for end in each.interval)
        lines.append(
            f'<tr><th scope="row">{_label(each.key)}</th><td class="number">{figure.show_mean(each.mean)}</td>'
            f'<td class="number">{interval}</td><td class="number">{each.count}</td><td>{_about(figure)}</td></tr>'
        )
    return (
        '<h2>All images</h2><table class="figures"><thead><tr><th scope="col">figure</th><th scope="col">mean</th>'
        '<th scope="col">95 % interval</th><th scope="col">images</th><th scope="col">what it says</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _sets(report: Report) -> str:
    if not report.sets:
        return ""
    lines = [
        f'<tr><th scope="row">{name}</th><td class="number">{report.sets[key]:.3f}</td><td>{about}</td></tr>'
        for key, (name, about) in SETS.items()
        if key in report.sets
    ]
    counts = f"{report.sets['results']:.0f} results, {report.sets['style_images']:.0f} style images"
    return (
        f"<h2>All results against all style images</h2><p class='soft'>{counts}. Figures of few images are too high: "
        f"compare them at equal numbers only.</p><table class='figures'><tbody>{''.join(lines)}</tbody></table>"
    )


def _row(row: Row, keys: list[str], files: list[tuple[str, Path]]) -> str:
    figures = "".join(
        f"<div><dt>{_label(key)}</dt><dd{_alarm(key, row)}>{_value(key, row)}</dd></div>" for key in keys
    )
    pictures = "".join(_picture(what, path) for what, path in files)
    wanted = "" if row.to is None else f" <span class='soft'>to “{_text(row.to)}”</span>"
    notes = f"<p class='note soft'>{_text('; '.join(row.notes))}</p>" if row.notes else ""
    return (
        f"<section class='result'><h3>{_text(row.name)}{wanted}</h3>{pictures}"
        f"<dl class='values'>{figures}</dl>{notes}</section>"
    )


def _value(key: str, row: Row) -> str:
    if key in row.values:
        return figure_of(key).show(row.values[key])
    return "not sure" if key.startswith(("shift", "zoom")) else "–"


def _alarm(key: str, row: Row) -> str:
    """Mark what an eye should stop at: a result that is not in place, or a text that was not reached."""
    value = row.values.get(key)
    unsure = key == "shift_confidence" and value is not None and value < SURE
    return ' class="bad"' if unsure or (figure_of(key).share and value == 0) else ""


def _picture(what: str, path: Path) -> str:
    found = _thumbnail(path)
    if found is None:
        return ""
    data, small = found
    kind = ' class="small"' if small else ""
    return (
        f'<figure><img src="{data}" alt="{_text(what)}"{kind}><figcaption>{_text(what)}</figcaption></figure>'
    )


def _thumbnail(path: Path) -> tuple[str, bool] | None:
    """A picture as a data address, and whether it is smaller than its place; None if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = read_levels(path, "auto").over("white")
    except DiffuseITError:
        return None
    small = max(picture.size) <= _SIDE
    if not small:
        picture.thumbnail((2 * _SIDE, 2 * _SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "PNG" if small else "JPEG", **({} if small else {"quality": 80}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}", small


def _notes(title: str, lines: tuple[str, ...] | list[str]) -> str:
    if not lines:
        return ""
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def _made(report: Report) -> str:
    networks = "".join(
        f"<li>{_text(name)} <span class='soft'>{_text(checksum[:16])}</span></li>"
        for name, checksum in report.networks.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return (
        f"<h2>Measured with</h2><ul>{networks or '<li>no networks</li>'}</ul>"
        f"<p class='soft'>{_text(versions)}. All numbers are in {JSON} and {CSV} beside this page.</p>"
    )


def _label(key: str) -> str:
    return escape(label_of(key)) + (" *" if figure_of(key).headline else "")


def _about(figure: Figure) -> str:
    better = {"high": " Higher is better.", "low": " Lower is better."}.get(figure.better or "", "")
    return escape(figure.about + better)


def _text(words: str) -> str:
    return escape(printable(words))
