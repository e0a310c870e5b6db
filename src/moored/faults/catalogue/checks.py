"""Checks of the fields of faults: each raises one error that names field, value and bound."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from typing import TypeAlias, TypeVar

__all__ = [
    "Numbers",
    "ScheduleError",
    "attempts",
    "check_choice",
    "check_integer",
    "check_number",
    "check_printable",
    "check_text",
    "connections",
    "contains",
    "last_of",
    "messages",
]

Numbers: TypeAlias = int | range | tuple[int, ...] | None
"""One number, several, a range, or ``None`` for every one; counted from 1."""

_Value = TypeVar("_Value")


class ScheduleError(ValueError):
    """A schedule, or a fault in it, is wrong.

    :ivar field: the field that is wrong, such as ``"after_messages"``.
    :ivar value: what was given.
    :ivar bound: what would have been right, in words.
    """

    def __init__(self, field: str, value: object, bound: str) -> None:
        super().__init__(f"{field} must be {bound}, not {value!r}")
        self.field = field
        self.value = value
        self.bound = bound

    @property
    def as_json(self) -> str:
        """The same message for those who wrote JSON or YAML: ``null`` where Python has ``None``."""
        if isinstance(self.value, str):
            return str(self)
        shown = json.dumps(self.value, ensure_ascii=False, default=repr)
        return f"{self.field} must be {self.bound}, not {shown}"


def _numbers(field: str, value: object) -> Numbers:
    """What a field that aims by number is given, checked."""
    if value is None or isinstance(value, range):
        given: tuple[object, ...] = () if value is None else (value.start,)
        if isinstance(value, range) and (not value[:1] or value.step != 1):
            raise ScheduleError(field, value, "a range of at least one number, by steps of 1")
    elif isinstance(value, int):
        given = (value,)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        value = given = tuple(value)
        if not given:
            raise ScheduleError(field, value, "at least one number")
    else:
        raise ScheduleError(field, value, "a number, several, or a range of them")
    for number in given:
        check_integer(field, number, minimum=1)
    return value  # type: ignore[return-value]


def connections(value: object) -> Numbers:
    """The field ``connection``, checked."""
    return _numbers("connection", value)


def attempts(value: object) -> Numbers:
    """The field ``attempt``, checked."""
    return _numbers("attempt", value)


def messages(value: object) -> Numbers:
    """The field ``message``, checked."""
    return _numbers("message", value)


def contains(selection: Numbers, number: int) -> bool:
    """Whether ``number`` is one of those selected."""
    if selection is None:
        return True
    if isinstance(selection, int):
        return number == selection
    return number in selection


def last_of(selection: Numbers) -> int:
    """The highest number selected; :data:`sys.maxsize` for no end."""
    if selection is None:
        return sys.maxsize
    if isinstance(selection, int):
        return selection
    return selection.stop - 1 if isinstance(selection, range) else max(selection)


def check_integer(field: str, value: object, *, minimum: int, maximum: float = math.inf) -> None:
    """An integer within bounds."""
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
        return
    bound = f"an integer of at least {minimum}"
    if maximum != math.inf:
        bound = f"an integer from {minimum} to {maximum}"
    raise ScheduleError(field, value, bound)


def check_number(field: str, value: object, *, maximum: float = math.inf) -> None:
    """A finite number from 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= value <= min(maximum, sys.float_info.max):  # type: ignore[operator]
        return  # NaN does not get here: it compares false.
    bound = "a finite number of at least 0"
    if maximum != math.inf:
        bound = f"a number from 0 to {maximum:g}"
    raise ScheduleError(field, value, bound)


def check_choice(field: str, value: _Value, choices: Iterable[_Value]) -> None:
    """One of a few values."""
    choices = tuple(choices)
    if not isinstance(value, str | int) or value not in choices:
        raise ScheduleError(field, value, " or ".join(repr(choice) for choice in choices))


def check_printable(field: str, value: object) -> None:
    """Text that may stand in an HTTP header."""
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise ScheduleError(field, value, "printable ASCII")


def check_text(field: str, value: object, *, lines: bool = False) -> None:
    """Text that UTF-8 can hold.

    :param lines: whether it may have more than one line.
    """
    if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value):
        if lines or not ("\n" in value or "\r" in value):
            return
        raise ScheduleError(field, value, "text of one line")
    raise ScheduleError(field, value, "text")
