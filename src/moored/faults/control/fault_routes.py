"""Our own routes beside Toxiproxy's API: fault proxies, which know what streams are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from moored.faults.catalogue.moments import Moment
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.control.errors import ApiError
from moored.faults.control.fault_data import connection_data, injected_data, proxy_data
from moored.faults.control.feed import Feed
from moored.faults.control.json_routes import (
    Handler,
    answer,
    check_known,
    document,
    fault_now,
    json_routes,
)
from moored.faults.control.proxies import Proxies
from moored.faults.files import schedule_from_document
from moored.faults.json_schema import schedule_json_schema
from moored.faults.notation import fault_from_dict, fault_to_dict, schedule_to_data
from moored.faults.proxies import (
    FaultProxies,
    NamedProxy,
    WatchedConnection,
    proxy_settings,
)
from moored.faults.proxies.activity import State
from moored.faults.recording import recording_of
from moored.faults.schedule import ScheduleError

__all__ = ["fault_proxy_routes"]

_STATES: tuple[State, ...] = get_args(State)


def fault_proxy_routes(proxies: FaultProxies, raw: Proxies) -> list[BaseRoute]:
    """The routes under ``/moored``.

    :param proxies: the proxies that they are about.
    :param raw: the raw proxies, which the feed tells of, too.
    """
    routes = _Routes(proxies)
    one = "/moored/proxies/{name}"
    handlers: dict[str, dict[str, Handler]] = {
        "/moored/proxies": {"GET": routes.index, "POST": routes.create},
        one: {"GET": routes.show, "DELETE": routes.delete},
        f"{one}/connections": {"GET": routes.connections},
        f"{one}/connections/{{number:int}}": {"GET": routes.connection},
        f"{one}/injected": {"GET": routes.injected},
        f"{one}/schedule": {"GET": routes.schedule, "PUT": routes.set_schedule},
        f"{one}/strike": {"POST": routes.strike},
        f"{one}/armed": {"GET": routes.armed, "POST": routes.arm, "DELETE": routes.disarm},
        f"{one}/recording": {"GET": routes.recording},
        "/moored/schema": {"GET": routes.schema},
    }
    return [
        Route("/moored/feed", Feed(proxies, raw)),
        *json_routes(handlers),
    ]


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


class _Routes:
    """The handlers."""

    def __init__(self, proxies: FaultProxies) -> None:
        self._proxies = proxies

    def _one(self, request: Request) -> NamedProxy:
        return self._proxies.get(str(request.path_params["name"]))

    def _connection(self, watched: WatchedConnection) -> dict[str, Any]:
        return connection_data(self._proxies, watched)

    async def index(self, request: Request) -> Response:
        return answer([proxy_data(named) for named in self._proxies])

    async def create(self, request: Request) -> Response:
        settings = proxy_settings(await document(request))
        try:
            named = await self._proxies.open(settings)
        except OSError as exc:
            where = f"{settings.host}:{settings.port}"
            raise ApiError(409, f"cannot listen on {where}: {exc.strerror or exc}") from exc
        return answer(proxy_data(named), 201, {"Location": f"/moored/proxies/{named.name}"})

    async def show(self, request: Request) -> Response:
        return answer(proxy_data(self._one(request)))

    async def delete(self, request: Request) -> Response:
        await self._proxies.close(self._one(request).name)
        return Response(status_code=204)

    async def connections(self, request: Request) -> Response:
        named = self._one(request)
        named.activity.look()
        state = request.query_params.get("state")
        if state is not None and state not in _STATES:
            raise ScheduleError("state", state, f"one of {', '.join(_STATES)}")
        found = map(self._connection, named.activity.connections.values())
        return answer([each for each in found if state is None or each["state"] == state])

    async def connection(self, request: Request) -> Response:
        named, number = self._one(request), int(request.path_params["number"])
        named.activity.look()
        watched = named.activity.connections.get(number)
        if watched is None:
            raise ApiError(404, f"there is no connection {number}, or it is forgotten")
        return answer(self._connection(watched))

    async def injected(self, request: Request) -> Response:
        injected = self._one(request).proxy.injected
        return answer([injected_data(self._proxies, each) for each in injected])

    async def schedule(self, request: Request) -> Response:
        named = self._one(request)
        data = schedule_to_data(named.proxy.schedule)
        return answer(data, headers=_attachment(f"{named.name}.schedule.json"))

    async def set_schedule(self, request: Request) -> Response:
        named = self._one(request)
        named.proxy.set_schedule(schedule_from_document(await document(request)))
        return answer(schedule_to_data(named.proxy.schedule))

    async def strike(self, request: Request) -> Response:
        named, fault = self._one(request), fault_now(await document(request))
        if not isinstance(fault, Moment | TcpFault):
            raise ScheduleError(
                "fault", fault.kind, "one that can strike an open connection (arm this one)"
            )
        named.activity.look()
        check_known(fault, named.activity.connections)
        struck = named.proxy.strike(fault)
        return answer({"struck": struck, "fault": fault_to_dict(fault)})

    async def armed(self, request: Request) -> Response:
        return answer(schedule_to_data(self._one(request).proxy.armed))

    async def arm(self, request: Request) -> Response:
        named, data = self._one(request), await document(request)
        if isinstance(data, Mapping) and "times" not in data:
            data = {**data, "times": 1}  # By hand, for ever is seldom meant.
        named.proxy.arm(fault_from_dict(data))
        return answer(schedule_to_data(named.proxy.armed), 201)

    async def disarm(self, request: Request) -> Response:
        self._one(request).proxy.disarm()
        return Response(status_code=204)

    async def recording(self, request: Request) -> Response:
        named = self._one(request)
        recording = recording_of(named.proxy)
        return answer(recording, headers=_attachment(f"{named.name}.recording.json"))

    async def schema(self, request: Request) -> Response:
        return answer(schedule_json_schema())
