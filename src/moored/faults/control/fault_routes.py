"""Our own routes beside Toxiproxy's API: fault proxies, which know what streams are made of."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.moments import Moment
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.control.bodies import MAX_BODY_BYTES, receive_body
from moored.faults.control.errors import ApiError
from moored.faults.control.fault_data import connection_data, injected_data, proxy_data
from moored.faults.control.feed import Feed
from moored.faults.files import DocumentError, parse, schedule_from_document
from moored.faults.json_schema import schedule_json_schema
from moored.faults.notation import fault_from_dict, fault_to_dict, schedule_to_data
from moored.faults.proxies import (
    FaultProxies,
    NamedProxy,
    ProxyExists,
    UnknownProxy,
    WatchedConnection,
    proxy_settings,
)
from moored.faults.proxies.activity import State
from moored.faults.recording import recording_of
from moored.faults.schedule import KINDS, ScheduleError

__all__ = ["fault_proxy_routes"]

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

_STATES: tuple[State, ...] = get_args(State)
_MOMENTS = ("after_messages", "after_bytes", "after_seconds", "at")


def fault_proxy_routes(proxies: FaultProxies) -> list[BaseRoute]:
    """The routes under ``/moored``.

    :param proxies: the proxies that they are about.
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
        Route("/moored/feed", Feed(proxies)),
        *(
            Route(path, _told(handler), methods=[method])
            for path, methods in handlers.items()
            for method, handler in methods.items()
        ),
    ]


_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(data, indent=1) + "\n"
    return Response(body, status, {**_HEADERS, **(headers or {})}, "application/json")


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _told(handler: Handler) -> Handler:
    """The handler, with its errors as answers."""

    async def respond(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as exc:
            return _answer({"error": exc.words}, exc.status)
        except UnknownProxy as exc:
            return _answer({"error": f"there is no proxy {str(exc)!r}"}, 404)
        except ProxyExists as exc:
            return _answer({"error": f"there is a proxy {str(exc)!r} already"}, 409)
        except DocumentError as exc:
            return _answer({"error": str(exc)}, 400)
        except ScheduleError as exc:
            facts = {"field": exc.field, "value": _plain(exc.value), "bound": exc.bound}
            return _answer({"error": exc.as_json, **facts}, 400)

    return respond


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


async def _document(request: Request) -> Any:
    """The data of a body: JSON, or YAML where its media type says so."""
    body = await receive_body(request)
    if body is None:
        raise ApiError(413, f"body of more than {MAX_BODY_BYTES} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ApiError(400, f"not UTF-8, at byte {exc.start}") from exc
    return parse(text, yaml="yaml" in request.headers.get("content-type", ""))


def _now(data: Any) -> Fault:
    """The fault in a body; one of a moment need not say which: it comes now."""
    kind = KINDS.get(str(data.get("fault"))) if isinstance(data, Mapping) else None
    if (
        kind is not None
        and issubclass(kind, Moment)
        and not any(data.get(each) is not None for each in _MOMENTS)
    ):
        data = {**data, "after_seconds": 0}
    return fault_from_dict(data)


class _Routes:
    """The handlers."""

    def __init__(self, proxies: FaultProxies) -> None:
        self._proxies = proxies

    def _one(self, request: Request) -> NamedProxy:
        return self._proxies.get(str(request.path_params["name"]))

    def _connection(self, watched: WatchedConnection) -> dict[str, Any]:
        return connection_data(self._proxies, watched)

    async def index(self, request: Request) -> Response:
        return _answer([proxy_data(named) for named in self._proxies])

    async def create(self, request: Request) -> Response:
        settings = proxy_settings(await _document(request))
        try:
            named = await self._proxies.open(settings)
        except OSError as exc:
            where = f"{settings.host}:{settings.port}"
            raise ApiError(409, f"cannot listen on {where}: {exc.strerror or exc}") from exc
        return _answer(proxy_data(named), 201, {"Location": f"/moored/proxies/{named.name}"})

    async def show(self, request: Request) -> Response:
        return _answer(proxy_data(self._one(request)))

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
        return _answer([each for each in found if state is None or each["state"] == state])

    async def connection(self, request: Request) -> Response:
        named, number = self._one(request), int(request.path_params["number"])
        named.activity.look()
        watched = named.activity.connections.get(number)
        if watched is None:
            raise ApiError(404, f"there is no connection {number}, or it is forgotten")
        return _answer(self._connection(watched))

    async def injected(self, request: Request) -> Response:
        injected = self._one(request).proxy.injected
        return _answer([injected_data(self._proxies, each) for each in injected])

    async def schedule(self, request: Request) -> Response:
        named = self._one(request)
        data = schedule_to_data(named.proxy.schedule)
        return _answer(data, headers=_attachment(f"{named.name}.schedule.json"))

    async def set_schedule(self, request: Request) -> Response:
        named = self._one(request)
        named.proxy.set_schedule(schedule_from_document(await _document(request)))
        return _answer(schedule_to_data(named.proxy.schedule))

    async def strike(self, request: Request) -> Response:
        named, fault = self._one(request), _now(await _document(request))
        if not isinstance(fault, Moment | TcpFault):
            raise ScheduleError(
                "fault", fault.kind, "one that can strike an open connection (arm this one)"
            )
        named.activity.look()
        if fault.connection is not None and not any(map(fault.aims_at, named.activity.connections)):
            aim = fault_to_dict(fault)["connection"]
            raise ApiError(404, f"there is no connection {json.dumps(aim)}, or it is forgotten")
        struck = named.proxy.strike(fault)
        return _answer({"struck": struck, "fault": fault_to_dict(fault)})

    async def armed(self, request: Request) -> Response:
        return _answer(schedule_to_data(self._one(request).proxy.armed))

    async def arm(self, request: Request) -> Response:
        named, data = self._one(request), await _document(request)
        if isinstance(data, Mapping) and "times" not in data:
            data = {**data, "times": 1}  # By hand, for ever is seldom meant.
        named.proxy.arm(fault_from_dict(data))
        return _answer(schedule_to_data(named.proxy.armed), 201)

    async def disarm(self, request: Request) -> Response:
        self._one(request).proxy.disarm()
        return Response(status_code=204)

    async def recording(self, request: Request) -> Response:
        named = self._one(request)
        recording = recording_of(named.proxy)
        return _answer(recording, headers=_attachment(f"{named.name}.recording.json"))

    async def schema(self, request: Request) -> Response:
        return _answer(schedule_json_schema())
