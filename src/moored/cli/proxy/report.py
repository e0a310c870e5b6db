"""What fault proxies do, told line by line."""

from __future__ import annotations

import attrs
import trio

from moored.cli.serving import Reporter
from moored.cli.wording import injected_words
from moored.faults import ConnectionRecord, Injected, Proxy, fault_to_dict
from moored.faults.duration import duration
from moored.faults.proxies import FaultProxies, NamedProxy

__all__ = ["report", "words_of_injected"]


async def report(proxies: FaultProxies, reporter: Reporter, *, names: bool) -> None:
    """Tell of faults and of ended connections, for ever.

    :param names: whether to say in which proxy.
    """
    known: set[NamedProxy] = set()

    def new() -> set[NamedProxy]:
        return set(proxies) - known

    async with trio.open_nursery() as nursery:
        while True:
            await proxies.changes.wait_until(lambda: bool(new()))
            for named in new():
                nursery.start_soon(_report_one, named, _Teller(named, reporter, names))
            known = set(proxies)


async def _report_one(named: NamedProxy, teller: _Teller) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(teller.tell_faults)
        nursery.start_soon(teller.tell_connections)
        await named.wait_closed()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


class _Teller:
    """Tells of one proxy."""

    def __init__(self, named: NamedProxy, reporter: Reporter, names: bool) -> None:
        self._proxy = named.proxy
        self._reporter = reporter
        self._prefix = f"{named.name}: " if names else ""
        self._facts = {"proxy": named.name} if names else {}

    async def tell_faults(self) -> None:
        proxy, told = self._proxy, 0

        def due() -> int:
            return sum(proxy.injected_counts.values()) - told

        while True:
            await proxy.wait_until(lambda: due() > 0)
            for injected in proxy.injected[-due() :]:
                self._reporter.tell(
                    "injected",
                    f"{self._prefix}connection {injected.connection} {injected.path}: "
                    f"injected {words_of_injected(proxy, injected)}",
                    **self._facts,
                    connection=injected.connection,
                    path=injected.path,
                    time=injected.time,
                    detail=injected.detail,
                    fault=fault_to_dict(injected.fault),
                )
            told = sum(proxy.injected_counts.values())

    async def tell_connections(self) -> None:
        proxy, accepted = self._proxy, 0
        pending: dict[int, None] = {}  # those whose end is still to be told, in order

        def ended() -> list[ConnectionRecord]:
            nonlocal accepted
            pending.update(dict.fromkeys(range(accepted + 1, proxy.connection_count + 1)))
            accepted = proxy.connection_count
            found = (proxy.connection(number) for number in pending)
            return [each for each in found if each is not None and each.ended is not None]

        while True:
            await proxy.wait_until(lambda: bool(ended()))
            for connection in ended():
                words = self._prefix + _words(connection)
                facts = {**self._facts, **attrs.asdict(connection)}
                self._reporter.tell("connection", words, **facts)
                del pending[connection.number]


def words_of_injected(proxy: Proxy, injected: Injected) -> str:
    """What was injected and where."""
    connection = proxy.connection(injected.connection)
    on_websocket = connection is not None and connection.transport == "websocket"
    return injected_words(injected, pings=on_websocket)


def _words(connection: ConnectionRecord) -> str:
    seconds = (connection.ended or connection.accepted) - connection.accepted
    status = "" if connection.status is None else f", status {connection.status}"
    return (
        f"connection {connection.number} {connection.path}: {connection.outcome} "
        f"({connection.transport or 'no request'}{status}, {connection.messages} messages, "
        f"{connection.bytes} bytes, {duration(seconds)})"
    )
