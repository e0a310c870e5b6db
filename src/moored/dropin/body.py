"""The bodies that the transport hands to an SDK: the server's bytes, watched as they pass."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Literal, NoReturn, TypeAlias, cast

import attrs
import trio

from moored.core.sse import EventTooLarge
from moored.transports.content_coding import ContentDecoder, UnknownCoding

from .answer import AnswerWatch
from .library import HttpLibrary, HttpResponse
from .limiter import Lease, tokens_of_json
from .policy import TransportPolicy

__all__ = ["EventBody", "MeteredBody", "Source"]

CLOSE_TIMEOUT = 1.0
"""Seconds that the closing of a body may take."""
MAX_HELD_BYTES = 64 * 1024
"""Of the comments before the first event no more than this is held back."""
MAX_METERED_BYTES = 8 * 1024 * 1024
"""An answer in one piece that is longer is not searched for its usage."""

_BOM = b"\xef\xbb\xbf"
_DONE = re.compile(rb"data: ?\[DONE\]")

Clock: TypeAlias = Literal["first_token", "liveness", "progress", "silence", "drain"]


class Source:
    """The body of an inner transport's response: read to its end, or closed, and nothing left."""

    def __init__(self, library: HttpLibrary[Any], response: HttpResponse) -> None:
        self._library = library
        self._response = response
        self._chunks: AsyncIterator[bytes] = aiter(cast("AsyncIterable[bytes]", response.stream))
        self._closed = False

    async def next_chunk(self) -> bytes | None:
        """The next bytes; ``None`` at the end."""
        return await anext(self._chunks, None)

    async def aclose(self) -> None:
        """Close the connection, or give it back to its pool if all was read."""
        if self._closed:
            return
        self._closed = True
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self._response.aclose()
            # Run the library's generators to their end, or the garbage collector would find them.
            with contextlib.suppress(*self._library.after_close):
                while await anext(self._chunks, None) is not None:
                    pass


