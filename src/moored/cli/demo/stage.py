"""The demo itself: one server, a proxy before it for each stream, and the streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import trio

from moored import faults
from moored.cli.demo.clients import Client, client_for
from moored.cli.demo.scenario import Part
from moored.cli.demo.track import Happening, Journal, Track
from moored.cli.demo.verdict import Verdict, judge
from moored.cli.running import Stop

__all__ = ["Stage"]

LONGEST = 18.0
"""The demo ends after so many seconds at the latest, whatever is still to come."""


class Stage:
    """The demo while it runs.

    :param parts: the streams.
    :param seed: decides all jitter.
    :param recovery: whether the streams reconnect, for the verdict to tell.
    :param listener: called with each line of the log.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        seed: int,
        recovery: bool,
        listener: Callable[[Happening], None],
    ) -> None:
        self.started: float = trio.current_time()
        self._seed = seed
        self._recovery = recovery
        journal = Journal(self.started, listener)
        self.tracks: tuple[Track, ...] = tuple(Track(part, journal) for part in parts)

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return trio.current_time() - self.started

    async def run(self, stop: Stop) -> Verdict:
        """Play every stream to its end, or until ``stop``."""
        async with AsyncExitStack() as stack:
            pace = self.tracks[0].part.pace
            server = await stack.enter_async_context(faults.open_server(pace=pace))
            clients: list[Client] = []
            watchers = await stack.enter_async_context(trio.open_nursery())
            stack.callback(watchers.cancel_scope.cancel)
            for track in self.tracks:
                proxy = await stack.enter_async_context(
                    faults.open_proxy(server.url, schedule=track.part.schedule, seed=self._seed)
                )
                watchers.start_soon(_watch, proxy, track)
                clients.append(client_for(track, proxy, self._seed))
            stop.scope.deadline = min(stop.scope.deadline, self.started + LONGEST)
            watchers.start_soon(_close, stop, clients)
            async with trio.open_nursery() as streams:
                for client in clients:
                    streams.start_soon(client.run, name=client.track.part.name)
            counts = [client.count() for client in clients]
            seconds = self.seconds
        verdicts = tuple(
            judge(track, count, self.started)
            for track, count in zip(self.tracks, counts, strict=True)
        )
        return Verdict(verdicts, self._seed, self._recovery, seconds)


async def _watch(proxy: faults.Proxy, track: Track) -> None:
    while True:
        await proxy.wait_until(lambda: len(proxy.injected) > len(track.injected))
        for injected in proxy.injected[len(track.injected) :]:
            track.inject(injected)


async def _close(stop: Stop, clients: Sequence[Client]) -> None:
    await stop.wait()
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.stop)
