"""The verdict on a film, from the verdicts on its frames."""

from dataclasses import replace

from diffuseit.evaluation.film_verdict import FilmVerdict
from diffuseit.evaluation.verdict import Verdict

GOOD = Verdict(True, True, True, 0.9, confidence=0.8, shift=0.0, probability=0.9, judge="judge")
LOST = replace(GOOD, structure_kept=False, in_place=None, confidence=0.1)
MISSED = replace(GOOD, target_reached=False, probability=0.2)
MOVED = replace(GOOD, in_place=False, shift=3.0)


def of(*verdicts: Verdict | None) -> FilmVerdict:
    found = FilmVerdict()
    for number, verdict in enumerate(verdicts):
        found.add(number, verdict, None if number == 0 else 0.001 * number)
    return found


def test_a_film_without_findings():
    assert of(GOOD, GOOD, GOOD).summary() == "structure kept, target reached, in place, warp error 0.0015"


def test_frames_with_findings_are_counted_and_named():
    found = of(GOOD, MISSED, LOST, MOVED, MOVED)
    assert found.summary() == (
        "structure lost in 1 of 5 frames (2), target not reached in 1 of 5 frames (1), "
        "moved in 2 of 5 frames (3, 4), warp error 0.0025"
    )
    assert found.to_json()["moved_worst"] == [3, 4]


def test_of_many_frames_the_worst_are_named_first():
    shifts = [1.2, 5.0, 2.0, 9.0, 3.0, 1.1, 7.0]
    found = of(*(replace(MOVED, shift=shift) for shift in shifts))
    assert "moved in 7 of 7 frames (worst: 3, 6, 1, 4, 2)" in found.summary()


def test_what_cannot_be_told_counts_as_neither():
    unsure = replace(GOOD, structure_kept=None, target_reached=None, in_place=None)
    assert of(GOOD, unsure).summary() == (
        "structure kept in 1 of 2 frames, target reached in 1 of 2 frames, in place in 1 of 2 frames, "
        "warp error 0.0010"
    )
    assert of(unsure, None).summary() == "structure not sure, warp error 0.0010"
    assert FilmVerdict().summary() == ""


def test_a_judge_that_guided_is_named():
    assert (
        "target reached (says CLIP, which guided)" in of(replace(GOOD, judge="CLIP", guided=True)).summary()
    )
