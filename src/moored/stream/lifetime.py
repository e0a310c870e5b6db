"""The life of a nursery behind an ``async with``, and whose exceptions come out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from moored.errors import InternalError

from .outcome import leaves
from .stream import Stream
from .supervisor import Supervisor

__all__ = ["background", "running"]

M = TypeVar("M")

_CLOSING_IN_ORDER = (Exception, BaseExceptionGroup)
_ORDINARY = (*_CLOSING_IN_ORDER, trio.Cancelled)


@asynccontextmanager
async def running(make: Callable[[], Supervisor[M]]) -> AsyncIterator[Stream[M]]:
    """Run a stream while the body runs; close it afterwards."""
    supervisor = make()  # here, not in the opener: its clock starts with the ``async with``

    def start(nursery: trio.Nursery) -> None:
        supervisor.nursery = nursery
        nursery.start_soon(supervisor.run, name="reconnect")

    async def close(body_error: BaseException | None) -> None:
        if body_error is not None and not isinstance(body_error, _CLOSING_IN_ORDER):
            supervisor.hurry()  # cancelled, or interrupted
        else:
            await supervisor.aclose(1000, reconnecting=body_error is None)

    async with background(start, close, of="the stream"):
        yield Stream(supervisor)


@asynccontextmanager
async def background(
    start: Callable[[trio.Nursery], object],
    close: Callable[[BaseException | None], Awaitable[object]],
    *,
    of: str,
) -> AsyncIterator[None]:
    """Tasks of ours that run while the body runs.

    The body's own exception comes out as it is, never in a group; so does cancellation.  A crash of
    one of our tasks is a bug of ours, and comes out as :class:`moored.InternalError`.

    :param start: starts them.
    :param close: ends them in good order, told what the body raised; they are cancelled after it.
    :param of: whose tasks they are, for the error.
    """
    body_error: BaseException | None = None
    nursery_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            start(nursery)
            try:
                yield
            except BaseException as exc:  # noqa: BLE001 - raised below
                # Held, not raised here: the nursery would put it in a group.
                body_error = exc
            await close(body_error)
            nursery.cancel_scope.cancel()
    except BaseException as exc:  # noqa: BLE001 - sorted out below
        nursery_error = exc
    ours = list(leaves(nursery_error))
    for each in (body_error, *ours):
        if each is not None and not isinstance(each, _ORDINARY):
            raise each  # KeyboardInterrupt, SystemExit: no crash of ours may hide them
    for leaf in ours:
        if not isinstance(leaf, trio.Cancelled):
            crash = InternalError(f"a task of {of} crashed: {leaf!r}")
            crash.__context__ = body_error
            raise crash from leaf
    if body_error is not None:
        raise body_error
    for cancelled in ours:
        raise cancelled
