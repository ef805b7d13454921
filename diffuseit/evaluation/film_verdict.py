"""What a film is worth: the verdicts on its frames, taken in one by one, and how well the frames hold together."""

from dataclasses import dataclass, field
from typing import Any

from .verdict import Finding, Verdict

WORST = 5
"""How many frames of a kind are named."""

_GOOD: dict[Finding, str] = {"lost": "structure kept", "missed": "target reached", "moved": "in place"}
_BAD: dict[Finding, str] = {"lost": "structure lost", "missed": "target not reached", "moved": "moved"}


@dataclass
class FilmVerdict:
    """The verdict on the frames that were added. Memory does not grow with their number.

    `good` counts the frames for which a finding was looked for and is not there, and `bad` those for which it is.
    `worst` has the numbers of at most `WORST` of these, the worst first. `warp_error` is the mean over the frames that
    have one (`diffuseit.film.Frame`).
    """

    frames: int = 0
    good: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(_GOOD, 0))
    bad: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(_GOOD, 0))
    guided_by: str | None = None
    _ranked: dict[Finding, list[tuple[float, int]]] = field(
        default_factory=lambda: {finding: [] for finding in _GOOD}
    )
    _warp: float = 0.0
    _pairs: int = 0

    def add(self, number: int, verdict: Verdict | None, warp_error: float | None) -> None:
        """Take in frame `number`, with what is known of it."""
        self.frames += 1
        if warp_error is not None:
            self._warp += warp_error
            self._pairs += 1
        if verdict is None:
            return
        if verdict.guided:
            self.guided_by = verdict.judge
        # The lower, the worse.
        ranks = {
            "lost": verdict.confidence,
            "missed": verdict.probability,
            "moved": None if verdict.shift is None else -verdict.shift,
        }
        reached = {
            "lost": verdict.structure_kept,
            "missed": verdict.target_reached,
            "moved": verdict.in_place,
        }
        for finding in _GOOD:
            if finding in verdict.findings:
                self.bad[finding] += 1
                ranked = self._ranked[finding]
                ranked.append((ranks[finding] or 0.0, number))
                ranked.sort()
                del ranked[WORST:]
            elif reached[finding]:
                self.good[finding] += 1

    @property
    def warp_error(self) -> float | None:
        """Return the mean of the warp errors; None without any."""
        return self._warp / self._pairs if self._pairs else None

    def worst(self, finding: Finding) -> list[int]:
        """Return the numbers of the worst frames with a finding, the worst first."""
        return [number for _, number in self._ranked[finding]]

    def to_json(self) -> dict[str, Any]:
        """Return the counts, the worst frames, the warp error, and the summary as JSON values."""
        return {
            **{f"{finding}_frames": count for finding, count in self.bad.items()},
            **{f"{finding}_worst": self.worst(finding) for finding in self.bad},
            "warp_error": None if self.warp_error is None else round(self.warp_error, 6),
            "summary": self.summary(),
        }

    def summary(self) -> str:
        """Return the verdict in one line of English."""
        parts = [self._part(finding) for finding in _GOOD]
        if self.warp_error is not None:
            parts.append(f"warp error {self.warp_error:.4f}")
        return ", ".join(part for part in parts if part)

    def _part(self, finding: Finding) -> str:
        good, bad = self.good[finding], self.bad[finding]
        who = f" (says {self.guided_by}, which guided)" if finding == "missed" and self.guided_by else ""
        if bad:
            worst = self.worst(finding)
            named = ", ".join(map(str, sorted(worst) if bad <= WORST else worst))
            named = named if bad <= WORST else f"worst: {named}"
            return f"{_BAD[finding]} in {bad} of {self.frames} frames ({named}){who}"
        if good:
            part = "" if good == self.frames else f" in {good} of {self.frames} frames"
            return f"{_GOOD[finding]}{part}{who}"
        return "structure not sure" if finding == "lost" and self.frames else ""
