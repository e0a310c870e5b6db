"""Schedules as plain data, such as JSON holds, and back."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from moored.faults.schedule import KINDS, Fault, ScheduleError

__all__ = [
    "fault_from_dict",
    "fault_to_dict",
    "plain_value",
    "schedule_from",
    "schedule_to_data",
]


def schedule_from(schedule: Iterable[Fault | Mapping[str, Any]]) -> tuple[Fault, ...]:
    """The faults of a schedule, each given as itself or as a plain mapping.

    :raises ScheduleError: naming the place in the schedule, the field, its value and its bound.
    """
    if isinstance(schedule, Fault | Mapping | str | bytes):
        raise ScheduleError("schedule", schedule, "a sequence of faults")
    faults: list[Fault] = []
    for index, item in enumerate(schedule):
        if isinstance(item, Fault):
            faults.append(item)
            continue
        try:
            faults.append(fault_from_dict(item))
        except ScheduleError as exc:
            raise ScheduleError(f"schedule[{index}]: {exc.field}", exc.value, exc.bound) from None
    return tuple(faults)


def schedule_to_data(schedule: Iterable[Fault]) -> list[dict[str, Any]]:
    """The schedule as lists, dicts, text and numbers."""
    return [fault_to_dict(fault) for fault in schedule]


def fault_from_dict(data: Mapping[str, Any]) -> Fault:
    """One fault from plain data such as ``{"fault": "cut", "after_messages": 3, "how": "rst"}``.

    The fields are those of the classes, without those left at their defaults.  ``connection``,
    ``attempt`` and (where it aims) ``message`` may be a number, a list, or ``{"from": 2, "to": 5}``
    with both included and ``to`` optional; ``body`` may be text or ``{"base64": "..."}``.

    :raises ScheduleError: for anything that is wrong.
    """
    if not isinstance(data, Mapping):
        raise ScheduleError("fault", data, "a fault, or an object with its fields")
    fields = {name: _whole(value) for name, value in data.items()}
    name = fields.pop("fault", None)
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ScheduleError("fault", name, _one_of(KINDS))
    known = [field.name for field in attrs.fields(kind)]
    for field in fields:
        if field not in known:
            raise ScheduleError("field", field, f"one of those of {name!r}: {', '.join(known)}")
    for field in ("connection", "attempt", "message"):
        if isinstance(fields.get(field), Mapping):
            fields[field] = _range(field, fields[field])
    if "body" in fields:
        fields["body"] = _body(fields["body"])
    return kind(**fields)


def fault_to_dict(fault: Fault) -> dict[str, Any]:
    """One fault as plain data, which :func:`fault_from_dict` turns into an equal one."""
    data: dict[str, Any] = {"fault": fault.kind}
    for field in attrs.fields(type(fault)):
        value = getattr(fault, field.name)
        if value == field.default:
            continue
        data[field.name] = plain_value(value)
    return data


def _whole(value: Any) -> Any:
    """Numbers such as 3.0 as integers, which to JSON they are."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def plain_value(value: object) -> object:
    """The value of a field as JSON can hold it, and as :func:`fault_from_dict` takes it."""
    if isinstance(value, range):
        first: dict[str, int] = {"from": value.start}
        return first if value.stop >= sys.maxsize else {**first, "to": value.stop - 1}
    if isinstance(value, tuple):
        return [list(item) if isinstance(item, tuple) else item for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    return value


def _range(field: str, value: Mapping[str, Any]) -> range:
    first, last = value.get("from"), value.get("to", sys.maxsize - 1)
    integers = all(isinstance(n, int) and not isinstance(n, bool) for n in (first, last))
    if not integers or not value.keys() <= {"from", "to"} or not 1 <= first <= last:  # type: ignore[operator]
        bound = '{"from": a, "to": b} with 1 <= a <= b, or without "to"'
        raise ScheduleError(field, dict(value), bound)
    assert isinstance(first, int)
    return range(first, last + 1)


def _body(value: Any) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    text = value.get("base64") if isinstance(value, Mapping) and len(value) == 1 else None
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one
        pass
    raise ScheduleError("body", value, 'text, or {"base64": "..."}')


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(repr(name) for name in names)
