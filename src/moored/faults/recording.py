"""Recordings: what a proxy injected, as plain data, and the schedule that injects it again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from moored.faults.blocking import BlockingProxy
from moored.faults.catalogue.messages import MessageEdit
from moored.faults.notation import fault_from_dict, fault_to_dict
from moored.faults.proxy import Proxy
from moored.faults.record import Injected
from moored.faults.schedule import Fault, ScheduleError, Stall

__all__ = ["recording_of", "schedule_from_recording"]

VERSION = 1
"""The version of the form."""

_ALWAYS: dict[str, Any] = {"probability": 1.0, "times": None}
"""What is not left to chance, or to other connections, when a fault is repeated."""


def recording_of(proxy: Proxy | BlockingProxy) -> dict[str, Any]:
    """What a proxy has injected so far (the last 10,000), as JSON can hold it.

    Each entry has the fault, the number of the connection, the place (``messages`` and ``bytes``
    that had passed, and ``seconds`` since the connection was accepted), and the time in seconds
    since the proxy began.  ``forgotten`` is how many are missing at the beginning.

    :param proxy: the proxy, running or not.
    """
    start = proxy.started or 0.0
    injected = proxy.injected
    return {
        "recording": VERSION,
        "seed": proxy.seed,
        "forgotten": sum(proxy.injected_counts.values()) - len(injected),
        "injected": [_entry(each, start) for each in injected],
    }


def _entry(injected: Injected, start: float) -> dict[str, Any]:
    plain = attrs.asdict(injected, recurse=False)
    return {
        **plain,
        "time": round(injected.time - start, 6),
        "seconds": round(injected.seconds, 6),
        "fault": fault_to_dict(injected.fault),
    }


def schedule_from_recording(recording: Mapping[str, Any]) -> tuple[Fault, ...]:
    """The schedule that injects the same faults, on the same connections, at the same places.

    Which connections it strikes is not random any more, and hangs on no others.  A fault that ended
    a connection after a time, or by hand, comes after as many bytes as had passed then; only where
    none had, or after a stall, it comes after the same time once more.  What a fault draws by
    itself, such as the jitter of a latency, comes again with the same seed.

    :param recording: what :func:`recording_of` gave.
    :raises ScheduleError: for anything else, or one from which entries are missing.
    """
    if not isinstance(recording, Mapping) or recording.get("recording") != VERSION:
        raise ScheduleError("recording", _version(recording), f"{VERSION}, the form that is known")
    if recording.get("forgotten", 0) != 0:
        raise ScheduleError("forgotten", recording["forgotten"], "0: its beginning is missing")
    entries = recording.get("injected")
    if not isinstance(entries, list):
        raise ScheduleError("injected", entries, "a list")
    return _repeated(_read(entry, f"injected[{n}]") for n, entry in enumerate(entries))


def _version(recording: Any) -> Any:
    return recording.get("recording") if isinstance(recording, Mapping) else recording


def _repeated(entries: Iterable[Injected]) -> tuple[Fault, ...]:
    times: dict[Fault, int] = {}
    stalled: set[int] = set()
    for each in entries:
        changes = {**_ALWAYS, "connection": each.connection, **_moment(each, stalled)}
        fault = attrs.evolve(each.fault, **changes)
        times[fault] = times.get(fault, 0) + 1
        if isinstance(fault, Stall):
            stalled.add(each.connection)
    return tuple(attrs.evolve(fault, times=count) for fault, count in times.items())


def _moment(injected: Injected, stalled: set[int]) -> dict[str, Any]:
    """When a fault comes again: with the message that it edited, or after as many bytes."""
    fault = injected.fault
    if isinstance(fault, MessageEdit) and injected.message is not None:
        return {"message": injected.message, "after_bytes": None, "after_seconds": None}
    if getattr(fault, "after_seconds", None) is None or not hasattr(fault, "after_bytes"):
        return {}
    if injected.bytes and injected.connection not in stalled:
        return {"after_bytes": injected.bytes, "after_seconds": None}
    return {"after_seconds": injected.seconds}


def _read(entry: Any, place: str) -> Injected:
    if not isinstance(entry, Mapping):
        raise ScheduleError(place, entry, "an object")
    known = attrs.fields_dict(Injected)
    for name in entry:
        if name not in known:
            raise ScheduleError(f"{place}.field", name, f"one of {', '.join(known)}")
    for name, (kind, least) in _NUMBERS.items():
        value: Any = entry.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or not least <= value < math.inf:
            raise ScheduleError(f"{place}.{name}", value, f"a number of at least {least}")
    message = entry.get("message")
    if message is not None and (type(message) is not int or message < 1):
        raise ScheduleError(f"{place}.message", message, "a number of at least 1, or null")
    try:
        fault = fault_from_dict(entry.get("fault", {}))
    except ScheduleError as exc:
        raise ScheduleError(f"{place}.fault.{exc.field}", exc.value, exc.bound) from exc
    return Injected(**{"time": 0.0, "detail": "", **entry, "fault": fault})


_NUMBERS: dict[str, tuple[Any, int]] = {
    "connection": (int, 1),
    "bytes": (int, 0),
    "seconds": (int | float, 0),
}
"""What every entry has, and the least that it may be."""
