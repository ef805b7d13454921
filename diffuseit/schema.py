"""Frozen dataclasses as JSON and back, where the JSON may come from a stranger.

A field's type and bounds are its schema. They hold however the object is made:

    @dataclass(frozen=True)
    class Settings:
        steps: int = number(100, low=1, high=1000)
        name: str = text("", longest=200)

        def __post_init__(self) -> None:
            check(self)

`from_json` refuses unknown fields, missing fields, and values of another type. It converts nothing but lists to tuples
and whole numbers to floats. A union of dataclasses is told apart by the class name under "type"; where a union has one
dataclass only, a set of fields means that one.
"""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError

T = TypeVar("T")

LONGEST_TEXT = 2_000
"""Characters of a string whose field sets no limit of its own."""

LONGEST_TUPLE = 256
"""Items of a tuple or a mapping whose field sets no limit of its own."""

LARGEST_JSON = 1_000_000
"""Characters of a JSON text that `parse` reads."""


@dataclass(frozen=True)
class Bounds:
    """What a field accepts beyond its type: numbers from `low` to `high`, at most `longest` characters or items."""

    low: float = -math.inf
    high: float = math.inf
    longest: int | None = None


def number(
    default: Any = MISSING, *, low: float = -math.inf, high: float = math.inf, longest: int | None = None
) -> Any:
    """A field of numbers from `low` to `high`; `longest` bounds the length of a tuple of them."""
    return field(default=default, metadata={"bounds": Bounds(low, high, longest)})


def text(default: Any = MISSING, *, longest: int) -> Any:
    """A field of strings of at most `longest` characters."""
    return field(default=default, metadata={"bounds": Bounds(longest=longest)})


def bounds_of(kind: type, name: str) -> Bounds:
    """The bounds of the field `name` of the dataclass `kind`."""
    return next(_bounds(entry) for entry in fields(kind) if entry.name == name)


def check(instance: Any) -> None:
    """Raise `InputError` if a field of the dataclass `instance` breaks its type or bounds."""
    kind = type(instance)
    hints = get_type_hints(kind)
    for entry in fields(kind):
        where = f"{kind.__name__}.{entry.name}"
        _check(hints[entry.name], getattr(instance, entry.name), _bounds(entry), where)


def parse(document: str | bytes, where: str, largest: int = LARGEST_JSON) -> Any:
    """The value of a JSON text. Raise `InputError` for text that is too long, too deep, or not JSON.

    NaN and Infinity are not JSON.
    """
    if len(document) > largest:
        raise InputError(f"{where} is {len(document)} characters long: at most {largest} are read")
    try:
        return json.loads(document, parse_constant=_refuse_constant)
    except RecursionError:
        raise InputError(f"{where} is nested too deeply") from None
    except ValueError as error:
        # The reasons of JSONDecodeError are short; int() quotes no digits.
        raise InputError(f"{where} is not valid JSON: {printable(str(error))}") from None


def to_json(value: Any) -> Any:
    """A dataclass of settings, or a value in one, as JSON values.

    Every field is written, so that a later default changes nothing. Raise `InputError` for a value that JSON does not
    have, such as a network.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | {
            entry.name: to_json(getattr(value, entry.name)) for entry in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if (
        value is None
        or isinstance(value, str | bool | int)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise InputError(f"a {type(value).__name__} cannot be written as a setting")


def from_json(kind: type[T], values: Any, where: str) -> T:
    """Build the dataclass `kind` from JSON values; `where` names the source in errors.

    Raise `InputError` for unknown or missing fields, values of another type, and values out of bounds.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where} is {shown(values)}, not a set of fields")
    if values.get("type") == kind.__name__ and "type" not in {entry.name for entry in fields(kind)}:  # type: ignore[arg-type]
        values = {name: value for name, value in values.items() if name != "type"}
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind) if entry.init}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known.keys()):
        raise InputError(f"{where} has fields that this version does not know: {_names(unknown)}")
    if missing := [name for name, entry in known.items() if name not in values and _required(entry)]:
        raise InputError(f"{where} lacks {_names(missing)}")
    arguments = {
        name: _read(hints[name], value, _bounds(known[name]), f"{where}.{name}")
        for name, value in values.items()
    }
    return kind(**arguments)


def shown(value: Any, longest: int = 40) -> str:
    """`value` for an error message: short, on one line, and safe to print."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return "a number of more than 18 digits"
    if isinstance(value, str):
        return repr(value[: longest + 1]) if len(value) <= longest else f"{value[:longest]!r}..."
    if isinstance(value, list | tuple | dict):
        return f"a {'set of fields' if isinstance(value, dict) else 'list'} of {len(value)}"
    return repr(value)[:longest]


def printable(message: str) -> str:
    """`message` with control characters, line breaks, and characters that cannot be encoded escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in message
    )


