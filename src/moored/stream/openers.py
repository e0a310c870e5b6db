"""The front doors: WebSocket, SSE, and any other transport."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import httpx

from moored.core.continuity import Gap
from moored.core.policy import SSE_GET, SSE_POST, WEBSOCKET, OpenerDefaults, Policy
from moored.core.sse import ServerSentEvent
from moored.transports.base import Transport
from moored.transports.dialing import Dial
from moored.transports.http import OF_THE_FRAMING
from moored.transports.sse import SseRequest, SseTransport, Terminator
from moored.transports.target import HeaderSource, Target, UrlSource
from moored.transports.websocket import WebSocketTransport
from moored.transports.websocket_handshake import OF_THE_HANDSHAKE

from .arguments import (
    check_callables,
    check_http2,
    check_last_event_id,
    check_method,
    check_subprotocols,
    check_terminator,
    request_body,
)
from .hooks import Hooks
from .lifetime import running
from .stream import Stream
from .supervisor import Supervisor

__all__ = ["open_sse", "open_stream", "open_websocket"]

M = TypeVar("M")
Message = str | bytes
OnGap = Callable[[Gap], object | Awaitable[object]]


def open_websocket(
    url: UrlSource,
    *,
    policy: Policy | None = None,
    headers: HeaderSource = None,
    subprotocols: Sequence[str] = (),
    ssl_context: ssl.SSLContext | None = None,
    cursor: Callable[[Message], Any] | None = None,
    resume: Callable[[Any], Any] | None = None,
    acknowledged: Callable[[Message], int] | None = None,
    on_gap: OnGap | None = None,
    gaps: bool = False,
    dial: Dial | None = None,
    rng: random.Random | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> AbstractAsyncContextManager[Stream[Message]]:
    """Open a WebSocket stream (RFC 6455) and keep it alive while the ``async with`` body runs.

    The body begins at once, in CONNECTING: what goes wrong is raised where you receive or send, or
    wait with :meth:`Stream.wait_for`.

    :param url: ``ws://`` or ``wss://``.  Several URLs take turns when attempts fail, and the first
        is tried first again after a sound connection.  A callable, also an async one, is called
        before every attempt.
    :param policy: times and bounds; what it leaves open is :data:`moored.core.policy.WEBSOCKET`.
    :param headers: sent with the handshake: a mapping, pairs, or a callable, also an async one,
        that is called before every attempt, so that expired tokens heal.
    :param subprotocols: offered in this order.
    :param ssl_context: for ``wss``; by default one with the system's certificate authorities.
    :param cursor: gives the position that a message carries, or ``None``: an id or a number that no
        other message has.  With it, repetitions are dropped (among the last
        ``Policy.remembered_cursors``), and ``resume`` learns where to go on.
    :param resume: called on every connection after the first, also async, with the position of the
        last message received (``None`` where there is none); returns what to send before anything
        else: a message, several, or ``None``, and then the stream reports a gap.
    :param acknowledged: called with each received message; returns how many of the oldest sent
        messages it acknowledges.  With it, what was not acknowledged is sent again on the next
        connection: at least once, where the default is at most once.
    :param on_gap: called with a :class:`Gap`, also async, when a reconnection cannot show that
        nothing was lost.
    :param gaps: whether such a :class:`Gap` also appears among the messages, where it happened.
    :param dial: opens the byte stream below, ``(host, port) -> trio.abc.Stream``: for tunnels, Unix
        sockets and tests in memory.  TLS goes on top of it.  By default ``trio.open_tcp_stream``.
    :param rng: where all randomness comes from.
    :param wall_clock: seconds since the epoch, which ``Retry-After`` dates are compared with.
    :raises TypeError: when an argument is of a type that makes no sense.
    :raises ValueError: when the URL, a subprotocol or a header is not fit to be sent.
    """
    policy = _checked(policy)
    check_callables(
        cursor=cursor, resume=resume, acknowledged=acknowledged, on_gap=on_gap, dial=dial
    )
    check_subprotocols(subprotocols)
    transport = WebSocketTransport(
        Target(url, ("ws", "wss"), headers, OF_THE_HANDSHAKE),
        subprotocols=subprotocols,
        ssl_context=ssl_context,
        max_message_bytes=policy.max_message_bytes,
        open_stream=dial,
        wall_clock=wall_clock,
    )
    hooks = Hooks(resume, cursor, acknowledged, on_gap, gaps)
    return _open(transport, policy, WEBSOCKET, hooks, rng)


def open_sse(
    url: UrlSource,
    *,
    method: str | None = None,
    json: Any = None,
    content: bytes | None = None,
    policy: Policy | None = None,
    headers: HeaderSource = None,
    last_event_id: str = "",
    terminator: Terminator | None = None,
    repeat: bool = False,
    identity: Callable[[ServerSentEvent], Any] | None = None,
    client: httpx.AsyncClient | None = None,
    http2: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    on_gap: OnGap | None = None,
    gaps: bool = False,
    dial: Dial | None = None,
    rng: random.Random | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> AbstractAsyncContextManager[Stream[ServerSentEvent]]:
    """Open a stream of Server-Sent Events (HTML, section 9.2) and keep it alive.

    A ``GET`` is a channel: it is reconnected with ``Last-Event-ID`` until the server says 204, the
    terminator comes, or you close it.  Any other method is one answer to one request: its end is
    the end, and once events have come it is not asked for again, unless the server gave ids or you
    say ``repeat``.  Otherwise as :func:`open_websocket`.

    :param url: ``http://`` or ``https://``; several, or a callable, as in :func:`open_websocket`.
    :param method: by default ``"POST"`` where there is a body, else ``"GET"``.
    :param json: the body, as a value that JSON can hold.
    :param content: the body, as bytes; not together with ``json``.
    :param policy: times and bounds; what it leaves open is :data:`moored.core.policy.SSE_GET` or
        :data:`moored.core.policy.SSE_POST`.
    :param headers: sent with every request; they win over our own.  After a redirect to another
        origin, none of them is sent.
    :param last_event_id: where to begin, for instance where a former run of yours ended
        (:attr:`Stream.position`).
    :param terminator: what ends the stream: the data of a sentinel such as ``"[DONE]"``, which is
        not delivered, or a function that recognises the last event, which is.  An end without it is
        *incomplete*, not success.
    :param repeat: whether a ``POST`` may be made again after its events have begun.  It costs money
        and may act twice.
    :param identity: gives what no other event of the stream has, or ``None``: with it, an event
        that comes a second time is dropped.  By default, only an event with an id of its own is
        dropped, and only where one with the same id and the same content came on an earlier
        connection: servers exist that give several events one id.
    :param client: your own ``httpx.AsyncClient``, used as it is and never closed.  Its pool's
        limits apply then.  By default, every attempt has a connection of its own.
    :param http2: whether to offer HTTP/2 over TLS (needs ``moored[http2]``).  An ``ssl_context`` of
        your own has to name it: ``context.set_alpn_protocols(["h2", "http/1.1"])``.
    :raises TypeError: when an argument is of a type that makes no sense.
    :raises ValueError: when the URL, a header or the body is not fit to be sent.
    """
    policy = _checked(policy)
    check_callables(identity=identity, on_gap=on_gap, dial=dial)
    check_last_event_id(last_event_id)
    check_terminator(terminator)
    body = request_body(json, content)
    if http2:
        check_http2()
    if method is None:
        method = "GET" if body is None else "POST"
    check_method(method)
    request = SseRequest(
        Target(url, ("http", "https"), headers, OF_THE_FRAMING),
        method=method.upper(),
        content=body,
        content_type="application/json" if json is not None else None,
        repeat=repeat,
        terminator=terminator,
    )
    transport = SseTransport(
        request,
        client=client,
        http2=http2,
        ssl_context=ssl_context,
        max_event_bytes=policy.max_message_bytes,
        open_stream=dial,
        wall_clock=wall_clock,
    )
    defaults = SSE_POST if request.one_shot else SSE_GET
    hooks: Hooks[ServerSentEvent] = Hooks(on_gap=on_gap, gaps=gaps, identity=identity)
    return _open(transport, policy, defaults, hooks, rng, position=last_event_id or None)


def open_stream(
    transport: Transport[M],
    *,
    policy: Policy | None = None,
    defaults: OpenerDefaults = WEBSOCKET,
    cursor: Callable[[M], Any] | None = None,
    resume: Callable[[Any], Any] | None = None,
    acknowledged: Callable[[M], int] | None = None,
    on_gap: OnGap | None = None,
    gaps: bool = False,
    rng: random.Random | None = None,
) -> AbstractAsyncContextManager[Stream[M]]:
    """Open a stream over a transport of your own and keep it alive, as :func:`open_websocket`.

    :param transport: makes the connections.
    :param defaults: what the policy leaves open.
    """
    check_callables(cursor=cursor, resume=resume, acknowledged=acknowledged, on_gap=on_gap)
    hooks = Hooks(resume, cursor, acknowledged, on_gap, gaps)
    return _open(transport, _checked(policy), defaults, hooks, rng)


def _checked(policy: Policy | None) -> Policy:
    if policy is None:
        return Policy()
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a moored.Policy, not {type(policy).__name__}")
    return policy


def _open(
    transport: Transport[M],
    policy: Policy,
    defaults: OpenerDefaults,
    hooks: Hooks[M],
    rng: random.Random | None,
    *,
    position: Any = None,
) -> AbstractAsyncContextManager[Stream[M]]:
    return running(
        lambda: Supervisor(
            transport,
            policy.resolved(defaults),
            hooks=hooks,
            rng=rng or random.Random(),
            position=position,
        )
    )
