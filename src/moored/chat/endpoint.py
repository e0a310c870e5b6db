"""Where answers come from: a provider's URL, with everything that is particular to it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs

from moored.core.checks import flag, instance, one_of

from .prices import Prices

__all__ = ["ApiKey", "Capabilities", "Endpoint", "check_limits"]

ApiKey: TypeAlias = str | Callable[[], str | Awaitable[str]] | None
"""The key itself, or a callable, also an async one, that is called before every attempt."""


@attrs.frozen
class Capabilities:
    """What an endpoint can do beyond a plain streamed answer.

    :param tools: whether it takes ``tools``.
    :param vision: whether it takes images.
    :param reasoning: whether it has models that reason.
    :param structured: whether it takes ``response_format``.
    :param prefill: how it can be told to go on with an answer that was cut: ``"assistant"`` (a last
        message of the assistant's is continued, as Anthropic's endpoint does), ``"prefix"`` (the
        same with ``"prefix": true``, as DeepSeek and Mistral have it), ``"continue_final_message"``
        (vLLM and SGLang), or ``None`` (default): it cannot.
    :param resume: whether a broken answer can be asked for again from a cursor: on Chat
        Completions by ``Last-Event-ID``, on Responses by ``starting_after``.
    """

    tools: bool = attrs.field(default=True, validator=flag)
    vision: bool = attrs.field(default=True, validator=flag)
    reasoning: bool = attrs.field(default=True, validator=flag)
    structured: bool = attrs.field(default=True, validator=flag)
    prefill: Literal["assistant", "prefix", "continue_final_message"] | None = attrs.field(
        default=None,
        validator=one_of(None, "assistant", "prefix", "continue_final_message"),
    )
    resume: bool = attrs.field(default=False, validator=flag)


def _base_url(endpoint: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"Endpoint.base_url must be text, not {type(value).__name__}")
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for one that is out of bounds
        sound = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname)
    except ValueError:
        sound = False
    if not sound:  # without the value: a URL may hold a password or a key
        raise ValueError(
            "Endpoint.base_url must be an http, https, ws or wss URL with a host and a port from 1 "
            "to 65535 or none, such as "
            '"https://api.example.com/v1"'
        )


_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


def _api_key(endpoint: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None or callable(value):
        return
    if not isinstance(value, str):
        raise TypeError("Endpoint.api_key must be text, a callable or None")
    if not _VISIBLE.match(value):
        raise ValueError(
            "Endpoint.api_key must be visible ASCII characters, without spaces and line ends"
        )


def _host_of(endpoint: Endpoint) -> str:
    try:
        return urlsplit(endpoint.base_url).netloc.rpartition("@")[2] or "endpoint"
    except (ValueError, AttributeError, TypeError):
        return "endpoint"  # the validator of base_url says what is wrong


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str):
        raise TypeError(f"Endpoint.models must be a sequence of names, not {value!r}")
    names = None if value is None else tuple(value)
    for name in names or ():
        if not isinstance(name, str):
            raise TypeError(f"Endpoint.models must hold names, not {name!r}")
    return names


def _headers(endpoint: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None or callable(value):
        return
    if not isinstance(value, Mapping | Iterable) or isinstance(value, str | bytes):
        raise TypeError(
            "Endpoint.headers must be a mapping, pairs, a callable or None, "
            f"not {type(value).__name__}"
        )
    pairs = value.items() if isinstance(value, Mapping) else value
    for pair in pairs:
        if not (
            isinstance(pair, tuple | list)
            and len(pair) == 2
            and all(isinstance(each, str) for each in pair)
        ):  # without the value, which may be secret
            raise TypeError("Endpoint.headers must hold pairs of text")


def _limits(endpoint: Any, field: attrs.Attribute[Any], value: Any) -> None:
    check_limits("Endpoint.limits", value)


def check_limits(name: str, value: Any) -> None:
    """A limiter, or something that can do what a client asks of one."""
    wanted = ("reserve", "observe", "pause")
    if value is not None and not all(callable(getattr(value, each, None)) for each in wanted):
        raise TypeError(f"{name} must be a moored.limits.Limiter or None, not {value!r}")


def _prices(value: Any) -> Any:
    return Prices(value) if isinstance(value, Mapping) else value


@attrs.frozen
class Endpoint:
    """One place that answers: a URL, a key, and what is particular to it.

    :param base_url: the URL before ``/chat/completions``, such as ``"https://api.example.com/v1"``.
    :param api_key: sent as ``Authorization: Bearer``; ``None`` for none.
    :param name: what errors, statistics and explanations call it; by default the URL's host.
    :param models: the models that it serves; ``None`` for any.
    :param transport: ``"sse"`` (default) or ``"websocket"``.
    :param api: ``"chat"`` (Chat Completions, the default) or ``"responses"``; the latter over SSE.
    :param headers: more headers for every request.
    :param end: what proves that an answer is complete: ``"either"`` (default) a finish reason or
        ``[DONE]``, ``"done"``, ``"finish_reason"``, or ``"both"``.
    :param malformed: what to do with a chunk that is no JSON object: ``"raise"`` (default) or
        ``"skip"``, which counts it in :attr:`moored.chat.Answer.malformed_chunks`.
    :param capabilities: what it can do.
    :param limits: a :class:`moored.limits.Limiter` for what goes to it.
    :param prices: what its models cost: a :class:`moored.chat.Prices`, or a mapping from the name
        of a model to its :class:`moored.chat.Price`; ``None`` for the client's.
    :param websocket_path: what follows ``base_url`` on a WebSocket.
    """

    base_url: str = attrs.field(validator=_base_url, repr=False)
    api_key: ApiKey = attrs.field(default=None, repr=False, validator=_api_key)
    name: str = attrs.field(
        default=attrs.Factory(_host_of, takes_self=True),
        validator=instance(str),
    )
    models: tuple[str, ...] | None = attrs.field(default=None, converter=_names)
    transport: Literal["sse", "websocket"] = attrs.field(
        default="sse", validator=one_of("sse", "websocket")
    )
    api: Literal["chat", "responses"] = attrs.field(
        default="chat", validator=one_of("chat", "responses")
    )
    headers: Any = attrs.field(default=None, repr=False, validator=_headers)
    end: Literal["either", "done", "finish_reason", "both"] = attrs.field(
        default="either",
        validator=one_of("either", "done", "finish_reason", "both"),
    )
    malformed: Literal["raise", "skip"] = attrs.field(
        default="raise", validator=one_of("raise", "skip")
    )
    capabilities: Capabilities = attrs.field(factory=Capabilities, validator=instance(Capabilities))
    limits: Any = attrs.field(default=None, repr=False, validator=_limits)
    prices: Any = attrs.field(default=None, repr=False, converter=_prices)
    websocket_path: str = attrs.field(default="/chat/stream", validator=instance(str))

    def __attrs_post_init__(self) -> None:
        if self.api == "responses" and self.transport == "websocket":
            raise ValueError(
                'Endpoint.api="responses" needs Endpoint.transport="sse", not "websocket"'
            )

    def serves(self, model: str) -> bool:
        """Whether it has ``model``."""
        return self.models is None or model in self.models
