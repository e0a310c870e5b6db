"""One request on the wire: the stream of an endpoint's answer, over either transport."""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import attrs

from moored.core.policy import OPENER, Heartbeat, Policy, Reconnect
from moored.stream.openers import open_sse, open_websocket
from moored.stream.stream import Stream
from moored.transports.dialing import Dial
from moored.transports.target import call_hook

from .endpoint import Endpoint
from .settings import Settings

__all__ = ["Network", "open_answer"]

CLOSE_TIMEOUT = 1.0
"""Seconds for hanging up: by then the consumer has been told how the answer ended."""

_KEPT_BY_THE_REPLY = 1e9
"""Seconds; in effect no bound.  With none at all, the stream would hold an answer's head to
``connect_timeout``, and some servers send it together with the first token."""

_ONE_ATTEMPT = Reconnect(attempts=0)
"""The reply itself decides about another attempt: it knows what was content."""


@attrs.frozen
class Network:
    """Where connections come from; the fields are those of :func:`moored.open_sse`."""

    ssl_context: ssl.SSLContext | None = None
    dial: Dial | None = None
    rng: random.Random = attrs.field(factory=random.Random)
    wall_clock: Callable[[], float] = time.time


@asynccontextmanager
async def open_answer(
    endpoint: Endpoint,
    body: dict[str, Any],
    settings: Settings,
    network: Network,
    *,
    cursor: str | int | None = None,
    response_id: str = "",
) -> AsyncIterator[Stream[Any]]:
    """Ask ``endpoint``, and give the stream of its answer.

    :param cursor: where to go on; ``None`` at the start.
    :param response_id: on the Responses API, which response to go on with.
    """
    options: dict[str, Any] = {
        "policy": _policy(endpoint, settings),
        "headers": lambda: _headers(endpoint),
        "ssl_context": network.ssl_context,
        "dial": network.dial,
        "rng": network.rng,
        "wall_clock": network.wall_clock,
    }
    if endpoint.transport == "websocket":
        url = _url(endpoint, endpoint.websocket_path, {"https": "wss", "http": "ws"})
        async with open_websocket(url, **options) as websocket:
            await websocket.send(json.dumps(body, ensure_ascii=False, separators=(",", ":")))
            yield websocket
        return
    if endpoint.api == "responses" and cursor is not None:
        path = f"/responses/{quote(response_id, safe='')}"
        url = _url(endpoint, path, _TO_HTTP, f"stream=true&starting_after={cursor}")
        opened = open_sse(url, method="GET", **options)
    else:
        path = "/responses" if endpoint.api == "responses" else "/chat/completions"
        last = cursor if isinstance(cursor, str) else ""
        url = _url(endpoint, path, _TO_HTTP)
        opened = open_sse(url, method="POST", json=body, last_event_id=last, **options)
    async with opened as stream:
        yield stream


_TO_HTTP = {"wss": "https", "ws": "http"}


def _url(endpoint: Endpoint, path: str, schemes: dict[str, str], query: str = "") -> str:
    """``base_url`` with ``path`` before its query: Azure's has one."""
    parts = urlsplit(endpoint.base_url)
    scheme = schemes.get(parts.scheme, parts.scheme)
    query = "&".join(filter(None, (parts.query, query)))
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + path, query, ""))


def _policy(endpoint: Endpoint, settings: Settings) -> Policy:
    """The stream's own clocks: connecting and liveness.  The reply keeps the others."""
    liveness = settings.liveness_timeout
    heartbeat: Any = OPENER
    if liveness is None:
        heartbeat = None
    elif liveness is not OPENER:
        assert isinstance(liveness, int | float)
        heartbeat = Heartbeat(interval=liveness / 2, timeout=liveness / 2)
    return Policy(
        connect_timeout=settings.connect_timeout,
        close_timeout=CLOSE_TIMEOUT,
        heartbeat=heartbeat,
        idle_timeout=None,
        first_message_timeout=_KEPT_BY_THE_REPLY,
        reconnect=_ONE_ATTEMPT,
        max_message_bytes=settings.max_chunk_bytes,
    )


async def _headers(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Called before every attempt, so that an expired key heals."""
    given = endpoint.headers
    if callable(given):
        given = await call_hook("headers", given)
    pairs: list[tuple[str, str]] = list(
        given.items() if isinstance(given, Mapping) else given or ()
    )
    named = {name.lower() for name, _ in pairs}
    key: Any = endpoint.api_key
    if callable(key):
        key = await call_hook("api_key", key)
    if key and "authorization" not in named:
        pairs.append(("Authorization", f"Bearer {key}"))
    return pairs
