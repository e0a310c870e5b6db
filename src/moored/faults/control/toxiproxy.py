"""Toxiproxy's HTTP API: its routes, statuses, headers and bodies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from moored.faults.control.bodies import MAX_BODY_BYTES, read_json, receive_body
from moored.faults.control.errors import ApiError
from moored.faults.control.metrics import CONTENT_TYPE, metrics_text
from moored.faults.control.proxies import PopulateError, Proxies

__all__ = ["VERSION", "not_found", "plain_text", "toxiproxy_routes"]

VERSION = "2.12.0"
"""The version of Toxiproxy whose API this is."""

Handler: TypeAlias = Callable[[Request, bytes], Awaitable[Response]]

_JSON = "application/json"


def plain_text(status: int, words: str) -> Response:
    """An answer in plain text."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(f"{words}\n", status, headers, "text/plain; charset=utf-8")


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer for an unknown path."""
    await plain_text(404, "404 page not found")(scope, receive, send)


def _answer(data: object, status: int = 200) -> Response:
    return Response(json.dumps(data, separators=(",", ":")), status, media_type=_JSON)


def _error(error: ApiError) -> Response:
    words: dict[str, Any] = {"error": error.words, "status": error.status}
    if isinstance(error, PopulateError):
        made = error.made
        proxies = None if made is None else [proxy.as_data() for proxy in made]
        return Response(json.dumps({**words, "proxies": proxies}) + "\n", error.status, None, _JSON)
    return plain_text(error.status, json.dumps(words, separators=(",", ":")))


class _Resource:
    """One path: a handler for each method.  Any other method is answered with 405 and no words.

    An ASGI application of its own, since those of the framework allow HEAD wherever GET is, and
    name the methods.
    """

    _numbers = itertools.count(1)

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await self._respond(request))(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        body = await receive_body(request)  # always, or the connection could not be used again
        handler = self._handlers.get(request.method, self._handlers.get("ANY"))
        if handler is None:
            return Response(status_code=405)
        if request.headers.get("user-agent", "").startswith("Mozilla/"):
            response = plain_text(403, "User agent not allowed")
        else:
            try:
                if body is None:
                    raise ApiError(413, f"body of more than {MAX_BODY_BYTES} bytes")
                response = await handler(request, body)
            except ApiError as exc:
                response = _error(exc)
        response.headers["X-Toxiproxy-Request-Id"] = f"{next(self._numbers):020x}"
        return response


class _Api:
    """The handlers."""

    def __init__(self, proxies: Proxies, *, metrics: bool) -> None:
        self._proxies = proxies
        self._metrics = metrics

    async def index(self, request: Request, body: bytes) -> Response:
        return _answer({proxy.tcp.name: proxy.as_data() for proxy in self._proxies})

    async def create(self, request: Request, body: bytes) -> Response:
        return _answer((await self._proxies.create(read_json(body))).as_data(), 201)

    async def show(self, request: Request, body: bytes) -> Response:
        return _answer(self._proxies.get(_name(request)).as_data())

    async def update(self, request: Request, body: bytes) -> Response:
        name = _name(request)
        self._proxies.get(name)  # An unknown proxy counts before a body that cannot be read.
        return _answer((await self._proxies.update(name, read_json(body))).as_data())

    async def delete(self, request: Request, body: bytes) -> Response:
        await self._proxies.delete(_name(request))
        return Response(status_code=204)

    async def toxics(self, request: Request, body: bytes) -> Response:
        return _answer([toxic.as_data() for toxic in self._proxies.get(_name(request)).toxics])

    async def add_toxic(self, request: Request, body: bytes) -> Response:
        return _answer(self._proxies.get(_name(request)).add_toxic(read_json(body)).as_data())

    async def show_toxic(self, request: Request, body: bytes) -> Response:
        return _answer(self._proxies.get(_name(request)).toxic(_toxic(request)).as_data())

    async def update_toxic(self, request: Request, body: bytes) -> Response:
        proxy, name = self._proxies.get(_name(request)), _toxic(request)
        proxy.toxic(name)
        return _answer(proxy.update_toxic(name, read_json(body)).as_data())

    async def remove_toxic(self, request: Request, body: bytes) -> Response:
        self._proxies.get(_name(request)).remove_toxic(_toxic(request))
        return Response(status_code=204)

    async def populate(self, request: Request, body: bytes) -> Response:
        try:
            given = read_json(body)
        except ApiError as exc:
            raise PopulateError(exc) from exc
        made = await self._proxies.populate(given)
        return _answer({"proxies": [proxy.as_data() for proxy in made] or None}, 201)

    async def reset(self, request: Request, body: bytes) -> Response:
        await self._proxies.reset()
        return Response(status_code=204)

    async def version(self, request: Request, body: bytes) -> Response:
        data = json.dumps({"version": VERSION}) + "\n"
        return Response(data, headers={"Content-Type": f"{_JSON};charset=utf-8"})

    async def metrics(self, request: Request, body: bytes) -> Response:
        if not self._metrics:
            return plain_text(404, "404 page not found")
        return Response(metrics_text(self._proxies), headers={"Content-Type": CONTENT_TYPE})


def _name(request: Request) -> str:
    return str(request.path_params["proxy"])


def _toxic(request: Request) -> str:
    return str(request.path_params["toxic"])


def toxiproxy_routes(proxies: Proxies, *, metrics: bool = False) -> list[BaseRoute]:
    """The routes of the API.

    :param metrics: whether ``/metrics`` is there.
    """
    api = _Api(proxies, metrics=metrics)
    update, update_toxic = api.update, api.update_toxic
    resources = {
        "/proxies": _Resource(GET=api.index, POST=api.create),
        "/proxies/{proxy}": _Resource(GET=api.show, POST=update, PATCH=update, DELETE=api.delete),
        "/proxies/{proxy}/toxics": _Resource(GET=api.toxics, POST=api.add_toxic),
        "/proxies/{proxy}/toxics/{toxic}": _Resource(
            GET=api.show_toxic, POST=update_toxic, PATCH=update_toxic, DELETE=api.remove_toxic
        ),
        "/populate": _Resource(POST=api.populate),
        "/reset": _Resource(POST=api.reset),
        "/version": _Resource(GET=api.version),
        "/metrics": _Resource(ANY=api.metrics),
    }
    return [Route(path, resource) for path, resource in resources.items()]
