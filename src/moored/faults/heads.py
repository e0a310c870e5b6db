"""The heads of requests and answers, as the proxy passes them on.

One request is served on each connection, and every answer says ``Connection: close``.  So the k-th
connection is the k-th request, and what a schedule aims at does not depend on whether a client
keeps connections.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType

import h11

from moored.faults.catalogue.http import Refuse

__all__ = [
    "forwarded_request",
    "header",
    "header_lines",
    "is_upgrade",
    "path_of",
    "plain_answer",
    "refusal_answer",
    "response_head",
]

_CONNECTION_HEADERS = {b"connection", b"keep-alive", b"proxy-connection"}
_REQUEST_ONLY_HERE = _CONNECTION_HEADERS | {b"host", b"expect", b"te", b"proxy-authorization"}


def header(event: h11.Request | h11.Response, name: bytes) -> bytes:
    """The value of header ``name`` (lower case); the first, or ``b""``."""
    return next((value for key, value in event.headers if key == name), b"")


def is_upgrade(request: h11.Request) -> bool:
    """Whether ``request`` asks for a WebSocket."""
    return header(request, b"upgrade").lower() == b"websocket"


def path_of(request: h11.Request) -> str:
    """The path of ``request``, without its query; of an absolute target too, however odd it is."""
    target = re.split(r"[?#]", request.target.decode("ascii"), maxsplit=1)[0]
    if target.startswith("/"):
        return target
    _, _, rest = target.partition("://")
    return "/" + rest.partition("/")[2]


def forwarded_request(
    request: h11.Request, authority: str, *, readable: bool, without_extensions: bool = False
) -> h11.Request:
    """What the upstream is sent: the request with its ``Host``, for one connection.

    :param readable: ask for a body without compression, whatever the client accepts, so that the
        messages in it can be counted.
    :param without_extensions: ask for a WebSocket without extensions such as compression, so that
        its messages can be read.
    """
    dropped = set(_REQUEST_ONLY_HERE)
    added = [(b"Host", authority.encode("ascii"))]
    if is_upgrade(request):
        added.append((b"Connection", b"Upgrade"))
    else:
        added.append((b"Connection", b"close"))
        dropped.add(b"upgrade")
    if readable:
        dropped.add(b"accept-encoding")
        added.append((b"Accept-Encoding", b"identity"))
    if without_extensions:
        dropped.add(b"sec-websocket-extensions")
    kept = [(name, value) for name, value in _raw(request) if name.lower() not in dropped]
    return h11.Request(method=request.method, target=request.target, headers=added + kept)


def response_head(
    response: h11.Response | h11.InformationalResponse,
    *,
    chunked_understood: bool = True,
    changes: Mapping[bytes, bytes] = MappingProxyType({}),
) -> bytes:
    """The head of an answer for the client.

    An informational one (101 among them) passes as it is; a final one closes the connection.

    :param chunked_understood: false for an HTTP/1.0 client, whose answer ends with the connection.
    :param changes: what headers are to be, by their names in lower case; ``b""``: missing.
    """
    headers = _raw(response)
    if isinstance(response, h11.Response):
        dropped = set(_CONNECTION_HEADERS)
        if not chunked_understood:
            dropped.add(b"transfer-encoding")
        headers = [(name, value) for name, value in headers if name.lower() not in dropped]
    if changes:
        headers = list(_changed(headers, changes))
    if isinstance(response, h11.Response):
        headers.append((b"Connection", b"close"))
    return _head(response.status_code, bytes(response.reason), headers)


def _changed(
    headers: Iterable[tuple[bytes, bytes]], changes: Mapping[bytes, bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """The headers with ``changes`` made, each in its place if it has one."""
    left = {name: value for name, value in changes.items() if value}
    for name, value in headers:
        if name.lower() not in changes:
            yield name, value
        elif changed := left.pop(name.lower(), b""):
            yield name, changed
    for name, value in left.items():
        yield name.title(), value


def refusal_answer(fault: Refuse, *, with_body: bool, now: float) -> bytes:
    """The whole answer that ``fault`` gives.

    :param now: the time of day, in seconds since 1970.
    """
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in fault.headers]
    if fault.retry_after is not None:
        headers.append((b"Retry-After", _retry_after(fault, now).encode("ascii")))
    return _answer(fault.status, headers, fault.body, with_body=with_body)


def plain_answer(status: int, text: str, *, with_body: bool = True) -> bytes:
    """An answer of the proxy's own, in words."""
    headers = [(b"Content-Type", b"text/plain; charset=utf-8")]
    return _answer(status, headers, f"{text}\n".encode(), with_body=with_body)


def _retry_after(fault: Refuse, now: float) -> str:
    value = fault.retry_after
    assert value is not None
    if isinstance(value, str):
        return value
    if fault.retry_after_as == "date":
        return formatdate(math.ceil(now + value), usegmt=True)
    return str(int(value)) if value == int(value) else f"{value:f}".rstrip("0")


def _answer(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, with_body: bool
) -> bytes:
    try:
        reason = HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        reason = b""
    if status not in (204, 304):
        headers = [*headers, (b"Content-Length", str(len(body)).encode("ascii"))]
    headers = [*headers, (b"Connection", b"close")]
    return _head(status, reason, headers) + (body if with_body else b"")


def _head(status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, header_lines(headers))


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header fields as they go on the wire, without the blank line."""
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers)


def _raw(
    event: h11.Request | h11.Response | h11.InformationalResponse,
) -> list[tuple[bytes, bytes]]:
    """The headers, with their names spelled as they came."""
    return [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
