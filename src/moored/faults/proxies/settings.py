"""What a fault proxy is to be: from plain data, and many of them from a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from moored.faults.files import load, load_schedule, schedule_from_document
from moored.faults.schedule import Fault, ScheduleError
from moored.faults.tcp.address import split
from moored.faults.upstream import Upstream

__all__ = ["ProxySettings", "load_proxies", "proxy_settings"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")
_CREDENTIALS = re.compile(r"//[^/?#]*@")
_KNOWN = ("name", "upstream", "listen", "port", "schedule", "seed")


@attrs.frozen
class ProxySettings:
    """One fault proxy.

    :ivar name: names it: at most 100 letters, digits, dots, dashes and underscores.
    :ivar upstream: the server's URL: ``http``, ``https``, ``ws`` or ``wss``.
    :ivar host: the address to listen on; loopback by default.
    :ivar port: 0 (default) for one that is free.
    :ivar schedule: the faults.
    :ivar seed: decides all that is random; 0 by default.
    """

    name: str
    upstream: str
    host: str = "127.0.0.1"
    port: int = 0
    schedule: tuple[Fault, ...] = ()
    seed: int = 0


def proxy_settings(data: Any, *, directory: Path | None = None) -> ProxySettings:
    """The settings in plain data such as ``{"name": "feed", "upstream": "http://127.0.0.1:8000"}``.

    Beside these two it may have ``listen`` (``"host:port"``) or ``port``, ``schedule`` (what a file
    of one holds) and ``seed``.

    :param directory: where the file is that ``schedule`` may name instead; ``None``: it may not.
    :raises ScheduleError: naming the field, its value and its bound.
    :raises ScheduleFileError: for a file that is no schedule.
    :raises OSError: when it cannot be read.
    """
    if not isinstance(data, Mapping):
        raise ScheduleError("proxy", data, "an object")
    for field in data:
        if field not in _KNOWN:
            raise ScheduleError("field", field, f"one of {', '.join(_KNOWN)}")
    host, port = _address(data)
    seed = data.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ScheduleError("seed", seed, "an integer")
    return ProxySettings(
        _name(data.get("name")),
        _upstream(data.get("upstream")),
        host,
        port,
        _schedule(data.get("schedule", []), directory),
        seed,
    )


def load_proxies(file: str | os.PathLike[str]) -> tuple[ProxySettings, ...]:
    """Read a file of JSON or YAML with a list of proxies, as :func:`proxy_settings` takes them.

    A ``schedule`` may be the name of another file, seen from the directory of this one.

    :raises ScheduleFileError: for anything that is wrong in it.
    :raises OSError: when it, or a file that it names, cannot be read.
    """
    return load(file, partial(_proxies, directory=Path(file).parent))


def _proxies(data: Any, *, directory: Path) -> tuple[ProxySettings, ...]:
    if not isinstance(data, list) or not data:
        raise ScheduleError("proxies", data, "a list of at least one proxy")
    found: dict[str, ProxySettings] = {}
    for index, item in enumerate(data):
        try:
            settings = proxy_settings(item, directory=directory)
        except ScheduleError as exc:
            raise ScheduleError(f"[{index}].{exc.field}", exc.value, exc.bound) from exc
        if settings.name in found:
            raise ScheduleError(f"[{index}].name", settings.name, "another one than those before")
        for other in found.values():
            if _is_same_address(other, settings):
                field = "listen" if "listen" in item else "port"
                bound = f"another address than that of {other.name!r}"
                raise ScheduleError(f"[{index}].{field}", item[field], bound)
        found[settings.name] = settings
    return tuple(found.values())


def _is_same_address(one: ProxySettings, other: ProxySettings) -> bool:
    """Whether only one of them could listen, as far as that can be told before."""
    if not one.port or one.port != other.port:
        return False
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    return len(hosts) == 1 or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        bound = "1 to 100 letters, digits, dots, dashes and underscores, without a dot first"
        raise ScheduleError("name", value, bound)
    return value


def _upstream(value: Any) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("not text")
        Upstream.parse(value)
    except ValueError as exc:
        # Whoever gave credentials here does not want to see them in a log.
        shown = _CREDENTIALS.sub("//***@", value) if isinstance(value, str) else value
        bound = "a URL of http, https, ws or wss with a host and no credentials"
        raise ScheduleError("upstream", shown, bound) from exc
    return value


def _address(data: Mapping[str, Any]) -> tuple[str, int]:
    port = data.get("port", 0)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise ScheduleError("port", port, "an integer from 0 to 65535")
    if "listen" not in data:
        return "127.0.0.1", port
    listen = data["listen"]
    if "port" in data:
        raise ScheduleError("port", port, "left out where listen is given")
    try:
        if not isinstance(listen, str) or not listen:
            raise ValueError("not text")
        host, port = split(listen)
    except ValueError as exc:
        raise ScheduleError("listen", listen, '"host:port"') from exc
    return host or "0.0.0.0", port


def _schedule(value: Any, directory: Path | None) -> tuple[Fault, ...]:
    if isinstance(value, str) and directory is not None:
        return load_schedule(directory / value)
    try:
        return schedule_from_document(value)
    except ScheduleError as exc:
        field = exc.field if exc.field == "schedule" else f"schedule{_joined(exc.field)}"
        raise ScheduleError(field, exc.value, exc.bound) from exc


def _joined(field: str) -> str:
    return field if field.startswith("[") else f".{field}"
