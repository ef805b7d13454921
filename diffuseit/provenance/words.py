"""A report in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..images.marks import MEANINGS
from ..schema import shown
from .verify import Report, State
from .watermark import DECODER

STATES: dict[State, str] = {
    "trusted": "signed and unchanged, by a signer who is trusted here",
    "valid": "signed and unchanged, by a signer whom nobody has confirmed",
    "tampered": "changed after it was signed",
    "expired": "signed, but the certificate has expired",
    "damaged": "it has a signature that cannot be read",
    "absent": "not signed",
    "unchecked": "the signature is not checked",
}

WATERMARKS = {
    "absent": "none found",
    "present": "found (TrustMark)",
    "other": "found, but not the one that the signature declares",
}


def lines(report: Report) -> list[str]:
    """Return a line for each thing that is known."""
    first = f"{report.file}: {STATES[report.signature]}"
    found = [f"{first} ({'; '.join(report.reasons)})" if report.reasons else first]
    if report.signer:
        found.append(f"  signer: {report.signer}")
    if report.made_with:
        found.append(f"  made with: {report.made_with}")
    if report.source_type:
        meaning = MEANINGS.get(report.source_type)
        found.append(f"  kind: {report.source_type}" + (f" ({meaning})" if meaning else ""))
    for each in report.ingredients:
        found.append(f"  {each.relationship or 'part'}: {each.title} ({STATES[each.signature]})")
    if report.watermark != "unchecked":
        found.append(f"  watermark: {WATERMARKS[report.watermark]}")
    elif report.declared_watermark:
        found.append(f"  watermark: declared; `diffuseit models download {DECODER}` to look for it")
    if report.recipe is not None:
        found.append(f"  settings: {_settings(report.recipe)}")
    if report.of_source is not None:
        found.append(f"  made of the given source: {'yes' if report.of_source else 'no'}")
    if not report.holds and len(found) > 1:
        found.append("  without a signature that holds, all of this is only a claim")
    return found


def _settings(recipe: Mapping[str, Any]) -> str:
    preset = recipe.get("preset")
    style = recipe.get("style")
    parts = {
        "models": recipe.get("models"),
        "preset": preset.get("name") if isinstance(preset, dict) else None,
        "to": recipe.get("to"),
        "style": style.get("path") if isinstance(style, dict) else None,
        "seed": recipe.get("seed"),
    }
    return ", ".join(f"{name} {shown(value)}" for name, value in parts.items() if value is not None)
