"""What to connect to: URLs and headers, fixed or asked for anew before every attempt."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
import httpx
import trio

from moored.core.causes import ConnectFailed
from moored.errors import HookFailed

from .base import ConnectionEnded

__all__ = [
    "HeaderSource",
    "RawHeaders",
    "Target",
    "UrlSource",
    "call_hook",
    "call_sync_hook",
    "shown",
]

HeaderValues = Mapping[str, str] | Iterable[tuple[str, str]]
HeaderSource = HeaderValues | Callable[[], HeaderValues | Awaitable[HeaderValues]] | None
UrlSource = str | Sequence[str] | Callable[[], str | Awaitable[str]]
RawHeaders = list[tuple[bytes, bytes]]

# RFC 9110, section 5.6.2 (token) and 5.5 (field content, with obs-text).
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# What a credentials callable may fail with because its own server is away.
_PASSING_FAILURES = (OSError, httpx.TransportError, trio.TooSlowError, TimeoutError)


@attrs.frozen
class Target:
    """Where to connect and with which headers of the user's.

    :param url: one URL; or several, which take turns when attempts fail, the first being tried
        first after every sound connection; or a callable, also an async one, that gives one.
    :param schemes: the schemes that are accepted.
    :param headers: pairs or a mapping; or a callable, also an async one, that gives them.
    :param reserved: headers that the protocol sets itself, in lower case.
    :raises ValueError: when a URL or a header is not fit to be sent.
    """

    url: UrlSource = attrs.field(repr=False)
    schemes: tuple[str, ...]
    headers: HeaderSource = attrs.field(default=None, repr=False)
    reserved: frozenset[bytes] = frozenset()

    def __attrs_post_init__(self) -> None:
        if not callable(self.url):
            for each in self._urls(self.url):
                _parse(each, self.schemes)
        if self.headers is not None and not callable(self.headers):
            _raw(self.headers, self.reserved)

    @staticmethod
    def _urls(url: str | Sequence[str]) -> Sequence[str]:
        urls = [url] if isinstance(url, str | httpx.URL) else list(url)
        if not urls:
            raise ValueError("url must name at least one URL, not an empty sequence")
        return [str(each) for each in urls]

    @property
    def name(self) -> str:
        """A short name for logs and the task tree, without secrets."""
        if callable(self.url):
            return "url from a callable"
        return shown(_parse(self._urls(self.url)[0], self.schemes))

    async def resolve(self, turn: int) -> tuple[httpx.URL, RawHeaders]:
        """The URL and the headers for an attempt.

        :raises ConnectionEnded: when a callable failed as a network does.
        :raises HookFailed: when a callable failed otherwise, or gave what cannot be sent.
        """
        if callable(self.url):
            given = await _call_credentials("url", self.url)
            try:
                url = _parse(str(given), self.schemes)
            except ValueError as exc:
                raise HookFailed("url") from exc
        else:
            urls = self._urls(self.url)
            url = _parse(urls[turn % len(urls)], self.schemes)
        if self.headers is None:
            return url, []
        if not callable(self.headers):
            return url, _raw(self.headers, self.reserved)
        values = await _call_credentials("headers", self.headers)
        try:
            return url, _raw(values, self.reserved)
        except (TypeError, ValueError) as exc:
            raise HookFailed("headers") from exc


def call_sync_hook(name: str, hook: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a user's callable, and say whose it was if it raises.

    :raises HookFailed: from what it raised.
    """
    try:
        return hook(*args, **options)
    except Exception as exc:
        raise HookFailed(name) from exc


async def call_hook(name: str, hook: Callable[..., Any], *args: Any) -> Any:
    """The same for a callable that may be async.

    :raises HookFailed: from what it raised.
    """
    value = call_sync_hook(name, hook, *args)
    if not inspect.isawaitable(value):
        return value
    try:
        return await value
    except HookFailed:
        raise  # of a callable inside of this one, which says more
    except Exception as exc:
        raise HookFailed(name) from exc


async def _call_credentials(name: str, hook: Callable[[], Any]) -> Any:
    try:
        return await call_hook(name, hook)
    except HookFailed as exc:
        if isinstance(exc.__cause__, _PASSING_FAILURES):
            raise ConnectionEnded(
                ConnectFailed("credentials", exc.__cause__, type(exc.__cause__).__name__)
            ) from exc.__cause__
        raise


def shown(url: httpx.URL) -> str:
    """``url`` without user info, query and fragment, which may hold secrets."""
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))


def has_valid_port(url: httpx.URL) -> bool:
    """Whether ``url``'s port is one of TCP's, or left to the scheme."""
    return url.port is None or 0 < url.port < 65536


def _parse(text: str, schemes: tuple[str, ...]) -> httpx.URL:
    choices = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        # Not chained and not shown: the text may hold secrets.
        raise ValueError("url is not a valid URL") from None
    if url.scheme not in schemes:
        raise ValueError(f"url must begin with {choices}, not {url.scheme!r}")
    if not url.host:
        raise ValueError("url must name a host")
    if not has_valid_port(url):
        raise ValueError(f"url must have a port from 1 to 65535, not {url.port}")
    return url.copy_with(fragment=None)


def _raw(headers: HeaderValues, reserved: frozenset[bytes]) -> RawHeaders:
    if isinstance(headers, Mapping):
        headers = cast("Mapping[str, str]", headers).items()
    raw: RawHeaders = []
    for name, value in _pairs(headers):
        if not _NAME.match(name):
            raise ValueError(f"headers has a name that is no HTTP token: {name!r}")
        if name.lower() in reserved:
            raise ValueError(f"headers has {name.decode()!r}, which the protocol sets itself")
        if _FORBIDDEN_IN_VALUE.search(value):
            raise ValueError(f"headers has a control character in the value of {name!r}")
        raw.append((name, value.strip(b" \t")))
    return raw


def _pairs(headers: Any) -> Iterator[tuple[bytes, bytes]]:
    """The pairs as they go over the wire.  Values are not shown: they may hold secrets."""
    if isinstance(headers, str | bytes) or not isinstance(headers, Iterable):
        raise TypeError("headers must be a mapping or pairs, not " + type(headers).__name__)
    for pair in headers:
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise TypeError("headers must hold pairs of name and value") from None
        for part, what in ((name, "a name"), (value, f"a value of {name!r}")):
            if not isinstance(part, str | bytes):
                raise TypeError(f"headers has {what} that is {type(part).__name__}, not text")
        yield _bytes(name), _bytes(value)


def _bytes(text: str | bytes) -> bytes:
    """Text as it goes over the wire; bytes, as httpx takes them too, are that already."""
    return text.encode("utf-8") if isinstance(text, str) else bytes(text)
