"""Addresses as Toxiproxy writes them, ``host:port``: listening on them, and dialling them."""

from __future__ import annotations

import errno
import os
import socket

import trio

__all__ = ["bound", "dial", "join", "listen_on", "resolve", "split"]

_DIAL_TIMEOUT = 10.0
_BACKLOG = 4096
_WILDCARDS = ("", "0.0.0.0", "::")


def split(address: str) -> tuple[str, int]:
    """The host, without brackets, and the port of ``address``; no address at all is ``:0``.

    :raises ValueError: when it is no address.
    """
    host, colon, port = (address or ":0").rpartition(":")
    bracketed = host[:1] == "[" and host[-1:] == "]"
    if not colon or (":" in host and not bracketed):
        wrong = "too many colons in address" if colon else "missing port in address"
        raise ValueError(f"address {address}: {wrong}")
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ValueError(f"address {address}: invalid port")
    return host[1:-1] if bracketed else host, int(port)


def join(host: str, port: int) -> str:
    """``host:port``; an address of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolve(address: str) -> object:
    """Something that is equal for two addresses only where they are the same place.

    Port 0 is no place: it is another one each time.  A name that is unknown stays as it is.
    """
    try:
        host, port = split(address)
        if not port:
            return object()
        return await _first(host, port)
    except (OSError, ValueError):
        return address


async def _first(host: str, port: int) -> tuple[str, int]:
    if host in _WILDCARDS:
        return "::", port
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # Prefer IPv4, as localhost is expected to be 127.0.0.1.
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    return str(found[0][4][0]), port


async def listen_on(address: str) -> tuple[trio.SocketListener, str]:
    """Listen on ``address``; without a host on every interface, IPv4 and IPv6.

    :returns: the listener, and the address as it is.
    :raises ValueError: when it is no address.
    :raises OSError: when it cannot be had.
    """
    sock = await bound(*split(address))
    real_host, real_port = sock.getsockname()[:2]
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    return listener, join(real_host, real_port)


async def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; without a host on every interface, IPv4 and IPv6.

    :raises OSError: when the address cannot be had.
    """
    host, port = await _first(host, port)
    try:
        return _bound(host, port)
    except OSError as exc:
        if host != "::" or exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound("0.0.0.0", port)  # There is no IPv6 here.


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # Elsewhere it would take a port that is in use.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


async def dial(address: str) -> trio.SocketStream:
    """Connect to ``address``; without a host to this machine.

    :raises OSError: when there is no connection, or ``address`` is none.
    """
    try:
        host, port = split(address)
    except ValueError as exc:
        raise OSError(errno.EINVAL, str(exc)) from exc
    try:
        with trio.fail_after(_DIAL_TIMEOUT):
            return await trio.open_tcp_stream(host if host not in _WILDCARDS else "localhost", port)
    except trio.TooSlowError:
        raise TimeoutError(f"no connection within {_DIAL_TIMEOUT:g} s") from None
