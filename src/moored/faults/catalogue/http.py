"""Faults of HTTP answers: of the proxy's own, and of the heads and bodies of the server's."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import attrs

from moored.faults.catalogue.base import Fault, Payload
from moored.faults.catalogue.checks import (
    ScheduleError,
    check_choice,
    check_integer,
    check_number,
    check_printable,
)

__all__ = ["ContentType", "GzipCut", "Headers", "Refuse", "SlowHead"]

Headers: TypeAlias = tuple[tuple[str, str], ...]

_RESERVED_HEADERS = {"connection", "content-length", "transfer-encoding"}


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
        check_printable("headers", text)
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

    What the client sees: that answer, whole, and the end of TCP in order.  "429 for the first K
    attempts" is ``Refuse(times=K)``; a redirect is ``Refuse(status=307, headers={"Location":
    "/feed"})``, with ``times=3`` three of them; an error page that claims to be fine is
    ``Refuse(status=200, headers={"Content-Type": "text/html"}, body="...")``.

    :ivar status: 200 to 599; 429 by default.
    :ivar retry_after: sent as ``Retry-After``: seconds, or any text.  A number that is not whole is
        sent as a decimal, which HTTP does not allow and some clients take.
    :ivar retry_after_as: ``"seconds"`` (default), or ``"date"``: the HTTP date that is
        ``retry_after`` seconds from now, rounded up to a whole second.
    :ivar headers: more headers, as a dict or pairs.
    :ivar body: bytes, or text that is sent as UTF-8; empty by default.
    """

    kind: ClassVar[str] = "refuse"

    status: int = 429
    retry_after: float | str | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"
    headers: Headers = attrs.field(default=(), converter=_headers)
    body: bytes = attrs.field(default=b"", converter=_body)

    def _check(self) -> None:
        check_integer("status", self.status, minimum=200, maximum=599)
        if self.body and self.status in (204, 304):
            raise ScheduleError("body", self.body, f"empty with status {self.status}")
        check_choice("retry_after_as", self.retry_after_as, ("seconds", "date"))
        as_date = self.retry_after_as == "date"
        if as_date and not isinstance(self.retry_after, int | float):
            raise ScheduleError("retry_after", self.retry_after, "a number, to be sent as a date")
        if isinstance(self.retry_after, str):
            check_printable("retry_after", self.retry_after)
        elif as_date:
            # A year of four digits is all that an HTTP date has.
            check_number("retry_after", self.retry_after, maximum=10**10)
        elif self.retry_after is not None:
            check_number("retry_after", self.retry_after)


@attrs.frozen(kw_only=True, repr=False)
class SlowHead(Fault):
    """The head of the server's answer, or of the handshake's, dribbles.

    What the client sees: the head byte by byte, its last byte after ``seconds``; then the rest at
    its own speed.

    :ivar seconds: how long the head takes; 1 by default.
    """

    kind: ClassVar[str] = "slow_head"

    seconds: float = 1.0

    def _check(self) -> None:
        check_number("seconds", self.seconds)


@attrs.frozen(kw_only=True, repr=False)
class ContentType(Fault):
    """The server's answer has another ``Content-Type``.

    What the client sees: the status, the headers and the body of the server, with that one header
    changed.

    :ivar content_type: what it is; ``"text/html"`` by default; empty: the header is missing.
    """

    kind: ClassVar[str] = "content_type"
    payloads: ClassVar[tuple[Payload, ...]] = ("sse", "http")

    content_type: str = "text/html"

    def _check(self) -> None:
        check_printable("content_type", self.content_type)


@attrs.frozen(kw_only=True, repr=False)
class GzipCut(Fault):
    """The body of the answer is compressed, and its compressed form is cut, unlike the HTTP body.

    What the client sees: ``Content-Encoding: gzip``, whatever it accepts; the body, all of which
    can be decompressed as it comes; and then an orderly end of the HTTP body without the end of
    the gzip stream.  A body that comes compressed from the server passes as it is.

    :ivar message: end inside this event, counted from 1: half of it is in the body.  ``None``
        (default): all of the body comes, and the gzip trailer is missing.
    """

    kind: ClassVar[str] = "gzip_cut"
    payloads: ClassVar[tuple[Payload, ...]] = ("sse", "http")

    message: int | None = None

    def _check(self) -> None:
        if self.message is not None:
            check_integer("message", self.message, minimum=1)