@attrs.define(eq=False)
class EventBody:
    """The body of an event stream, held to a policy.

    An iterator of its own and no generator: closed early, it leaves nothing behind.

    :param waited: seconds that the request had taken before the head of this answer came.
    :param read_timeout: the HTTP library's own, in seconds.
    """

    library: HttpLibrary[Any]
    source: Source
    watch: AnswerWatch
    policy: TransportPolicy
    lease: Lease
    attempts: int
    waited: float
    read_timeout: float | None
    _held: deque[bytes] = attrs.field(init=False, factory=deque)
    _over: bool = attrs.field(init=False, default=False)
    _failure: Exception | None = attrs.field(init=False, default=None)
    _draining: float = attrs.field(init=False, default=0.0)
    # The bytes so far, until it is known whether they begin with a byte order mark.
    _start: bytes | None = attrs.field(init=False, default=b"")

    async def begin(self) -> None:
        """Read up to the first event, and hold back what comes: nothing is given away yet."""
        size = 0
        while not self.watch.events and size < MAX_HELD_BYTES:
            chunk = await self._pull()
            if chunk is None:
                break
            if chunk:
                self._held.append(chunk)
            size += len(chunk)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._held:
            await trio.lowlevel.checkpoint()
            return self._held.popleft()
        chunk: bytes | None = b""
        while not chunk:
            if self._failure is not None:
                await trio.lowlevel.checkpoint()
                raise self._failure
            chunk = None if self._over else await self._pull()
            if chunk is None:
                chunk, self._start = self._start, None
                if not chunk:
                    await self.aclose()
                    raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Close the connection, or give it back, and the reservation with it."""
        self._over = True
        try:
            await self.source.aclose()
        finally:
            await self.lease.release(self.watch.tokens, self._failure)

    @property
    def _complete(self) -> bool:
        """Whether all that has to come has come."""
        if self.watch.terminated:
            return True
        return self.watch.finished and self.policy.required_end == "finish"

    async def _pull(self) -> bytes | None:
        """The next bytes; ``None`` at the end.

        :raises AnswerError: as the HTTP library's own exception.
        """
        complete = self._complete
        clock, left = self._first_clock(complete)
        chunk: bytes | None = None
        began = trio.current_time()
        returned = False
        try:
            with trio.move_on_after(left) as scope:
                try:
                    chunk = await self.source.next_chunk()
                except self.library.transport_error as exc:
                    if not complete:
                        await self._lost(exc)
            if scope.cancelled_caught and clock != "drain":
                await self._expired(clock)
            if chunk is None:
                self._over = True
                if not complete and not scope.cancelled_caught:
                    await self._ended()
            else:
                await self._note(chunk, trio.current_time() - began, complete)
                chunk = self._to_hand_over(chunk)
                if self.watch.failed:
                    await self._failed()
            returned = True
        finally:
            if not returned:
                self._over = True
                if self._failure is None:  # cancelled inside: what was on its way is lost
                    self._failure = self.library.interrupted(
                        f"reading was cancelled, {self._so_far()}", **self._facts()
                    )
        return chunk

    def _first_clock(self, complete: bool) -> tuple[Clock, float]:
        """The clock that runs out first, and in how many seconds."""
        if complete:
            return "drain", max(0.0, self.policy.drain_timeout - self._draining)
        clock: Clock = "first_token"
        if self.watch.has_content:
            clock = "silence" if self.watch.silence_expected else "progress"
        left = self._bound(clock) - self.waited
        liveness = self._bound("liveness")
        return ("liveness", liveness) if liveness < left else (clock, max(0.0, left))

    def _bound(self, clock: Clock) -> float:
        """What ``clock`` is set to, in seconds.

        While the model thinks or a tool runs, the answer waits for content as it did at its begin.
        """
        if clock == "silence":
            return max(self._bound("first_token"), self._bound("progress"))
        bound: float | None = getattr(self.policy, f"{clock}_timeout")
        return float("inf") if bound is None else bound

    async def _note(self, chunk: bytes, took: float, complete: bool) -> None:
        """Let the clocks know of ``chunk``, for which we waited ``took`` seconds."""
        try:
            progress = self.watch.feed(chunk)
        except (EventTooLarge, zlib.error) as exc:
            await self._lost(exc)
        self.waited = 0.0 if progress else self.waited + took
        self._draining = self._draining + took if complete else 0.0

    def _to_hand_over(self, chunk: bytes) -> bytes:
        """``chunk``, as the SDK is to have it."""
        if self.watch.compressed:
            return b"" if self.watch.failed else chunk
        if self.watch.failed:
            # At [DONE] an SDK stops to read, and would never learn of it.
            chunk = _DONE.split(chunk, 1)[0]
        if self._start is None:
            return chunk
        # A byte order mark is to be ignored (HTML 9.2.6).  The SDKs take it for a part of the first
        # field's name, and lose the first event.
        chunk = self._start + chunk
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._start = chunk
            return b""
        self._start = None
        return chunk.removeprefix(_BOM)

    # How it goes wrong.

    async def _failed(self) -> None:
        """Close, and fail behind the bytes that are still to be handed over."""
        body = self.watch.error
        said = body.get("message") if isinstance(body, dict) else body
        words = f": {str(said)[:500]}" if said else ""
        message = f"the provider reported an error inside a choice, {self._so_far()}{words}"
        self._failure = self.library.failed(message, body=body, **self._facts())
        await self.aclose()

    async def _lost(self, exc: Exception) -> NoReturn:
        facts = self._facts()
        if isinstance(exc, self.library.read_timeout):
            seconds = self.read_timeout or 0.0
            error: Exception = self.library.liveness_timeout(
                f"not a byte came within the HTTP library's read timeout of {seconds:g} s, "
                f"{self._so_far()}",
                seconds=seconds,
                **facts,
            )
        else:
            words = str(exc) or type(exc).__name__
            error = self.library.interrupted(
                f"the answer broke off, {self._so_far()}: {words}", **facts
            )
        await self._fail(error, exc)

    async def _expired(self, clock: Clock) -> NoReturn:
        seconds = self._bound(clock)
        kinds = {
            "first_token": (self.library.first_token_timeout, "no content came"),
            "liveness": (self.library.liveness_timeout, "not a byte came"),
            "progress": (self.library.progress_timeout, "content had begun, and no more came"),
            "silence": (
                self.library.progress_timeout,
                "content had begun, the model thought or a tool ran, and no more came",
            ),
        }
        kind, words = kinds[clock]
        if clock == "silence":
            clock = "first_token" if seconds == self._bound("first_token") else "progress"
        message = f"{words} within {clock}_timeout={seconds:g} s, {self._so_far()}"
        await self._fail(kind(message, seconds=seconds, **self._facts()))

    async def _ended(self) -> None:
        if self.policy.required_end == "anything":
            return
        missing = "its last event" if self.watch.finished else "its last event or a finish reason"
        if self.watch.inside_event:
            missing = "the rest of an event"
        message = f"the answer ended without {missing}, {self._so_far()}"
        await self._fail(self.library.truncated(message, missing=missing, **self._facts()))

    async def _fail(self, error: Exception, cause: Exception | None = None) -> NoReturn:
        self._failure = error
        await self.aclose()
        raise error from cause

    def _facts(self) -> dict[str, Any]:
        return {
            "received_events": self.watch.events,
            "text": self.watch.text,
            "attempts": self.attempts,
        }

    def _so_far(self) -> str:
        count = self.watch.events
        return f"after {count} event{'' if count == 1 else 's'}"


@attrs.define(eq=False)
class MeteredBody:
    """A body in one piece that passes untouched, and settles what was reserved for it."""

    source: Source
    lease: Lease
    coding: str
    _copy: bytearray = attrs.field(init=False, factory=bytearray)
    _whole: bool = attrs.field(init=False, default=True)
    _over: bool = attrs.field(init=False, default=False)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = None if self._over else await self.source.next_chunk()
        if chunk is None:
            await self.aclose()
            raise StopAsyncIteration
        self._whole = self._whole and len(self._copy) + len(chunk) <= MAX_METERED_BYTES
        if self._whole:
            self._copy += chunk
        return chunk

    async def aclose(self) -> None:
        """Close the connection, or give it back, and the reservation with it."""
        self._over = True
        try:
            await self.source.aclose()
        finally:
            await self.lease.release(self._tokens() if self._whole else None)

    def _tokens(self) -> int | None:
        try:
            return tokens_of_json(_decoded(bytes(self._copy), self.coding))
        except (UnknownCoding, zlib.error):
            return None


def _decoded(data: bytes, coding: str) -> bytes:
    decoder = ContentDecoder(coding)
    decoder.feed(data)
    pieces = [decoder.take()]
    while decoder.pending:
        pieces.append(decoder.take())
    return b"".join(pieces)
