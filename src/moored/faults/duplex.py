"""The two directions of one connection: their streams, and how they end together."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

import trio

from moored.faults.endings import half_close

__all__ = ["HALF_CLOSED_GRACE", "ClientLeft", "Duplex", "Ending", "UpstreamReset", "Wires"]

HALF_CLOSED_GRACE = 10.0
"""When one side has closed its half: how long the other may be silent, in seconds."""

_RECEIVE_BYTES = 64 * 1024


Side: TypeAlias = Callable[[], Awaitable[None]]


class ClientLeft(Exception):
    """The client's connection broke."""


class UpstreamReset(Exception):
    """The upstream's connection broke."""


class Ending(NamedTuple):
    """Why a connection ended, and whether the client is to see a reset."""

    outcome: str
    reset: bool = False


class Wires:
    """The two streams, with errors that tell which of them broke."""

    def __init__(self, client: trio.abc.Stream) -> None:
        self.client = client
        self.upstream: trio.abc.Stream | None = None
        self._client_ended = False
        self._upstream_ended = False

    async def from_client(self) -> bytes:
        """The client's next bytes; ``b""`` at their end.

        :raises ClientLeft: when the connection is broken.
        """
        try:
            return bytes(await self.client.receive_some(_RECEIVE_BYTES))
        except trio.BrokenResourceError:
            raise ClientLeft from None

    async def to_client(self, data: bytes) -> None:
        """Send to the client; nothing, once it was told that no more will come.

        :raises ClientLeft: when the connection is broken.
        """
        if self._client_ended:
            return
        try:
            await self.client.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ClientLeft from None

    async def from_upstream(self) -> bytes:
        """The upstream's next bytes; ``b""`` at their end.

        :raises UpstreamReset: when the connection is broken.
        """
        assert self.upstream is not None
        try:
            return bytes(await self.upstream.receive_some(_RECEIVE_BYTES))
        except trio.BrokenResourceError:
            raise UpstreamReset from None

    async def to_upstream(self, data: bytes | None) -> None:
        """Send to the upstream; one that takes no more may still be answering, so it gets to."""
        assert self.upstream is not None
        if data and not self._upstream_ended:
            try:
                await self.upstream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def end_upstream(self) -> bool:
        """Tell the upstream that no more will come; ``False`` if it can be told only by closing."""
        assert self.upstream is not None
        self._upstream_ended = True
        return await half_close(self.upstream)

    async def end_client(self) -> bool:
        """The same for the client."""
        self._client_ended = True
        return await half_close(self.client)

    async def close(self) -> None:
        """Close what is still open, at once."""
        try:
            await trio.aclose_forcefully(self.client)
        finally:  # When we are cancelled, that raises, having closed.
            await self.close_upstream()

    async def close_upstream(self) -> None:
        """Close the upstream, at once."""
        if self.upstream is not None:
            await trio.aclose_forcefully(self.upstream)


class Duplex:
    """Runs one task for each direction until both are done, or one of them ends it all."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._ending: Ending | None = None

    async def run(self, client_side: Side, upstream_side: Side) -> Ending:
        """Run both sides, and return how they ended."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, client_side, name="client to upstream")
                await self._guard(upstream_side)
        return self._ending or Ending("complete")

    def end(self, outcome: str, *, reset: bool = False, after_all: bool = False) -> None:
        """End both directions now.

        :param reset: whether the client is to see a reset.
        :param after_all: this outcome counts even if one side had closed its half before; without
            it, what happened first stays the outcome.
        """
        if after_all:
            self._ending = None
        self._settle(Ending(outcome, reset))
        self._scope.cancel()

    def half_close(self, outcome: str) -> None:
        """One direction is done; the other may go on, as long as it is not silent for too long."""
        self._settle(Ending(outcome))
        self._scope.deadline = trio.current_time() + HALF_CLOSED_GRACE

    def refresh(self) -> None:
        """Something passed: if half of it is closed, the grace begins anew."""
        if self._scope.deadline != math.inf:
            self._scope.deadline = trio.current_time() + HALF_CLOSED_GRACE

    def _settle(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending

    async def _guard(self, side: Side) -> None:
        try:
            await side()
        except ClientLeft:
            self.end("client left")
        except UpstreamReset:
            self.end("upstream left", reset=True)
