"""What ``@pytest.mark.faults(...)`` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from moored.faults import Fault, ScheduleError, random_schedule, schedule_from
from moored.faults.upstream import Upstream

__all__ = ["MarkerError", "Plan", "read", "url_of"]


class MarkerError(ValueError):
    """The marker is wrong."""


@attrs.frozen
class Plan:
    """What the proxy of one test does.

    :ivar upstream: the URL of the server behind it; ``None``: the marker does not say.
    """

    schedule: tuple[Fault, ...]
    seed: int
    upstream: str | None


@attrs.frozen
class _Arguments:
    rates: Any = None
    seed: int | None = None
    upstream: Any = None


def read(item: pytest.Item, seed: int) -> Plan:
    """Read the marker that is nearest to the test; without one, there are no faults.

    :param seed: that of the test.
    :raises MarkerError: naming what is wrong, and what would be right.
    """
    mark = item.get_closest_marker("faults")
    if mark is None:
        return Plan((), seed, None)
    known = [field.name for field in attrs.fields(_Arguments)]
    for name in mark.kwargs:
        if name not in known:
            raise MarkerError(f"faults(): no argument {name!r}, but faults, {', '.join(known)}")
    arguments = _Arguments(**mark.kwargs)
    if arguments.seed is not None and type(arguments.seed) is not int:
        raise MarkerError(f"faults(): seed must be an integer, not {arguments.seed!r}")
    try:
        schedule = schedule_from(_listed(mark.args))
        if arguments.rates is not None:
            if not isinstance(arguments.rates, Mapping):
                raise ScheduleError("rates", arguments.rates, "a dict: kind of fault, and share")
            schedule += random_schedule(seed, rates=arguments.rates)
        upstream = url_of(arguments.upstream)
        if upstream is not None:
            Upstream.parse(upstream)
        return Plan(schedule, seed, upstream)
    except (TypeError, ValueError) as exc:
        raise MarkerError(f"faults(): {exc}") from exc


def _listed(faults: tuple[Any, ...]) -> tuple[Any, ...]:
    """The faults, which may also be given as one list."""
    if len(faults) == 1 and isinstance(faults[0], list | tuple):
        return tuple(faults[0])
    return faults


def url_of(upstream: Any) -> str | None:
    """The URL of a server that is given as a URL, or as something that has a ``url``.

    :raises TypeError: for anything else.
    """
    url = getattr(upstream, "url", upstream)
    if url is not None and not isinstance(url, str):
        raise TypeError(f"the upstream must be a URL or have a url, not {upstream!r}")
    return url
