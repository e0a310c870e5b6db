"""Schedules as files: JSON, or YAML where the name ends with ``.yaml`` or ``.yml``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from moored.faults.notation import fault_from_dict
from moored.faults.recording import schedule_from_recording
from moored.faults.schedule import Fault, ScheduleError
from moored.faults.yaml_core import YAMLSyntaxError, load_yaml

__all__ = [
    "DocumentError",
    "ScheduleFileError",
    "load",
    "load_schedule",
    "parse",
    "schedule_from_document",
]

T = TypeVar("T")

_YAML_SUFFIXES = (".yaml", ".yml")
_MAX_VALUES = 100_000
"""So many values a file may hold.  YAML's aliases can make a small file into a huge one."""


class ScheduleFileError(ValueError):
    """A file is no schedule, or no list of proxies.

    :ivar file: its name.
    :ivar error: which field, at what place (``[2].after_messages``), has which wrong value, and
        what would be right; ``None``: it is not even JSON or YAML.
    """

    def __init__(self, file: str, problem: str | ScheduleError) -> None:
        self.error: ScheduleError | None = problem if isinstance(problem, ScheduleError) else None
        super().__init__(f"{file}: {problem if self.error is None else self.error.as_json}")
        self.file = file


def load_schedule(file: str | os.PathLike[str]) -> tuple[Fault, ...]:
    """Read a schedule from a file.

    It holds a list of faults, as :func:`~moored.faults.fault_from_dict` takes them, or an object
    with that list as ``"faults"``, or a recording (see :func:`~moored.faults.recording_of`), which
    becomes the schedule that repeats it.  :func:`~moored.faults.schedule_json_schema` describes it.

    :raises ScheduleFileError: for anything that is wrong in it.
    :raises OSError: when it cannot be read.
    """
    return load(file, schedule_from_document)


def load(file: str | os.PathLike[str], read: Callable[[Any], T]) -> T:
    """Read a file of JSON or YAML, and what ``read`` makes of its data.

    :raises ScheduleFileError: when it is neither, or ``read`` raises :class:`ScheduleError`.
    :raises OSError: when it cannot be read.
    """
    path = Path(file)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise ScheduleFileError(str(path), f"not UTF-8, at byte {exc.start}") from exc
    try:
        return read(parse(text, yaml=path.suffix.lower() in _YAML_SUFFIXES))
    except ScheduleError as exc:
        raise ScheduleFileError(str(path), exc) from exc
    except DocumentError as exc:
        raise ScheduleFileError(str(path), str(exc)) from exc


class DocumentError(ValueError):
    """A text is not JSON or YAML, or holds too much."""


def parse(text: str, *, yaml: bool = False) -> Any:
    """The data in a text of JSON, or of YAML, with or without a byte order mark.

    :raises DocumentError: when it is none.
    """
    text = text.removeprefix("\ufeff")
    data = _parse_yaml(text) if yaml else _parse_json(text)
    _check_size(data)
    return data


def schedule_from_document(data: Any) -> tuple[Fault, ...]:
    """The schedule in the data of a file.

    :raises ScheduleError: naming the place in it, its value and its bound.
    """
    if isinstance(data, Mapping):
        if "recording" in data:
            return schedule_from_recording(data)
        _check_keys(data, ("$schema", "faults"))
        return _faults(data.get("faults"), "faults")
    return _faults(data, "")


def _faults(data: Any, place: str) -> tuple[Fault, ...]:
    if not isinstance(data, list):
        raise ScheduleError(place or "schedule", data, "a list of faults")
    found: list[Fault] = []
    for index, item in enumerate(data):
        try:
            found.append(fault_from_dict(item))
        except ScheduleError as exc:
            field = f"{place}[{index}].{exc.field}"
            raise ScheduleError(field, exc.value, exc.bound) from exc
    return tuple(found)


def _check_keys(data: Mapping[Any, Any], known: Iterable[str]) -> None:
    for key in data:
        if key not in known:
            bound = "a list of faults, or have " + " or ".join(map(repr, (*known, "recording")))
            raise ScheduleError("schedule", key, bound)


def _check_size(data: Any) -> None:
    count, pending = 0, [data]
    while pending:
        value = pending.pop()
        count += 1
        if count > _MAX_VALUES:
            raise DocumentError(f"it holds more than {_MAX_VALUES:,} values")
        if isinstance(value, Mapping):
            pending += [*value, *value.values()]
        elif isinstance(value, list):
            pending += value


def _parse_json(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_int=_integer
        )
    except ValueError as exc:
        raise DocumentError(f"not JSON: {exc}") from exc
    except RecursionError as exc:
        raise DocumentError("not JSON: nested too deep") from exc


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is there twice")
        found[key] = value
    return found


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a number of {len(text)} digits is too long") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def _parse_yaml(text: str) -> Any:
    try:
        return load_yaml(text)
    except YAMLSyntaxError as exc:
        raise DocumentError(f"not YAML: {exc}") from exc
