"""The parts of httpx, or of httpx2, that the transport is made of: the same under two names."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, MutableMapping
from typing import Any, Generic, Protocol, TypeVar

import attrs

from .errors import (
    AnswerFailed,
    AnswerInterrupted,
    AnswerTruncated,
    FirstTokenTimeout,
    LivenessTimeout,
    ProgressTimeout,
)

__all__ = ["HttpLibrary", "HttpRequest", "HttpResponse"]


class HttpRequest(Protocol):
    """A request of either library."""

    @property
    def method(self) -> str:
        """Such as ``"POST"``."""
        ...

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Its headers, by name in any case."""
        ...

    @property
    def content(self) -> bytes:
        """Its body, if that is bytes."""
        ...

    @property
    def extensions(self) -> Mapping[str, Any]:
        """What goes with it besides, such as timeouts."""
        ...


class HttpResponse(Protocol):
    """A response of either library."""

    @property
    def status_code(self) -> int:
        """Its status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, by name in any case."""
        ...

    @property
    def stream(self) -> object:
        """Its body, not yet read."""
        ...

    @property
    def extensions(self) -> MutableMapping[str, Any]:
        """What goes with it besides, such as timeouts."""
        ...

    async def aclose(self) -> None:
        """Close it, read or not."""
        ...


ResponseT = TypeVar("ResponseT", bound=HttpResponse)


@attrs.frozen(kw_only=True)
class HttpLibrary(Generic[ResponseT]):
    """One of the two libraries.

    :ivar make_response: makes a response of one that the inner transport gave, with another body.
    :ivar transport_error: the base of what goes wrong on a connection.
    :ivar not_sent: those of it after which nothing was sent.
    :ivar fatal: those of it that no other attempt would mend.
    :ivar read_timeout: the library's own.
    :ivar not_read: what it raises where the body of a request comes from a generator.
    :ivar after_close: what reading a closed body may raise.
    """

    make_response: Callable[[ResponseT, BodyStream], ResponseT]
    transport_error: type[Exception]
    not_sent: tuple[type[Exception], ...]
    fatal: tuple[type[Exception], ...]
    read_timeout: type[Exception]
    not_read: type[Exception]
    after_close: tuple[type[Exception], ...]
    first_token_timeout: type[FirstTokenTimeout]
    liveness_timeout: type[LivenessTimeout]
    progress_timeout: type[ProgressTimeout]
    truncated: type[AnswerTruncated]
    interrupted: type[AnswerInterrupted]
    failed: type[AnswerFailed]


class BodyStream(AsyncIterable[bytes], Protocol):
    """A body: bytes, and an end."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Close it, read or not."""
        ...
