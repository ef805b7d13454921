"""Accessibility of a part of the page: the rules of axe-core, and two of ours."""

from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
_RUN = """part => axe.run(part, {resultTypes: ["violations"]}).then(result => result.violations.flatMap(rule =>
    rule.nodes.map(node => [rule.impact, `${rule.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`])))"""


def violations(page, part: str) -> list[str]:
    """Return the serious and critical violations inside the element of the selector `part`, one line each.

    Skip the test where `node_modules` is absent: `python dev.py lint` installs it.
    """
    if not SCRIPT.exists():
        pytest.skip(
            "axe-core is not here: run `python dev.py lint` once, which installs it from npm's registry"
        )
    if not page.evaluate("!!window.axe"):
        page.add_script_tag(path=SCRIPT)
    assert page.locator(part).count(), f"there is no {part}"
    return [text for impact, text in page.evaluate(_RUN, part) if impact in SERIOUS]


_LOW_CONTRAST = """([part, ground]) => {
    const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const parse = color => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        return [...pixel.getImageData(0, 0, 1, 1).data].map(value => value / 255);
    };
    const over = (top, alpha, under) => top.slice(0, 3).map((value, i) => value * alpha + under[i] * (1 - alpha));
    const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
    const found = [];
    for (const element of document.querySelectorAll(`${part} *`)) {
        const style = getComputedStyle(element);
        const says = [...element.childNodes].some(child => child.nodeType === 3 && child.data.trim());
        const drawn = element.matches("path.curve:not(.sum)");
        if (!element.checkVisibility() || element.closest("title") || !(says || drawn)) continue;
        const above = [];
        for (let one = element; one; one = one.matches(part) ? null : one.parentElement) above.unshift(one);
        let under = parse(ground), opacity = 1;
        for (const one of above) {
            const color = parse(getComputedStyle(one).backgroundColor);
            under = over(color, color[3], under);
            opacity *= Number(getComputedStyle(one).opacity);
        }
        const ink = parse(drawn ? style.stroke : element instanceof SVGElement ? style.fill : style.color);
        const lights = [light(over(ink, ink[3] * opacity, under)), light(under)].sort((a, b) => b - a);
        const contrast = lights[0] / lights[1];
        if (contrast < (drawn ? 3 : 4.5)) found.push(`${contrast.toFixed(2)}: ${element.outerHTML.slice(0, 120)}`);
    }
    return found;
}"""
_CLIPPED = """part => [...document.querySelectorAll(`${part} *`)].filter(element => element.checkVisibility()
    && element.clientWidth && [...element.childNodes].some(child => child.nodeType === 3 && child.data.trim())
    && (element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight + 1))
    .map(element => element.textContent)"""


def low_contrast(page, part: str, ground: str) -> list[str]:
    """Return the texts and curves in `part` with too little contrast against a background of the color `ground`.

    axe does not judge what is over a canvas. The bounds are those of WCAG 2.2, 1.4.3 and 1.4.11.
    """
    return page.evaluate(_LOW_CONTRAST, [part, ground])


def clipped(page, part: str) -> list[str]:
    """Return the texts in `part` that are clipped."""
    return page.evaluate(_CLIPPED, part)
