"""Faults of HTTP answers: of the proxy's own, and of the heads and bodies of the server's."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

import attrs

from moored.faults.catalogue.base import Fault, Payload
from moored.faults.catalogue.checks import (
    ScheduleError,
    check_choice,
    check_number,
    check_printable,
    check_text,
)
from moored.faults.catalogue.validators import (
    BODY,
    HEADERS,
    NUMBER,
    PRINTABLE,
    SECONDS,
    Integer,
    NumberOr,
    Schema,
    one_of,
)

__all__ = ["ContentType", "GzipCut", "Headers", "Refuse", "SlowHead"]

Headers: TypeAlias = tuple[tuple[str, str], ...]

_BODILESS = (204, 304)
_LAST_DATE = 10**10  # in seconds from now: an HTTP date has a year of four digits
_RESERVED_HEADERS = {"connection", "content-length", "transfer-encoding"}


def _headers(value: object) -> Headers:
    pairs: Any = value.items() if isinstance(value, dict) else value
    try:
        # Text can be taken apart, too.
        if isinstance(pairs, str) or any(isinstance(pair, str) for pair in pairs):
            raise TypeError
        headers = tuple((name, text) for name, text in pairs)
    except (TypeError, ValueError):
        raise ScheduleError("headers", value, "an object, or pairs of name and value") from None
    for name, text in headers:
        if not (isinstance(name, str) and isinstance(text, str)):
            raise ScheduleError("headers", [name, text], "pairs of text")
        token = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not token or name.lower() in _RESERVED_HEADERS:
            raise ScheduleError("headers", name, "a header name that the proxy does not set itself")
        check_printable("headers", text)
    return headers


def _body(value: object) -> bytes:
    if isinstance(value, str):
        check_text("body", value, lines=True)
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
    rules: ClassVar[tuple[Schema, ...]] = (
        {
            "if": one_of("status", _BODILESS),
            "then": {"properties": {"body": {"enum": ["", {"base64": ""}]}}},
        },
        {
            "if": one_of("retry_after_as", ["date"]),
            "then": {
                "required": ["retry_after"],
                "properties": {"retry_after": {"type": "number", "maximum": _LAST_DATE}},
            },
        },
    )

    status: int = attrs.field(default=429, validator=Integer(200, 599))
    retry_after: float | str | None = attrs.field(default=None, validator=NumberOr(PRINTABLE))
    retry_after_as: Literal["seconds", "date"] = "seconds"
    headers: Headers = attrs.field(default=(), converter=_headers, metadata={"schema": HEADERS})
    body: bytes = attrs.field(default=b"", converter=_body, metadata={"schema": BODY})

    def _check(self) -> None:
        if self.body and self.status in _BODILESS:
            raise ScheduleError("body", self.body, f"empty with status {self.status}")
        check_choice("retry_after_as", self.retry_after_as, ("seconds", "date"))
        if self.retry_after_as == "date":
            if not isinstance(self.retry_after, int | float):
                bound = "a number, to be sent as a date"
                raise ScheduleError("retry_after", self.retry_after, bound)
            check_number("retry_after", self.retry_after, maximum=_LAST_DATE)


@attrs.frozen(kw_only=True, repr=False)
class SlowHead(Fault):
    """The head of the server's answer, or of the handshake's, dribbles.

    What the client sees: the head byte by byte, its last byte after ``seconds``; then the rest at
    its own speed.

    :ivar seconds: how long the head takes; 1 by default.
    """

    kind: ClassVar[str] = "slow_head"

    seconds: float = attrs.field(default=1.0, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class ContentType(Fault):
    """The server's answer has another ``Content-Type``.

    What the client sees: the status, the headers and the body of the server, with that one header
    changed.

    :ivar content_type: what it is; ``"text/html"`` by default; empty: the header is missing.
    """

    kind: ClassVar[str] = "content_type"
    payloads: ClassVar[tuple[Payload, ...]] = ("sse", "http")

    content_type: str = attrs.field(default="text/html", validator=PRINTABLE)


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

    message: int | None = attrs.field(default=None, validator=NUMBER)
