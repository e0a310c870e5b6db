"""Our own routes for the raw proxies of Toxiproxy's API: connections, and what strikes them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.moments import Cut, Stall
from moored.faults.control.fault_data import connection_data, raw_proxy_data
from moored.faults.control.json_routes import (
    Handler,
    answer,
    check_known,
    document,
    fault_now,
    json_routes,
)
from moored.faults.control.proxies import ControlledProxy, Proxies
from moored.faults.notation import fault_to_dict
from moored.faults.proxies import FaultProxies
from moored.faults.schedule import ScheduleError

__all__ = ["raw_proxy_routes"]


def raw_proxy_routes(raw: Proxies, proxies: FaultProxies) -> list[BaseRoute]:
    """The routes under ``/moored/raw``.

    They are made and have their toxics through Toxiproxy's API, which no page in a browser may use.

    :param raw: the proxies that they are about.
    :param proxies: the fault proxies, since whose beginning times are told.
    """
    routes = _Routes(raw, proxies)
    one = "/moored/raw/{name}"
    handlers: dict[str, dict[str, Handler]] = {
        "/moored/raw": {"GET": routes.index},
        one: {"GET": routes.show, "DELETE": routes.delete},
        f"{one}/connections": {"GET": routes.connections},
        f"{one}/strike": {"POST": routes.strike},
        f"{one}/accepting": {"PUT": routes.accept},
    }
    return json_routes(handlers)


class _Routes:
    """The handlers."""

    def __init__(self, raw: Proxies, proxies: FaultProxies) -> None:
        self._raw = raw
        self._proxies = proxies

    def _one(self, request: Request) -> ControlledProxy:
        return self._raw.get(_name(request))

    async def index(self, request: Request) -> Response:
        return answer([raw_proxy_data(each) for each in self._raw])

    async def show(self, request: Request) -> Response:
        return answer(raw_proxy_data(self._one(request)))

    async def delete(self, request: Request) -> Response:
        await self._raw.delete(_name(request))
        return Response(status_code=204)

    async def connections(self, request: Request) -> Response:
        activity = self._one(request).activity
        activity.look()
        return answer([connection_data(self._proxies, e) for e in activity.connections.values()])

    async def strike(self, request: Request) -> Response:
        raw, fault = self._one(request), _cut_or_stall(await document(request))
        raw.activity.look()
        check_known(fault, raw.activity.connections)
        if isinstance(fault, Cut):
            struck = raw.tcp.cut(fault.how, connection=fault.connection)
        else:
            struck = raw.tcp.stall(connection=fault.connection)
        return answer({"struck": struck, "fault": fault_to_dict(fault)})

    async def accept(self, request: Request) -> Response:
        self._one(request)
        accepting = await document(request)
        if not isinstance(accepting, bool):
            raise ScheduleError("accepting", accepting, "true or false")
        return answer(raw_proxy_data(await self._raw.accept(_name(request), accepting)))


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _cut_or_stall(data: Any) -> Cut | Stall:
    """The fault in a body, which may say no more than a raw proxy can do."""
    fault: Fault = fault_now(data)
    if isinstance(fault, Cut):
        plain: Fault = Cut(after_seconds=0, how=fault.how, connection=fault.connection)
    else:
        plain = Stall(after_seconds=0, connection=fault.connection)
    if fault != plain:
        bound = "cut, with how and connection, or stall, with connection: it knows bytes alone"
        raise ScheduleError("fault", data, bound)
    return fault  # type: ignore[return-value]
