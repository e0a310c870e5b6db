"""Putting the faults of TCP on a client's stream, when and for as long as they say."""

from __future__ import annotations

from collections.abc import Callable

import trio

from moored.faults.aim import ConnectionAim
from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.tcp.shaped import ShapedStream

__all__ = ["Shaping"]


class Shaping:
    """The faults of TCP of one connection.

    :param stream: the client's, as it is.
    :param nursery: for what takes time; it lives as long as the stream.
    :param inject: is told of each that begins.

    :ivar stream: the client's, with the faults on it.
    """

    def __init__(
        self,
        aim: ConnectionAim,
        stream: trio.abc.Stream,
        nursery: trio.Nursery,
        inject: Callable[[Fault, str], None],
    ) -> None:
        self.stream: ShapedStream = ShapedStream(stream, nursery, seed=aim.seed)
        self._aim = aim
        self._nursery = nursery
        self._inject = inject
        self._accepted = trio.current_time()

    def begin(self, *, with_path: bool) -> None:
        """Let the faults begin that aim at the request (which is known now), or the others."""
        for index, fault in self._aim.of_tcp(with_path=with_path):
            begins = self._accepted + (fault.after_seconds or 0)
            if begins <= trio.current_time():
                self._put(index, fault)
            else:
                self._nursery.start_soon(self._put_later, index, fault, begins, name="TCP fault")

    async def _put_later(self, index: int, fault: TcpFault, begins: float) -> None:
        await trio.sleep_until(begins)
        self._put(index, fault)

    def _put(self, index: int, fault: TcpFault) -> None:
        if self._aim.take(index):
            self.put(fault)

    def put(self, fault: TcpFault) -> None:
        """Let ``fault`` begin now."""
        self._inject(fault, f"after {trio.current_time() - self._accepted:g} s")
        handles = [self.stream.add(fault.toxic, direction) for direction in fault.on]

        async def end(seconds: float) -> None:
            await trio.sleep(seconds)
            for handle in handles:
                self.stream.remove(handle)

        if fault.for_seconds is not None:
            self._nursery.start_soon(end, fault.for_seconds, name="end of a TCP fault")
