"""Validators for settings: one clear error that names the field, the value and the bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

__all__ = [
    "callable_or_none",
    "count",
    "flag",
    "instance",
    "is_finite",
    "number",
    "one_of",
    "shown",
]

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def number(
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    optional: bool = False,
) -> Validator:
    """A finite real number within bounds; ``None`` too where ``optional``."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        name = f"{type(instance).__name__}.{field.name}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number{_or_none(optional)}, not {value!r}")
        if not is_finite(value):
            raise ValueError(f"{name} must be finite{_or_none(optional)}, not {shown(value)}")
        if minimum is not None and value < minimum:
            raise ValueError(f"{name} must be at least {minimum:g}, not {value!r}")
        if above is not None and value <= above:
            raise ValueError(f"{name} must be more than {above:g}, not {value!r}")
        if maximum is not None and value > maximum:
            raise ValueError(f"{name} must be at most {maximum:g}, not {value!r}")

    return check


def count(*, minimum: int, optional: bool = False) -> Validator:
    """A whole number of at least ``minimum``; ``None`` too where ``optional``."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        name = f"{type(instance).__name__}.{field.name}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number{_or_none(optional)}, not {value!r}")
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, not {value!r}")

    return check


def flag(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """``True`` or ``False``, nothing that merely counts as one."""
    if not isinstance(value, bool):
        name = f"{type(instance).__name__}.{field.name}"
        raise TypeError(f"{name} must be True or False, not {value!r}")


def callable_or_none(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Something to call, or ``None``."""
    if value is not None and not callable(value):
        name = f"{type(instance).__name__}.{field.name}"
        raise TypeError(f"{name} must be callable or None, not {value!r}")


def instance(kind: type[Any], *, optional: bool = False) -> Validator:
    """A value of one type; ``None`` too where ``optional``."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, kind) or (value is None and optional):
            return
        name = f"{type(instance).__name__}.{field.name}"
        raise TypeError(f"{name} must be a {kind.__name__}{_or_none(optional)}, not {value!r}")

    return check


def one_of(*choices: str | None) -> Validator:
    """One of a few words; ``None`` too where it is among them."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if (value is None or isinstance(value, str)) and value in choices:
            return
        *first, last = (repr(each) for each in choices)
        name = f"{type(instance).__name__}.{field.name}"
        raise ValueError(f"{name} must be {', '.join(first)} or {last}, not {value!r}")

    return check


def is_finite(value: float) -> bool:
    """Whether it is a number that a float holds; some integers are too large."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def shown(value: float) -> str:
    """As in an error: an integer of hundreds of digits is not written out."""
    if isinstance(value, int) and not is_finite(value):
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def _or_none(optional: bool) -> str:
    return " or None" if optional else ""
