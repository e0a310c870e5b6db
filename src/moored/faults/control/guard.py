"""Who may talk to the control server, asked before any route is looked for.

It can stop services and reach hosts, and listens where every page that a browser shows can send
requests.  A page of another origin is known by its ``Origin`` header; one whose name was made to
point here (DNS rebinding) by its ``Host``.
"""

from __future__ import annotations

import hmac
import ipaddress
import posixpath
from collections.abc import Collection
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from moored.faults.control.toxiproxy import plain_text

__all__ = ["Guard", "is_loopback"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS = ("", "0.0.0.0", "::")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server that listens on ``host``."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard:
    """An ASGI application before another one.

    :param app: the other one.
    :param host: the address that the server listens on.
    :param token: what every request has to carry as ``Authorization: Bearer``; ``None``: nothing.
    :param allowed_hosts: more names that a ``Host`` header may have.
    :param public: paths that begin so need no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        token: str | None,
        allowed_hosts: Collection[str] = (),
        public: str | None = None,
    ) -> None:
        self._app = app
        self._any_address = host in _WILDCARDS
        self._hosts = _LOOPBACK | {host.lower(), *(name.lower() for name in allowed_hosts)}
        self._token = token
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close"})  # before it is accepted: a plain 403

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_expected(host):
            return plain_text(403, "Host not allowed")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return plain_text(403, "Origin not allowed")
        if not self._is_public(scope) and not self._has_token(headers.get("authorization", "")):
            refusal = plain_text(401, "a bearer token is required")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return _redirection(scope)

    def _is_expected(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        # A name can be made to point here, an address is only what it is.
        return name in self._hosts or (self._any_address and _address(name) is not None)

    def _is_public(self, scope: Scope) -> bool:
        path = posixpath.normpath(scope["path"]) + "/"
        return self._public is not None and path.startswith(self._public)

    def _has_token(self, authorization: str) -> bool:
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        return scheme.lower() == "bearer" and right


def _redirection(scope: Scope) -> Response | None:
    """Where a path with doubled slashes or dot segments leads to."""
    path = scope["path"]
    if not path.startswith("/"):
        return None
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/") and clean != "/":
        clean += "/"
    if clean == path:
        return None
    query = scope.get("query_string", b"").decode("latin-1")
    location = quote(clean) + (f"?{query}" if query else "")
    return Response(status_code=301, headers={"Location": location})
