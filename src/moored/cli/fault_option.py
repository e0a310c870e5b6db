"""The short form of a fault: ``cut:after_messages=3,how=rst,connection=1``."""

from __future__ import annotations

import json
import re
from typing import Any

from moored.faults import Fault, ScheduleError, fault_from_dict

__all__ = ["fault_from_text"]

_RANGE = re.compile(r"([0-9]+)-([0-9]*)\Z")
_SEVERAL = re.compile(r"[0-9]+(?:\+[0-9]+)+\Z")
_TEXT_FIELDS = {"how", "pings", "path", "body"}


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
    data: dict[str, Any] = {"fault": kind.strip()}
    for pair in filter(None, rest.split(",")):
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name or name == "fault":
            raise ScheduleError("field", pair, "FIELD=VALUE")
        if name in data:
            raise ScheduleError(name, value, "given once")
        data[name] = _value(name, value.strip())
    return fault_from_dict(data)


def _value(name: str, text: str) -> Any:
    if name == "connection":
        if match := _RANGE.match(text):
            last = {"to": int(match[2])} if match[2] else {}
            return {"from": int(match[1]), **last}
        if _SEVERAL.match(text):
            return [int(number) for number in text.split("+")]
    if name in _TEXT_FIELDS:
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
