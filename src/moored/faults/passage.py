"""Passing payload in one direction of a connection, as far as its faults let it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import trio

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.http import GzipCut
from moored.faults.catalogue.moments import Moment
from moored.faults.editing import Editing, Output
from moored.faults.framing import AsIs, Framing
from moored.faults.track import Track

__all__ = ["Meet", "Passage"]

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
Meet: TypeAlias = Callable[["Moment | GzipCut | None"], Awaitable[None]]
Inject: TypeAlias = Callable[[Fault, str, int | None], None]
Spawn: TypeAlias = Callable[[Callable[[], Awaitable[None]]], None]

_PLAIN = Output(b"")[1:]
_TOGETHER_BYTES = 256 * 1024


class Passage:
    """One direction.

    :param track: counts what passes.
    :param send: sends bytes to the receiver.
    :param meet: lets a fault strike, and does not return then.
    :param inject: is told of faults that took effect as bytes pass.
    :param spawn: runs a task for as long as the connection lives.

    :ivar framing: how payload goes on the wire.
    :ivar sending: whether bytes that were let pass are still on their way.
    :ivar inside_line: whether what has passed ends in the middle of a line.
    :ivar stopped: a fault has struck, and what is late does not come any more.
    """

    def __init__(
        self, track: Track, send: Send, *, meet: Meet, inject: Inject, spawn: Spawn
    ) -> None:
        self.track = track
        self.framing: Framing = AsIs()
        self.sending: bool = False
        self.inside_line: bool = False
        self.stopped: bool = False
        self._send = send
        self._meet = meet
        self._inject = inject
        self._spawn = spawn
        self._editing: Editing | None = None
        self._passing: Callable[[int], None] | None = None
        self._turn = trio.Lock()
        self._late: list[bytes] = []
        self._waiting = 0  # for their time, or for the end of a frame
        self._unedited = 0

    @property
    def unedited(self) -> int:
        """Messages that a fault aimed at, and that were too large to be edited."""
        return self._unedited + (self._editing.unedited if self._editing else 0)

    @property
    def deaf(self) -> bool:
        """Whether nothing passes any more, because the client's close is ignored."""
        return self._editing is not None and self._editing.deaf

    def begin(
        self,
        *,
        framing: Framing | None = None,
        editing: Editing | None = None,
        passing: Callable[[int], None] | None = None,
    ) -> None:
        """Payload follows.

        :param passing: is told how many of the bytes just scanned pass, before they do.
        """
        self.framing = framing or AsIs()
        self._editing = editing
        self._passing = passing

    async def pass_on(self, data: bytes) -> None:
        """Pass payload, as far as the faults let it.

        :raises ClientLeft: when the client's connection is broken.
        """
        editing = self._editing
        if editing is None:
            await self._pass(data)
            return
        await self._emit_all(editing.feed(data))
        if editing.is_over and not self._waiting:
            await self.flush()
            self._unedited += editing.unedited
            self._editing = None

    async def flush(self) -> None:
        """Pass what is held back: nothing comes that it could wait for."""
        if self._editing is not None:
            await self._emit_all(self._editing.flush())

    async def _emit_all(self, outputs: Iterable[Output]) -> None:
        # Sending costs more than editing, so what nothing happens to goes out together; but not all
        # at once: edits can make much out of little.
        plain: list[bytes] = []
        size = 0
        for output in outputs:
            if output[1:] == _PLAIN and size < _TOGETHER_BYTES:
                plain.append(output.data)
                size += len(output.data)
                continue
            await self._emit(Output(b"".join(plain)))
            plain.clear()
            size = 0
            await self._emit(output)
        await self._emit(Output(b"".join(plain)))

    async def _emit(self, output: Output) -> None:
        for effect in output.injected:
            self._inject(*effect)
        if output.delay is not None:
            self._waiting += 1
            self._spawn(lambda: self._pass_later(output.data, output.delay or 0))
            return
        if output.pause:
            await trio.sleep(output.pause)
        if output.data:
            async with self._turn:
                await self._pass(output.data, output.size)
        await self._pass_late()
        await self._meet(output.strike)

    async def _pass(self, data: bytes, size: int | None = None) -> None:
        step = self.track.advance(data)
        if self._passing is not None:
            self._passing(step.forward)
        if step.forward:
            passed = data[: step.forward]
            begun = size is not None
            wire = self.framing.begin(passed, size or 0) if begun else self.framing.wrap(passed)
            self.inside_line = passed[-1:] not in (b"\n", b"\r")
            self.sending = True
            await self._send(wire)
            self.sending = False
        await self._meet(step.fault or self.track.release())

    # Frames that are late.

    async def _pass_later(self, data: bytes, seconds: float) -> None:
        await trio.sleep(seconds)
        if self.stopped:
            return
        self._late.append(data)
        async with self._turn:
            pass  # What is on its way has passed; what comes next passes this, too.
        await self._pass_late()

    async def _pass_late(self) -> None:
        while self._late and not self.stopped and self.track.scanner.at_boundary:
            async with self._turn:
                if self._late and self.track.scanner.at_boundary:
                    await self._pass(self._late.pop(0))
                    self._waiting -= 1
