"""The proxies that the API controls, and what its calls do to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import trio

from moored.faults.control.bodies import bad_body, boolean, read_object, text
from moored.faults.control.errors import ApiError
from moored.faults.control.raw_view import RawView
from moored.faults.control.toxic_data import ToxicData
from moored.faults.proxies.activity import Activity
from moored.faults.record import Changes
from moored.faults.tcp.proxy import TcpProxy

__all__ = ["ControlledProxy", "PopulateError", "Proxies"]

_FIELDS = {"name": text, "listen": text, "upstream": text, "enabled": boolean}


class PopulateError(ApiError):
    """Populating failed.

    :ivar made: the proxies before the one that failed; ``None`` when none was tried.
    """

    def __init__(self, cause: ApiError, made: list[ControlledProxy] | None = None) -> None:
        super().__init__(cause.status, cause.words)
        self.made = made


class ControlledProxy:
    """One proxy of the API.

    :param watchers: is told of what goes on in it.

    :ivar tcp: the proxy itself.
    :ivar activity: what goes on in it.
    """

    def __init__(self, tcp: TcpProxy, watchers: Changes) -> None:
        self.tcp: TcpProxy = tcp
        self.activity: Activity = Activity(RawView(tcp), watchers)
        self._toxics: dict[str, ToxicData] = {}
        self._watching = trio.CancelScope()

    async def watch(self) -> None:
        """Look at it until it is forgotten."""
        with self._watching:
            await self.activity.run()

    def forget(self) -> None:
        """Look at it no more."""
        self._watching.cancel()

    @property
    def toxics(self) -> list[ToxicData]:
        """Its toxics: the upstream ones first, each in the order in which they were added."""
        return sorted(self._toxics.values(), key=lambda each: each.direction != "upstream")

    def as_data(self) -> dict[str, Any]:
        """As the API answers."""
        return {
            "name": self.tcp.name,
            "listen": self.tcp.listen,
            "upstream": self.tcp.upstream,
            "enabled": self.tcp.enabled,
            "toxics": [toxic.as_data() for toxic in self.toxics],
        }

    def toxic(self, name: str) -> ToxicData:
        """The toxic with that name.

        :raises ApiError: 404.
        """
        if name not in self._toxics:
            raise ApiError(404, "toxic not found")
        return self._toxics[name]

    def add_toxic(self, body: object) -> ToxicData:
        """Add one, as the API describes it.

        :raises ApiError: 400 or 409.
        """
        data = ToxicData.create(body, self._toxics.__contains__)
        self.tcp.add_toxic(data.toxic, data.direction, name=data.name, toxicity=data.toxicity)
        self._toxics[data.name] = data
        return data

    def update_toxic(self, name: str, body: object) -> ToxicData:
        """Change one.

        :raises ApiError: 400 or 404.
        """
        data = self.toxic(name).updated(body)
        self.tcp.update_toxic(name, data.toxic, toxicity=data.toxicity)
        self._toxics[name] = data
        return data

    def remove_toxic(self, name: str) -> None:
        """Remove one.

        :raises ApiError: 404.
        """
        self.toxic(name)
        self.tcp.remove_toxic(name)
        del self._toxics[name]

    def remove_toxics(self) -> None:
        """Remove all."""
        for name in list(self._toxics):
            self.remove_toxic(name)


class Proxies:
    """All proxies, by name.  What changes them is done one call after the other.

    :param nursery: for their tasks.
    :param seed: decides all that is random.

    :param watchers: is told, a few times a second, of what goes on in them; by default nobody is.

    :ivar changes: tells when anything about any of them changes.
    """

    def __init__(
        self, nursery: trio.Nursery, *, seed: int = 0, watchers: Changes | None = None
    ) -> None:
        self.changes: Changes = Changes()
        self._watchers = Changes() if watchers is None else watchers
        self._nursery = nursery
        self._seed = seed
        self._proxies: dict[str, ControlledProxy] = {}
        self._lock = trio.Lock()

    def __iter__(self) -> Iterator[ControlledProxy]:
        return iter([self._proxies[name] for name in sorted(self._proxies)])

    def get(self, name: str) -> ControlledProxy:
        """The proxy with that name.

        :raises ApiError: 404.
        """
        if name not in self._proxies:
            raise ApiError(404, "proxy not found")
        return self._proxies[name]

    async def create(self, body: object) -> ControlledProxy:
        """Make one, as the API describes it.

        :raises ApiError: 400, 409, or 500 when it cannot listen.
        """
        given = read_object(body, _FIELDS)
        _require(given)
        async with self._lock:
            if given["name"] in self._proxies:
                raise ApiError(409, "proxy already exists")
            return await self._make(given)

    async def _make(self, given: Mapping[str, Any]) -> ControlledProxy:
        name = given["name"]
        tcp = TcpProxy(
            name,
            given["upstream"],
            self._nursery,
            listen=given.get("listen", ""),
            seed=f"{self._seed}/{name}",
            changes=self.changes,
        )
        proxy = ControlledProxy(tcp, self._watchers)
        if given.get("enabled", True):
            await _enable(tcp)
        if name in self._proxies:
            self._proxies[name].forget()
        self._proxies[name] = proxy
        self._nursery.start_soon(proxy.watch, name=f"watch {name}")
        self._tell()
        return proxy

    def _tell(self) -> None:
        self.changes.notify()
        self._watchers.notify()

    async def update(self, name: str, body: object) -> ControlledProxy:
        """Change the addresses of one, or whether it is enabled.

        :raises ApiError: 400, 404, or 500 when it cannot listen.
        """
        self.get(name)
        given = read_object(body, _FIELDS)
        async with self._lock:
            proxy = self.get(name)
            tcp = proxy.tcp
            listen = given.get("listen", tcp.listen)
            enabled = given.get("enabled", tcp.enabled)
            try:
                await tcp.move(listen=listen, upstream=given.get("upstream", tcp.upstream))
            except (OSError, ValueError) as exc:
                raise _cannot_listen(listen, exc) from exc
            if enabled:
                await _enable(tcp)
            else:
                await tcp.disable()
            return proxy

    async def delete(self, name: str) -> None:
        """Close one and forget it.

        :raises ApiError: 404.
        """
        async with self._lock:
            proxy = self.get(name)
            await proxy.tcp.disable()
            proxy.forget()
            del self._proxies[name]
            self._tell()

    async def accept(self, name: str, accepting: bool) -> ControlledProxy:
        """Let clients connect, or refuse those who come; open connections go on.

        :raises ApiError: 404, or 500 when it cannot listen.
        """
        async with self._lock:
            proxy = self.get(name)
            if accepting:
                await _enable(proxy.tcp)
            else:
                proxy.tcp.refuse()
            return proxy

    async def populate(self, body: object) -> list[ControlledProxy]:
        """Make those of a list, except where they are as the list has them.

        One that has another address or upstream is replaced, with its toxics; those that are not in
        the list stay.

        :raises PopulateError: 400, and nothing is made; or 500 when one cannot listen.
        """
        entries = _entries(body)
        async with self._lock:
            made: list[ControlledProxy] = []
            for entry in entries:
                try:
                    made.append(await self._make_or_keep(entry))
                except ApiError as exc:
                    raise PopulateError(exc, made) from exc
            return made

    async def _make_or_keep(self, entry: Mapping[str, Any]) -> ControlledProxy:
        existing = self._proxies.get(entry["name"])
        if existing is not None:
            listen = entry.get("listen", "")
            if not await existing.tcp.is_elsewhere(listen, entry["upstream"]):
                return existing
            await existing.tcp.disable()
        return await self._make(entry)

    async def reset(self) -> None:
        """Enable every proxy and remove every toxic.

        :raises ApiError: 500 when one cannot listen, after all others are reset.
        """
        async with self._lock:
            failure: ApiError | None = None
            for proxy in list(self._proxies.values()):
                proxy.remove_toxics()
                try:
                    await _enable(proxy.tcp)
                except ApiError as exc:
                    failure = failure or exc
            if failure is not None:
                raise failure

    async def close(self) -> None:
        """Close all, in order."""
        async with self._lock:
            for proxy in self._proxies.values():
                await proxy.tcp.disable()


def _require(given: Mapping[str, Any], where: str = "") -> None:
    for field in ("name", "upstream"):
        if not given.get(field):
            raise ApiError(400, f"missing required field: {field}{where}")


def _entries(body: object) -> list[dict[str, Any]]:
    try:
        if body is not None and not isinstance(body, list):
            raise bad_body("the body must be a list")
        entries = [read_object(entry, _FIELDS) for entry in body or []]
        for number, entry in enumerate(entries, 1):
            _require(entry, f" at proxy {number}")
    except ApiError as exc:
        raise PopulateError(exc) from exc
    return entries


async def _enable(tcp: TcpProxy) -> None:
    try:
        await tcp.enable()
    except (OSError, ValueError) as exc:
        raise _cannot_listen(tcp.listen, exc) from exc


def _cannot_listen(listen: str, exc: OSError | ValueError) -> ApiError:
    """As Go words it, for those who look for it in the answer."""
    if isinstance(exc, OSError):
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)
        return ApiError(500, f"listen tcp {listen}: bind: {reason[:1].lower()}{reason[1:]}")
    return ApiError(500, f"listen tcp: {exc}")
