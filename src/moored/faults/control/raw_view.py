"""Raw proxies in the form in which fault proxies are watched."""

from __future__ import annotations

from collections.abc import Callable

from moored.faults.record import ConnectionRecord
from moored.faults.tcp.proxy import TcpProxy

__all__ = ["RawView"]


class RawView:
    """One raw proxy, whose connections have bytes and no messages."""

    def __init__(self, tcp: TcpProxy) -> None:
        self._tcp = tcp

    @property
    def connection_count(self) -> int:
        """How many connections have been accepted."""
        return self._tcp.connection_count

    @property
    def change_count(self) -> int:
        """How often anything has changed, in this proxy or in one that shares its changes."""
        return self._tcp.changes.count

    def connection(self, number: int) -> ConnectionRecord | None:
        """One connection, as it is now."""
        found = self._tcp.connection(number)
        if found is None:
            return None
        return ConnectionRecord(
            number,
            found.accepted,
            transport="tcp",
            bytes=found.bytes_down,
            bytes_to_server=found.bytes_up,
            stalled=found.stalled,
            ended=found.ended,
            outcome=found.outcome,
        )

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition()`` is true: asked again after each change."""
        await self._tcp.changes.wait_until(condition)
