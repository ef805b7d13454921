"""axe-core looks at a part of the page: what bars somebody with other eyes, hands or ears."""

from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
_RUN = """part => axe.run(part, {resultTypes: ["violations"]}).then(result => result.violations.flatMap(rule =>
    rule.nodes.map(node => [rule.impact, `${rule.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`])))"""


def violations(page, part: str) -> list[str]:
    """The serious and critical faults inside the element that the selector `part` names, one line each.

    Skips the test where `node_modules` is absent: `python dev.py lint` installs it.
    """
    if not SCRIPT.exists():
        pytest.skip(
            "axe-core is not here: run `python dev.py lint` once, which installs it from npm's registry"
        )
    if not page.evaluate("!!window.axe"):
        page.add_script_tag(path=SCRIPT)
    assert page.locator(part).count(), f"there is no {part}"
    return [text for impact, text in page.evaluate(_RUN, part) if impact in SERIOUS]