def _read(hint: Any, value: Any, bounds: Bounds, where: str) -> Any:
    """`value` of JSON as `hint` wants it, checked."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _read(_arm(arguments, value, where), value, bounds, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value, where)
    if origin is tuple and isinstance(value, list):
        _check_length(value, bounds, where)
        return tuple(
            _read(item_hint, item, bounds, f"{where}[{number}]")
            for number, (item_hint, item) in enumerate(
                zip(_item_hints(arguments, value, where), value, strict=True)
            )
        )
    if origin is dict and isinstance(value, dict):
        _check_length(value, bounds, where)
        return {
            key: _read(arguments[1], item, bounds, f"{where}.{shown(key)}") for key, item in value.items()
        }
    if hint is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    _check(hint, value, bounds, where)
    return value


def _check(hint: Any, value: Any, bounds: Bounds, where: str) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        _check(_arm(arguments, value, where), value, bounds, where)
    elif origin is tuple and isinstance(value, tuple):
        _check_length(value, bounds, where)
        for item_hint, item in zip(_item_hints(arguments, value, where), value, strict=True):
            _check(item_hint, item, bounds, where)
    elif origin is dict and isinstance(value, dict):
        _check_length(value, bounds, where)
        for key, item in value.items():
            _check(arguments[0], key, Bounds(), where)
            _check(arguments[1], item, bounds, where)
    elif origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            raise InputError(f"{where} is {shown(value)}: use one of {', '.join(map(str, arguments))}")
    elif hint in (int, float):
        _check_number(hint, value, bounds, where)
    elif hint is str and isinstance(value, str):
        _check_length(value, bounds, where, LONGEST_TEXT)
    elif not (isinstance(hint, type) and isinstance(value, hint)):
        raise InputError(f"{where} cannot be {shown(value)}")


def _check_number(hint: type, value: Any, bounds: Bounds, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int if hint is int else int | float):
        raise InputError(
            f"{where} cannot be {shown(value)}: it is a {'whole number' if hint is int else 'number'}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} is {value}: use a finite number")
    if not bounds.low <= value <= bounds.high:
        raise InputError(f"{where} is {shown(value)}: use {_span(bounds)}")


def _span(bounds: Bounds) -> str:
    low, high = (
        f"{limit:g}" if isinstance(limit, float) else str(limit) for limit in (bounds.low, bounds.high)
    )
    if bounds.high == math.inf:
        return f"{low} or more"
    return f"at most {high}" if bounds.low == -math.inf else f"{low} to {high}"


def _check_length(value: Any, bounds: Bounds, where: str, longest: int = LONGEST_TUPLE) -> None:
    limit = longest if bounds.longest is None else bounds.longest
    if len(value) > limit:
        unit = "characters" if isinstance(value, str) else "items"
        raise InputError(f"{where} has {len(value)} {unit}: at most {limit} are allowed")


def _item_hints(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise InputError(f"{where} has {len(value)} items: it must have {len(arguments)}")
    return arguments


def _arm(arms: tuple[Any, ...], value: Any, where: str) -> Any:
    """The type of the union `arms` that `value` is meant to be."""
    if value is None and type(None) in arms:
        return type(None)
    others = [arm for arm in arms if arm is not type(None)]
    if len(others) == 1:
        return others[0]
    classes = [arm for arm in others if is_dataclass(arm)]
    if len(classes) == 1 and isinstance(value, dict):
        return classes[0]
    for arm in others:
        if _looks_like(arm, value):
            return arm
    name = value.get("type") if isinstance(value, dict) else value
    raise InputError(f"{where} cannot be {shown(name)}")


def _looks_like(arm: Any, value: Any) -> bool:
    origin = get_origin(arm)
    if isinstance(arm, type) and is_dataclass(arm):
        return type(value) is arm or (isinstance(value, dict) and value.get("type") == arm.__name__)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(arm))
    if origin is tuple:
        return isinstance(value, tuple | list)
    if arm is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is (origin or arm)


def _bounds(entry: Field[Any]) -> Bounds:
    found = entry.metadata.get("bounds", Bounds())
    assert isinstance(found, Bounds)
    return found


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _names(names: list[str]) -> str:
    listed = ", ".join(printable(name[:40]) for name in names[:5])
    return listed if len(names) <= 5 else f"{listed}, and {len(names) - 5} more"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
