"""Routes of our own API: bodies that are data, and errors as JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.moments import Moment
from moored.faults.control.bodies import MAX_BODY_BYTES, receive_body
from moored.faults.control.errors import ApiError
from moored.faults.files import DocumentError, parse
from moored.faults.notation import fault_from_dict, fault_to_dict
from moored.faults.proxies import ProxyExists, UnknownProxy
from moored.faults.schedule import KINDS, ScheduleError

__all__ = ["Handler", "answer", "check_known", "document", "fault_now", "json_routes"]

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

_MOMENTS = ("after_messages", "after_bytes", "after_seconds", "at")


def json_routes(handlers: Mapping[str, Mapping[str, Handler]]) -> list[BaseRoute]:
    """The routes of handlers, by path and method."""
    return [
        Route(path, _told(handler), methods=[method])
        for path, methods in handlers.items()
        for method, handler in methods.items()
    ]


def check_known(fault: Fault, connections: Iterable[int]) -> None:
    """A strike at a connection has to aim at one of those that are known.

    :raises ApiError: 404.
    """
    if fault.connection is not None and not any(map(fault.aims_at, connections)):
        aim = json.dumps(fault_to_dict(fault)["connection"])
        raise ApiError(404, f"there is no connection {aim}, or it is forgotten")


_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    body = json.dumps(data, indent=1) + "\n"
    return Response(body, status, {**_HEADERS, **(headers or {})}, "application/json")


def _told(handler: Handler) -> Handler:
    """The handler, with its errors as answers."""

    async def respond(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as exc:
            return answer({"error": exc.words}, exc.status)
        except UnknownProxy as exc:
            return answer({"error": f"there is no proxy {str(exc)!r}"}, 404)
        except ProxyExists as exc:
            return answer({"error": f"there is a proxy {str(exc)!r} already"}, 409)
        except DocumentError as exc:
            return answer({"error": str(exc)}, 400)
        except ScheduleError as exc:
            facts = {"field": exc.field, "value": _plain(exc.value), "bound": exc.bound}
            return answer({"error": exc.as_json, **facts}, 400)

    return respond


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


async def document(request: Request) -> Any:
    """The data of a body: JSON, or YAML where its media type says so."""
    body = await receive_body(request)
    if body is None:
        raise ApiError(413, f"body of more than {MAX_BODY_BYTES} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ApiError(400, f"not UTF-8, at byte {exc.start}") from exc
    return parse(text, yaml="yaml" in request.headers.get("content-type", ""))


def fault_now(data: Any) -> Fault:
    """The fault in a body; one of a moment need not say which: it comes now."""
    kind = KINDS.get(str(data.get("fault"))) if isinstance(data, Mapping) else None
    if (
        kind is not None
        and issubclass(kind, Moment)
        and not any(data.get(each) is not None for each in _MOMENTS)
    ):
        data = {**data, "after_seconds": 0}
    return fault_from_dict(data)
