"""A message as a line of output."""

from __future__ import annotations

import base64
import json
from typing import Any

from moored import ServerSentEvent

__all__ = ["Message", "json_line", "plain_line"]

Message = ServerSentEvent | str | bytes


def plain_line(message: Message) -> bytes:
    """What the message says, as it is, and a line end."""
    if isinstance(message, bytes):
        return message + b"\n"
    text = message if isinstance(message, str) else message.data
    return text.encode("utf-8", "replace") + b"\n"


def json_line(message: Message) -> bytes:
    """The whole message as one JSON object on one line."""
    data: dict[str, Any]
    if isinstance(message, ServerSentEvent):
        data = {
            "event": message.event,
            "data": message.data,
            "id": message.id,
            "retry": message.retry,
        }
    elif isinstance(message, str):
        data = {"text": message}
    else:
        data = {"bytes": base64.b64encode(message).decode()}
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
