"""Running a command under Trio: signals, failures and exit statuses, in one place."""

from __future__ import annotations

import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import trio

__all__ = ["CommandFailed", "Stop", "run"]


class CommandFailed(Exception):
    """The command could not do what it was asked to; its text is one line for the user.

    :ivar status: the exit status.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@attrs.define
class Stop:
    """How a command learns that it is to stop.

    :ivar scope: cancelled by the first SIGINT or SIGTERM.  The command enters it around what goes
        on for ever, and puts things in order after it.
    :ivar signal: the number of that signal, or ``None``.
    """

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    signal: int | None = None

    def status(self, otherwise: int = 0) -> int:
        """The exit status as shells have it: 128 and the signal's number, if there was one."""
        return otherwise if self.signal is None else 128 + self.signal

    async def wait(self) -> None:
        """Return when the command is to stop."""
        with self.scope:
            await trio.sleep(math.inf)


Command = Callable[[Stop], Awaitable[int]]


def run(command: Command) -> int:
    """Run ``command`` and return its exit status.

    The first SIGINT or SIGTERM asks it to stop (see :class:`Stop`), the second stops it at once.

    :raises CommandFailed: when ``command`` does.
    :raises OSError: when its output could not be written.
    """
    try:
        return trio.run(_run, command)
    except* OSError as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
    raise failure


async def _run(command: Command) -> int:
    stop = Stop()
    status: int | None = None
    failure: CommandFailed | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, signals, stop, nursery.cancel_scope)
            try:
                status = await command(stop)
            except CommandFailed as exc:
                failure = exc
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return stop.status(1) if status is None else status


async def _listen(signals: AsyncIterator[int], stop: Stop, everything: trio.CancelScope) -> None:
    async for number in signals:
        if stop.signal is not None:
            everything.cancel()
        stop.signal = number
        stop.scope.cancel()
