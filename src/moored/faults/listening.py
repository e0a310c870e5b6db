"""Listening on TCP for as long as a block runs, and addresses as URLs write them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["authority", "background", "listen"]

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """A nursery for tasks that serve the body of an ``async with``, and end with it.

    When the body ends, the tasks are cancelled.  An exception of the body reaches the caller as
    itself, not wrapped in an :class:`ExceptionGroup` as a bare nursery would do: what went wrong in
    the body has nothing to do with the nursery.  A crash of a task does come as a group.
    """
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except (trio.Cancelled, GeneratorExit):
                raise
            except BaseException as exc:
                if _is_cancellation(exc):  # of a nursery in the body: a task of ours has crashed
                    raise
                body_error = exc
            nursery.cancel_scope.cancel()
    except BaseException:
        # The body failed first, so its own exception says more than what the tasks made of it.
        if body_error is not None:
            raise body_error  # noqa: B904 - the context is the tasks' failure, and should be seen
        raise
    if body_error is not None:
        raise body_error


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is nothing but cancellation, in a group or not."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_cancellation, error.exceptions))
    return isinstance(error, trio.Cancelled)


async def listen(host: str, port: int) -> tuple[trio.SocketListener, int]:
    """Listen on one address.

    :param host: a name or address.  A name with more than one address gives the first only: with
        ``port=0`` each address would get another port.
    :param port: 0 for one that is free.
    :returns: the listener and its port.
    :raises OSError: when the address cannot be had.
    """
    listener, *others = await trio.open_tcp_listeners(port, host=host)
    for other in others:
        await other.aclose()
    return listener, int(listener.socket.getsockname()[1])


def authority(host: str, port: int) -> str:
    """``host:port`` as a URL has it; a wildcard address becomes the loopback one."""
    host = _WILDCARDS.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
