"""Following one stream: its messages go out, its changes of state are told, lines go in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any

import attrs
import click
import trio

import moored
from moored import State
from moored.cli.running import CommandFailed, Stop
from moored.cli.tail.lines import Message
from moored.cli.tail.pipes import OutputPipe, input_lines

__all__ = ["Follower"]

LINES_PER_WRITE = 256
"""Messages that wait already go out together, so many at a time."""


@attrs.frozen
class Follower:
    """Follows a stream to its end.

    :param opening: the stream.
    :param line: what a message looks like.
    :param maximum: messages after which to end; ``None``: no bound.
    :param sends: what to send first; the outbox must have room for all of it.
    :param sends_input: whether the lines of standard input are sent after that.
    :param quiet: whether to keep silent about changes of state.
    """

    opening: AbstractAsyncContextManager[moored.Stream[Any]]
    line: Callable[[Message], bytes]
    maximum: int | None = None
    sends: Sequence[str] = ()
    sends_input: bool = False
    quiet: bool = False

    async def run(self, stop: Stop) -> int:
        """Follow, and return the exit status.

        :raises CommandFailed: when the stream fails.
        """
        output = OutputPipe(sys.stdout.fileno())
        error: moored.MooredError | None = None
        async with self.opening as stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_changes, stream)
            async with trio.open_nursery() as others:
                # All of these are in the outbox before a signal can end anything.
                await self._send_all(stream, self.sends)
                if self.sends_input:
                    others.start_soon(self._send_input, stream)
                others.start_soon(_stop_when_closed, output, stop)
                with stop.scope:
                    error = await self._receive(stream, output)
                others.cancel_scope.cancel()
            await stream.aclose()
        if error is not None:
            raise CommandFailed(_words(error))
        self._tell(f"closed: {stream.cause}")
        return stop.status()

    async def _receive(
        self, stream: moored.Stream[Any], output: OutputPipe
    ) -> moored.MooredError | None:
        """Write what comes, until the end; return the error that it ended with."""
        left = self.maximum
        waiting: list[bytes] = []
        try:
            async for message in stream:
                waiting.append(self.line(message))
                left = None if left is None else left - 1
                full = left == 0 or len(waiting) == LINES_PER_WRITE
                if full or not stream.stats.inbox:
                    if not await output.write(b"".join(waiting)) or left == 0:
                        return None
                    waiting.clear()
        except moored.MooredError as exc:
            return exc
        return None

    async def _send_all(self, stream: moored.Stream[Any], messages: Iterable[str]) -> None:
        with suppress(moored.MooredError):  # whoever receives is told
            for message in messages:
                await stream.send(message)

    async def _send_input(self, stream: moored.Stream[Any]) -> None:
        async with aclosing(input_lines(sys.stdin.fileno())) as lines:
            async for line in lines:
                await self._send_all(stream, [line])

    async def _tell_changes(self, stream: moored.Stream[Any]) -> None:
        async for change in stream.transitions():
            match change:
                case moored.Transition(target=State.BACKOFF):
                    self._tell(f"backoff {change.delay or 0:.1f} s: {change.cause}")
                case moored.Transition(source=None | State.BACKOFF, target=State.CONNECTING):
                    self._tell(f"connecting (attempt {change.attempt})")
                case moored.Transition(source=State.CONNECTING, target=State.OPEN):
                    self._tell(f"open (attempt {change.attempt})")
                # A quiet stream changes to and fro between OPEN and HEARTBEATING: no news.

    def _tell(self, words: str) -> None:
        if not self.quiet:
            click.echo(f"moored: {words}", err=True)


def _words(error: moored.MooredError) -> str:
    if isinstance(error, moored.StreamInterrupted):
        return f"the answer broke off after {len(error.received)} events: {error}"
    return str(error)


async def _stop_when_closed(output: OutputPipe, stop: Stop) -> None:
    await output.wait_closed()
    stop.scope.cancel()
