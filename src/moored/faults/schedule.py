"""The faults, as plain frozen values: what to do, when, and to which connections.

A schedule is a sequence of them.  For each connection the faults that aim at it are armed, in the
order of the schedule:

* the first :class:`Refuse` that aims at the request answers it, and the upstream never sees it;
* otherwise the first :class:`Cut` or :class:`Stall` whose moment comes takes effect.  After a stall
  only faults with ``after_seconds`` can still come, so "stall, and five seconds later cut" works.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal, TypeAlias

import attrs

__all__ = ["KINDS", "Cut", "Fault", "Headers", "Refuse", "ScheduleError", "Stall"]

Headers: TypeAlias = tuple[tuple[str, str], ...]

_RESERVED_HEADERS = {"connection", "content-length", "transfer-encoding"}


class ScheduleError(ValueError):
    """A schedule, or a fault in it, is wrong.

    :ivar field: the field that is wrong, such as ``"after_messages"``.
    :ivar value: what was given.
    :ivar bound: what would have been right, in words.
    """

    def __init__(self, field: str, value: object, bound: str) -> None:
        super().__init__(f"{field} must be {bound}, not {value!r}")
        self.field = field
        self.value = value
        self.bound = bound


def _connections(value: object) -> int | range | tuple[int, ...] | None:
    if value is None or isinstance(value, range):
        numbers: tuple[object, ...] = () if value is None else (value.start,)
        if isinstance(value, range) and (not value[:1] or value.step != 1):
            raise ScheduleError(
                "connection", value, "a range of at least one number, by steps of 1"
            )
    elif isinstance(value, int):
        numbers = (value,)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        value = numbers = tuple(value)
        if not numbers:
            raise ScheduleError("connection", value, "at least one number")
    else:
        raise ScheduleError("connection", value, "a number, several, a range, or None")
    for number in numbers:
        _check_integer("connection", number, minimum=1)
    return value  # type: ignore[return-value]


def _check_integer(field: str, value: object, *, minimum: int, maximum: float = math.inf) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
        return
    bound = f"an integer of at least {minimum}"
    if maximum != math.inf:
        bound = f"an integer from {minimum} to {maximum}"
    raise ScheduleError(field, value, bound)


def _check_number(field: str, value: object, *, maximum: float = math.inf) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= value <= maximum and value < math.inf:  # type: ignore[operator]
        return  # NaN does not get here: it compares false.
    bound = "a finite number of at least 0"
    if maximum != math.inf:
        bound = f"a number from 0 to {maximum:g}"
    raise ScheduleError(field, value, bound)


def _check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ScheduleError(field, value, " or ".join(repr(choice) for choice in choices))


@attrs.frozen(kw_only=True, repr=False)
class Fault:
    """What every fault has: its aim.  Use one of its kinds.

    :ivar connection: which connections it aims at, counted from 1 as the proxy accepts them: a
        number, several numbers, a :class:`range` (of step 1; its end excluded, as in Python), or
        ``None`` for every one.
    :ivar times: take effect at most so many times, over all connections; ``None``: no bound.
    :ivar path: aim only at requests whose path begins so (the query does not count).
    :ivar probability: take effect on this share of the connections aimed at, from 0 to 1.  Which
        ones depends only on the proxy's seed, the place in the schedule, and the connection number.
    """

    kind: ClassVar[str] = ""

    connection: int | range | tuple[int, ...] | None = attrs.field(
        default=None, converter=_connections
    )
    times: int | None = None
    path: str | None = None
    probability: float = 1.0

    def __attrs_post_init__(self) -> None:
        if not self.kind:
            raise TypeError("Fault is what the kinds have in common: use one of them")
        if self.times is not None:
            _check_integer("times", self.times, minimum=1)
        if self.path is not None and not (isinstance(self.path, str) and self.path[:1] == "/"):
            raise ScheduleError("path", self.path, "text that begins with '/'")
        _check_number("probability", self.probability, maximum=1)
        self._check()

    def _check(self) -> None:
        """Raise :class:`ScheduleError` if a field of this kind is wrong."""

    def __repr__(self) -> str:
        # Only what was set: a fault has many fields, and most of them say nothing.
        fields = ((field, getattr(self, field.name)) for field in attrs.fields(type(self)))
        shown = [f"{field.name}={value!r}" for field, value in fields if value != field.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def aims_at(self, connection: int) -> bool:
        """Whether connection number ``connection`` is one of those aimed at."""
        if self.connection is None:
            return True
        if isinstance(self.connection, int):
            return connection == self.connection
        return connection in self.connection


@attrs.frozen(kw_only=True, repr=False)
class _Triggered(Fault):
    """A fault that comes at one moment of a connection: one of the three fields, exactly."""

    after_messages: int | None = None
    after_bytes: int | None = None
    after_seconds: float | None = None

    def _check(self) -> None:
        fields = ("after_messages", "after_bytes", "after_seconds")
        given = [name for name in fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ScheduleError(
                "/".join(given or fields),
                tuple(getattr(self, name) for name in given) or None,
                "given, one of the three exactly",
            )
        if self.after_messages is not None:
            _check_integer("after_messages", self.after_messages, minimum=0)
        if self.after_bytes is not None:
            _check_integer("after_bytes", self.after_bytes, minimum=0)
        if self.after_seconds is not None:
            _check_number("after_seconds", self.after_seconds)


@attrs.frozen(kw_only=True, repr=False)
class Cut(_Triggered):
    """The connection is cut: no WebSocket close frame, no end of the HTTP body.

    What the client sees: everything before the cut, then the end of TCP.  With ``how="fin"`` that
    is an orderly end of file; with ``"rst"`` a reset, so that reading and writing fail with
    ``ECONNRESET``.  A WebSocket client reports close code 1006.  The proxy lets what it passed on
    reach the client's kernel first (for at most a second), so that a reset destroys no message
    that was counted, except with a client that does not read.

    Exactly one of:

    :ivar after_messages: after so many messages from server to client: WebSocket data messages
        (whole ones, fragments are one message, control frames none) or SSE events that have data,
        with their blank line.  0: right after the handshake, or the head of the HTTP answer.
    :ivar after_bytes: after so many bytes from server to client, counted after the head: of the
        body without its chunk framing, or of WebSocket frames, headers included.
    :ivar after_seconds: so many seconds after the connection was accepted.

    And:

    :ivar how: ``"fin"`` (default) or ``"rst"``.
    """

    kind: ClassVar[str] = "cut"

    how: Literal["fin", "rst"] = "fin"

    def _check(self) -> None:
        _check_choice("how", self.how, ("fin", "rst"))
        super()._check()


@attrs.frozen(kw_only=True, repr=False)
class Stall(_Triggered):
    """The socket stays up and nothing flows any more, in either direction, until the client leaves.

    What the client sends is read and thrown away.  The upstream is left connected and unread.

    :ivar after_messages: as for :class:`Cut`.
    :ivar after_bytes: as for :class:`Cut`.
    :ivar after_seconds: as for :class:`Cut`.
    :ivar pings: WebSocket only.  ``"answered"`` (default): the proxy itself answers the client's
        pings, so the peer seems alive, and makes no progress.  A frame that the client has part of
        is finished first, since a pong can only stand between frames.  ``"swallowed"``: no pongs,
        and the stall comes at once, if need be inside a frame.
    """

    kind: ClassVar[str] = "stall"

    pings: Literal["answered", "swallowed"] = "answered"

    def _check(self) -> None:
        _check_choice("pings", self.pings, ("answered", "swallowed"))
        super()._check()


def _headers(value: object) -> Headers:
    pairs = value.items() if isinstance(value, dict) else value
    try:
        headers = tuple((name, text) for name, text in pairs)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ScheduleError("headers", value, "a dict, or pairs of name and value") from None
    for name, text in headers:
        if not (isinstance(name, str) and isinstance(text, str)):
            raise ScheduleError("headers", (name, text), "pairs of text")
        token = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not token or name.lower() in _RESERVED_HEADERS:
            raise ScheduleError("headers", name, "a header name that the proxy does not set itself")
        if not text.isascii() or not text.isprintable():
            raise ScheduleError("headers", text, "printable ASCII")
    return headers


def _body(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise ScheduleError("body", value, "text or bytes")


@attrs.frozen(kw_only=True, repr=False)
class Refuse(Fault):
    """The request, or WebSocket handshake, is answered with a status; the upstream never sees it.

    "429 for the first K attempts" is ``Refuse(times=K)``.

    :ivar status: 200 to 599; 429 by default.
    :ivar retry_after: sent as ``Retry-After``: seconds, or text such as an HTTP date.  A number
        that is not whole is sent as a decimal, which HTTP does not allow and some clients take.
    :ivar headers: more headers, as a dict or pairs.
    :ivar body: bytes, or text that is sent as UTF-8; empty by default.
    """

    kind: ClassVar[str] = "refuse"

    status: int = 429
    retry_after: float | str | None = None
    headers: Headers = attrs.field(default=(), converter=_headers)
    body: bytes = attrs.field(default=b"", converter=_body)

    def _check(self) -> None:
        _check_integer("status", self.status, minimum=200, maximum=599)
        if self.body and self.status in (204, 304):
            raise ScheduleError("body", self.body, f"empty with status {self.status}")
        if isinstance(self.retry_after, str):
            if not (self.retry_after.isascii() and self.retry_after.isprintable()):
                raise ScheduleError("retry_after", self.retry_after, "printable ASCII")
        elif self.retry_after is not None:
            _check_number("retry_after", self.retry_after)


KINDS: dict[str, type[Fault]] = {"cut": Cut, "stall": Stall, "refuse": Refuse}
"""The faults by the name that a plain schedule uses."""
