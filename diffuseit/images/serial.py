"""Dataclasses of settings as JSON values and back. What is read is checked field by field: nothing is ignored."""

from __future__ import annotations

import builtins
import math
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .. import losses
from ..errors import InputError

T = TypeVar("T")

LOSSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (getattr(losses, name) for name in losses.__all__)
    if hasattr(kind, "__dataclass_fields__") and hasattr(kind, "bind")
}
"""Where a field is any `Loss`, its JSON names one of these as "type"."""


def to_json(value: Any) -> Any:
    """A dataclass of plain settings, or a value in one, as JSON values.

    Every field is written, so that later defaults change nothing. Raises `InputError` for a value that JSON does not
    have, such as a network.
    """
    if is_dataclass(value) and not isinstance(value, type):
        named = {"type": type(value).__name__} if type(value) in LOSSES.values() else {}
        return named | {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
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
    """Inverse of `to_json`. `where` says in errors what is read.

    Raises `InputError` for a field that is unknown or missing, or a value of another type than the field's.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where} is {_short(values)}, not a set of fields")
    hints = _hints(kind)
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known.keys()):
        raise InputError(f"{where} has fields that this version does not know: {', '.join(unknown)}")
    missing = [name for name, field in known.items() if name not in values and _required(field)]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _read(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal and value in arguments and type(value) in {type(choice) for choice in arguments}:
        return value
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) == len(value):
            return tuple(_read(arguments[i], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is losses.Loss:
        return _read_loss(value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value, where)
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise InputError(f"{where} cannot be {_short(value)}")


def _read_union(arms: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arms:
        return None
    errors = []
    for arm in arms:
        if arm is not type(None):
            try:
                return _read(arm, value, where)
            except InputError as error:
                errors.append(error)
    raise errors[0] if len(errors) == 1 else InputError(f"{where} cannot be {_short(value)}")


def _read_loss(value: Any, where: str) -> Any:
    name = value.get("type") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in LOSSES:
        raise InputError(f"{where} is no loss that this version knows: {_short(name or value)}")
    return from_json(LOSSES[name], {key: v for key, v in value.items() if key != "type"}, where)


def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, localns=_Names(vars(sys.modules[kind.__module__])))


class _Foreign:
    """Stands for types that modules import for the type checker only: networks, which are no settings."""


class _Names(dict[str, Any]):
    """The names that a module lacks, each `_Foreign`; those it has, it resolves itself."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        super().__init__()
        self._module = module

    def __missing__(self, name: str) -> Any:
        if name in self._module or hasattr(builtins, name):
            raise KeyError(name)
        return _Foreign


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
