"""The short form of a fault: ``cut:after_messages=3,how=rst,connection=1``."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

import attrs

from moored.faults import Fault, ScheduleError, fault_from_dict
from moored.faults.schedule import KINDS

__all__ = ["fault_from_text", "kinds_help"]

_NUMBERS = re.compile(r"(?:[0-9]{1,18}-(?:[0-9]{1,18})?|[0-9]{1,18}(?:\+[0-9]{1,18})*)\Z")
_NUMBERED = ("connection", "attempt", "message")
_NUMERIC = re.compile(r"\b(?:int|float|Numbers)\b")
_HELP_WIDTH = 76
_HELP_INDENT = 15


def fault_from_text(text: str) -> Fault:
    """Read a fault in its short form, or as a JSON object.

    :raises ScheduleError: naming the field, its value and its bound.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            return fault_from_dict(json.loads(text))
        except (json.JSONDecodeError, RecursionError) as exc:
            raise ScheduleError("fault", text, f"JSON ({exc})") from exc
    kind, _, rest = text.partition(":")
    kind = kind.strip()
    data: dict[str, Any] = {"fault": kind}
    numeric = _numeric_fields(kind)
    for pair in filter(None, rest.split(",")):
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name or name == "fault":
            raise ScheduleError("field", pair, "FIELD=VALUE")
        if name in data:
            raise ScheduleError(name, value, "given once")
        data[name] = _value(name, value.strip(), numeric=name in numeric)
    return fault_from_dict(data)


def _numeric_fields(kind: str) -> set[str]:
    """The fields of a kind that may be numbers; the others are text."""
    fields = attrs.fields(KINDS[kind]) if kind in KINDS else ()
    return {field.name for field in fields if _NUMERIC.search(str(field.type))}


def _value(name: str, text: str, *, numeric: bool) -> Any:
    if name in _NUMBERED:
        return _numbers(name, text)
    if not numeric:
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _numbers(name: str, text: str) -> Any:
    """Numbers counted from 1, in the form that the option has for them."""
    if not _NUMBERS.match(text) or any(not int(number) for number in re.findall("[0-9]+", text)):
        bound = "numbers from 1: one (3), several (1+3) or a range (2-5, or 2- without end)"
        raise ScheduleError(name, text, bound)
    first, dash, last = text.partition("-")
    if dash and last and int(last) < int(first):
        raise ScheduleError(name, text, "a range whose end is not before its beginning, as in 2-5")
    if dash:
        return {"from": int(first), **({"to": int(last)} if last else {})}
    several = [int(number) for number in text.split("+")]
    return several if len(several) > 1 else several[0]


def kinds_help() -> str:
    """Every kind with the fields of its own, a line each, for the help of a command."""
    common = {field.name for field in attrs.fields(Fault)}
    lines = []
    for name, kind in KINDS.items():
        own = [field.name for field in attrs.fields(kind) if field.name not in common]
        lines += textwrap.wrap(
            f"{name:{_HELP_INDENT - 1}} {', '.join(own)}",
            _HELP_WIDTH,
            subsequent_indent=" " * _HELP_INDENT,
        )
    return "\b\n" + "\n".join(lines)
