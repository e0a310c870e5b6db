"""What the openers are given, checked before anything is opened: the name, the value, the bound."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import Any

__all__ = [
    "check_callables",
    "check_http2",
    "check_last_event_id",
    "check_method",
    "check_subprotocols",
    "check_terminator",
    "request_body",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2


def check_callables(**given: Any) -> None:
    """Each is something to call, or ``None``."""
    for name, value in given.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} must be callable or None, not {value!r}")


def check_http2() -> None:
    """HTTP/2 needs a package that does not come with Moored."""
    if importlib.util.find_spec("h2") is None:
        raise ModuleNotFoundError("http2=True needs h2: install moored[http2]", name="h2")


def check_method(method: Any) -> None:
    """An HTTP method."""
    if not isinstance(method, str):
        raise TypeError(f"method must be text, not {method!r}")
    if not _TOKEN.match(method):
        raise ValueError(f"method must be an HTTP token, not {method!r}")


def check_subprotocols(subprotocols: Any) -> None:
    """Names of subprotocols, each once (RFC 6455, section 4.1)."""
    if isinstance(subprotocols, str | bytes):
        raise TypeError(f"subprotocols must be a sequence of names, not {subprotocols!r}")
    names = list(subprotocols)
    for name in names:
        if not isinstance(name, str) or not _TOKEN.match(name):
            raise ValueError(f"subprotocols must hold HTTP tokens, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"subprotocols must name each only once, not {names!r}")


def check_last_event_id(last_event_id: Any) -> None:
    """An id that can have come over the wire (HTML, section 9.2.6)."""
    if not isinstance(last_event_id, str):
        raise TypeError(f"last_event_id must be text, not {last_event_id!r}")
    if any(character in last_event_id for character in "\0\r\n"):
        raise ValueError(f"last_event_id must hold no NUL and no line end, not {last_event_id!r}")


def check_terminator(terminator: Any) -> None:
    """The data of a sentinel, a function, or nothing."""
    if terminator is not None and not isinstance(terminator, str) and not callable(terminator):
        raise TypeError(f"terminator must be text, callable or None, not {terminator!r}")


def request_body(value: Any, content: Any) -> bytes | None:
    """The body of a request, from a value for JSON or from bytes.

    Made once: every attempt sends the same, whatever becomes of the value.
    """
    if value is not None and content is not None:
        raise ValueError("json and content cannot both be given: a request has one body")
    if content is not None:
        if not isinstance(content, bytes | bytearray | memoryview):
            raise TypeError(f"content must be bytes, not {type(content).__name__}")
        return bytes(content)
    if value is None:
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"json must be a value that JSON can hold: {exc}") from exc
