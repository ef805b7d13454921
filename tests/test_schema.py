"""The reader of settings that a stranger may have written."""

import json
import math
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuseit.errors import InputError
from diffuseit.schema import check, from_json, number, parse, printable, text, to_json


@dataclass(frozen=True)
class Circle:
    radius: float = number(1.0, low=0, high=10)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Square:
    side: int = number(1, low=1, high=4)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Drawing:
    shapes: tuple[Circle | Square, ...]
    ink: Literal["black", "red"] = "black"
    title: str | None = text(None, longest=8)
    points: tuple[tuple[float, float], ...] = number((), low=0, high=1, longest=3)
    rate: float | tuple[float, ...] = number(0.5, low=0, high=1)
    tags: dict[str, str] | None = None
    frame: Circle | str = "none"

    def __post_init__(self) -> None:
        check(self)


DRAWING = Drawing((Circle(2.5), Square(3)), "red", "two", ((0.0, 1.0), (0.5, 0.5)), (0.1, 0.2), {"a": "b"})


def test_a_round_trip_keeps_everything():
    assert from_json(Drawing, json.loads(json.dumps(to_json(DRAWING))), "the drawing") == DRAWING
    assert from_json(Drawing, {"shapes": []}, "the drawing") == Drawing(())
    assert from_json(Circle, {"radius": 2}, "a circle") == Circle(2.0)
    framed = Drawing((), frame=Circle(3.0))
    assert from_json(Drawing, to_json(framed), "the drawing") == framed
    assert from_json(Drawing, {"shapes": [], "frame": {"radius": 3}}, "the drawing") == framed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ink": "blue"}, "use one of black, red"),
        ({"ink": True}, "use one of"),
        ({"title": "much too long"}, "at most 8"),
        ({"points": [[0.0, 2.0]]}, "use 0 to 1"),
        ({"points": [[0.0]]}, "must have 2"),
        ({"points": [[0.0, 0.0]] * 4}, "at most 3"),
        ({"rate": math.nan}, "finite"),
        ({"rate": "fast"}, "cannot be 'fast'"),
        ({"rate": 10**4000}, "more than 18 digits"),
        ({"rate": True}, "cannot be True"),
        ({"shapes": [{"type": "Triangle"}]}, "cannot be 'Triangle'"),
        ({"shapes": [{"type": "Square", "side": 2.0}]}, "whole number"),
        ({"shapes": [{"type": "Square", "side": 5}]}, "use 1 to 4"),
        ({"shapes": [{"type": "Square", "width": 1}]}, "does not know: width"),
        ({"shapes": {}}, "cannot be"),
        ({"tags": {"a": 1}}, "cannot be 1"),
        ({"frame": {"type": "Square"}}, "does not know: type"),
        ({"frame": 3}, "cannot be 3"),
        ({"color\x1b[2J": 1}, r"does not know: color\\x1b\[2J"),
    ],
)
def test_other_values_are_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        from_json(Drawing, to_json(DRAWING) | change, "the drawing")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_bounds_hold_without_json_too():
    with pytest.raises(InputError, match=r"Circle\.radius is 11"):
        replace(Circle(), radius=11.0)
    with pytest.raises(InputError, match="lacks shapes"):
        from_json(Drawing, {}, "the drawing")
    with pytest.raises(InputError, match="cannot be written"):
        to_json(object())


@pytest.mark.parametrize(
    "document",
    ["[" * 100_000, "{", "NaN", "[Infinity]", "1" * 5_000, "[" + "1," * 600_000 + "1]", b"\xff\xfe"],
)
def test_text_that_is_no_json_is_refused(document):
    with pytest.raises(InputError, match=r"^the file"):
        parse(document, "the file")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)


def refusal(values):
    """What is said of values that make no drawing; empty if they make a valid one."""
    try:
        check(from_json(Drawing, values, "the drawing"))
    except InputError as error:
        return str(error)
    return ""


@given(JSON)
def test_any_json_is_read_or_refused(values):
    assert refusal(values).isprintable()


@given(st.sampled_from([*to_json(DRAWING), "type", "other"]), JSON)
def test_one_wrong_field_is_read_or_refused(name, value):
    assert refusal(to_json(DRAWING) | {name: value}).isprintable()


def test_printable_escapes_what_a_terminal_would_obey():
    assert printable("a\x1b[31m\nb\udc80\u202e") == "a\\x1b[31m\\nb\\udc80\\u202e"
    assert printable("žluťoučký 写真") == "žluťoučký 写真"
