"""The live feed of what goes on in the proxies, as Server-Sent Events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import trio
from starlette.types import Receive, Scope, Send

from moored.faults.control.fault_data import (
    connection_data,
    injected_data,
    messages_data,
    now_of,
    proxy_data,
    raw_proxy_data,
    samples_data,
)
from moored.faults.control.message_data import TOGETHER, gathered
from moored.faults.control.proxies import ControlledProxy, Proxies
from moored.faults.proxies import FaultProxies, NamedProxy
from moored.faults.proxies.activity import INTERVAL, Activity

__all__ = ["Feed"]

_KEEPALIVE = 15.0
_FIRST_INJECTED = 500
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class Feed:
    """An ASGI application: a stream of events that begins with how things are.

    :param proxies: the fault proxies.
    :param raw: the raw ones.

    * ``proxies``: all of them, when anything about them has changed;
    * ``connections``: those of one that have changed, with the samples that are new;
    * ``injected``: faults that have taken effect in one;
    * ``messages``: when messages have passed in one; where they are too many (more than 200 a
      second), those of 50 ms of one connection and direction are told of together;
    * ``raw_proxies`` and ``raw_connections``: the same as the first two, of raw proxies.
    """

    def __init__(self, proxies: FaultProxies, raw: Proxies) -> None:
        self._proxies = proxies
        self._raw = raw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one reader until it leaves, or the server stops."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_left, receive, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._tell(send)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _tell(self, send: Send) -> None:
        reader = _Reader(self._proxies, self._raw)
        while not self._proxies.closing:
            news = b"".join(reader.news()) or b":\n\n"
            await send({"type": "http.response.body", "body": news, "more_body": True})
            with trio.move_on_after(_KEEPALIVE):
                await self._proxies.changes.wait_until(
                    lambda: self._proxies.closing or reader.is_behind
                )


async def _until_left(receive: Receive, everything: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    everything.cancel()


class _Told(NamedTuple):
    """How far one reader has been told of one proxy, and when."""

    look: int
    injected: int
    messages: int
    time: float


class _Reader:
    """What one reader knows."""

    def __init__(self, proxies: FaultProxies, raw: Proxies) -> None:
        self._proxies = proxies
        self._raw = raw
        self._told: dict[NamedProxy, _Told] = {}
        self._listed: list[dict[str, Any]] | None = None
        self._raw_told: dict[ControlledProxy, int] = {}
        self._raw_listed: list[dict[str, Any]] = []

    @property
    def is_behind(self) -> bool:
        """Whether there are news."""
        current = {named: named.activity.revision for named in self._proxies}
        if current != {named: told.look for named, told in self._told.items()}:
            return True
        return self._raw_told != {raw: raw.activity.revision for raw in self._raw}

    def news(self) -> Iterator[bytes]:
        """The events that this one has not been told."""
        listed = [proxy_data(named) for named in self._proxies]
        if listed != self._listed:
            self._listed = listed
            yield self._event("proxies", proxies=listed)
        told = self._told
        self._told = {}
        for named in self._proxies:
            now = self._told[named] = _Told(
                named.activity.revision,
                sum(named.proxy.injected_counts.values()),
                named.proxy.message_entries,
                trio.current_time(),
            )
            yield from self._of_one(named, told.get(named), now)
        yield from self._of_raw()

    def _of_raw(self) -> Iterator[bytes]:
        listed = [raw_proxy_data(raw) for raw in self._raw]
        if listed != self._raw_listed:
            self._raw_listed = listed
            yield self._event("raw_proxies", proxies=listed)
        told = self._raw_told
        self._raw_told = {}
        for raw in self._raw:
            self._raw_told[raw] = raw.activity.revision
            changed = self._changed(raw.activity, told.get(raw, -1))
            if changed:
                yield self._event("raw_connections", proxy=raw.tcp.name, connections=changed)

    def _changed(self, activity: Activity, look: int) -> list[dict[str, Any]]:
        return [
            {
                **connection_data(self._proxies, watched),
                "samples": samples_data(self._proxies, watched, look),
            }
            for watched in activity.connections.values()
            if watched.revision > look
        ]

    def _of_one(self, named: NamedProxy, before: _Told | None, now: _Told) -> Iterator[bytes]:
        changed = self._changed(named.activity, -1 if before is None else before.look)
        if changed:
            yield self._event("connections", proxy=named.name, connections=changed)
        due = _FIRST_INJECTED if before is None else now.injected - before.injected
        found = named.proxy.injected[-due:] if due else ()
        if found:
            data = [injected_data(self._proxies, each) for each in found]
            yield self._event("injected", proxy=named.name, injected=data)
        yield from self._messages(named, before, now)

    def _messages(self, named: NamedProxy, before: _Told | None, now: _Told) -> Iterator[bytes]:
        due = now.messages - (0 if before is None else before.messages)
        if not due:
            return
        passed = named.proxy.messages[-due:]
        since = passed[0].time if before is None else before.time
        found, together = gathered(passed, max(now.time - since, INTERVAL))
        yield self._event(
            "messages",
            proxy=named.name,
            messages=messages_data(self._proxies, found),
            together=TOGETHER if together else None,
            missed=due - len(passed),
        )

    def _event(self, name: str, **data: Any) -> bytes:
        text = json.dumps({"now": now_of(self._proxies), **data}, separators=(",", ":"))
        return f"event: {name}\ndata: {text}\n\n".encode()
