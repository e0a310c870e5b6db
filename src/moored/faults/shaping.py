"""Putting the faults of TCP on a client's stream, when and for as long as they say."""

from __future__ import annotations

from collections.abc import Callable

import trio

from moored.faults.aim import ConnectionAim
from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.duration import duration
from moored.faults.tcp.shaped import ShapedStream

__all__ = ["Shaping"]


class Shaping:
    """The faults of TCP of one connection.

    :param stream: the client's, as it is.
    :param nursery: for what takes time; it lives as long as the stream.
    :param injection: is told of each that begins, and gives what to call when it has made a
        difference.

    :ivar stream: the client's, with the faults on it.
    """

    def __init__(
        self,
        aim: ConnectionAim,
        stream: trio.abc.Stream,
        nursery: trio.Nursery,
        injection: Callable[[Fault, str], Callable[[], None]],
    ) -> None:
        self.stream: ShapedStream = ShapedStream(stream, nursery, seed=aim.seed)
        self._aim = aim
        self._nursery = nursery
        self._injection = injection
        self._accepted = trio.current_time()

    def begin(self) -> None:
        """Let the faults begin that do not aim at a request."""
        for index, fault in self._aim.of_tcp(with_path=False):
            if self._is_due(index, fault):
                self._put(index, fault)

    def begin_at_request(self, received: bytes) -> bool:
        """Let the faults begin that aim at the request.

        :param received: what of the stream has been read so far.
        :returns: whether all of that comes once more, as far as these faults let it.
        """
        due = [each for each in self._aim.of_tcp(with_path=True) if self._is_due(*each)]
        again = [each for each in due if each[1].strikes_request and self._aim.take(each[0])]
        if again:
            with self.stream.receive_again(received):
                for _, fault in again:
                    self.put(fault)
        for index, fault in due:
            if not fault.strikes_request:
                self._put(index, fault)
        return bool(again)

    def _is_due(self, index: int, fault: TcpFault) -> bool:
        """Whether it begins now; otherwise a task waits for its time."""
        begins = self._accepted + (fault.after_seconds or 0)
        if begins <= trio.current_time():
            return True
        self._nursery.start_soon(self._put_later, index, fault, begins, name="TCP fault")
        return False

    async def _put_later(self, index: int, fault: TcpFault, begins: float) -> None:
        await trio.sleep_until(begins)
        self._put(index, fault)

    def _put(self, index: int, fault: TcpFault) -> None:
        if self._aim.take(index):
            self.put(fault)

    def put(self, fault: TcpFault) -> None:
        """Let ``fault`` begin now."""
        note = self._injection(fault, f"after {duration(trio.current_time() - self._accepted)}")
        handles = [self.stream.add(toxic, way, on_effect=note) for way, toxic in fault.placed]

        async def end(seconds: float) -> None:
            await trio.sleep(seconds)
            for handle in handles:
                self.stream.remove(handle)

        if fault.for_seconds is not None:
            self._nursery.start_soon(end, fault.for_seconds, name="end of a TCP fault")
