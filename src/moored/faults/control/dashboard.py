"""The dashboard: one page, which works without any other host."""

from __future__ import annotations

import os

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from moored.faults.control.toxiproxy import plain_text

__all__ = ["PATH", "dashboard_routes"]

PATH = "/dashboard/"
"""Where the page is.  There are no secrets in it: it asks for what it shows, with the token."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Page(StaticFiles):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as exc:  # There is no application around it that would.
            await plain_text(exc.status_code, exc.detail)(scope, receive, send)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


async def _redirect(request: Request) -> Response:
    return RedirectResponse(PATH)


def dashboard_routes() -> list[BaseRoute]:
    """The page and what belongs to it."""
    files = _Page(packages=[("moored.faults.control", "dashboard")], html=True)
    return [Route(PATH.rstrip("/"), _redirect), Mount(PATH, files)]
