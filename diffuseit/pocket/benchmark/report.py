"""The files of a benchmark's report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files.atomic import atomic_path


def save_report(output: Path, name: str, report: Mapping[str, Any], text: str) -> None:
    """Save a report as NAME.json and its table as NAME.md in the folder `output`, which is made if it is not there."""
    output.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".json", json.dumps(report, indent=1) + "\n"), (".md", text)):
        with atomic_path(output / f"{name}{suffix}") as path:
            path.write_text(content, encoding="utf-8")
