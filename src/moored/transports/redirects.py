"""Redirects, one by one: to another origin go only headers that are known to be harmless."""

from __future__ import annotations

import attrs
import httpx

from .target import has_valid_port

__all__ = ["MAX_REDIRECTS", "Redirect", "harmless", "next_request"]

MAX_REDIRECTS = 20
"""As many as browsers follow (Fetch, section 4.4)."""

_STATUSES = {301, 302, 303, 307, 308}
# No Authorization, no cookies, no X-Api-Key, no Last-Event-ID, nothing that a user named.
_HARMLESS = {
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
}


@attrs.frozen
class Redirect:
    """Where an answer sends us.

    :param status: its status.
    :param url: the new URL, absolute.
    """

    status: int
    url: httpx.URL

    @classmethod
    def of(cls, response: httpx.Response) -> Redirect | None:
        """The redirect that ``response`` is, if it is one that can be followed."""
        location = response.headers.get("location")
        if response.status_code not in _STATUSES or not location:
            return None
        try:
            url = response.request.url.join(location)
        except (httpx.InvalidURL, ValueError):
            return None
        if url.scheme not in ("http", "https") or not url.host or not has_valid_port(url):
            return None
        return cls(response.status_code, url.copy_with(fragment=None))

    def same_origin(self, url: httpx.URL) -> bool:
        """Whether scheme, host and port are those of ``url`` (RFC 6454, section 5)."""
        return _origin(self.url) == _origin(url)

    def insecure_after(self, url: httpx.URL) -> bool:
        """Whether it leads from https to http."""
        return url.scheme == "https" and self.url.scheme == "http"


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}[url.scheme]


def next_request(
    client: httpx.AsyncClient, request: httpx.Request, redirect: Redirect
) -> httpx.Request:
    """``request`` again, at the new URL.

    A 303 always turns into a GET, a 301 or 302 only from a POST; 307 and 308 keep method and body
    (RFC 9110, section 15.4).
    """
    method, content = request.method, request.content
    headers = [pair for pair in request.headers.raw if pair[0].lower() != b"host"]
    if redirect.status == 303 or (redirect.status in (301, 302) and method == "POST"):
        method, content = "GET", b""
        dropped = (b"content-length", b"content-type", b"transfer-encoding")
        headers = [pair for pair in headers if pair[0].lower() not in dropped]
    following = client.build_request(
        method,
        redirect.url,
        headers=headers,
        content=content or None,
        timeout=None,
        extensions=request.extensions,
    )
    following.url = redirect.url  # as it is: without the client's default query
    return following


def harmless(request: httpx.Request) -> None:
    """Strip ``request`` of every header that is not known to be harmless."""
    for name in set(request.headers):
        if name not in _HARMLESS:
            del request.headers[name]
