"""What the mock AI server says: OpenAI-shaped answers, the same for the same request.

The shapes follow OpenAI's API reference for "Create chat completion" and its streaming chunks.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import attrs

__all__ = ["DONE", "BadRequest", "ChatRequest", "Reply", "compact", "error_body"]

DONE = "[DONE]"
"""The message after the last chunk, on both transports."""

_CREATED = 1_700_000_000  # A constant: the same request gives the same bytes at any time.
_MIN_TOKENS = 24
_MAX_TOKENS = 48
_VOCABULARY = """
the a harbour line holds when every wave is counted and each rope knows its own weight so boats
return with tide light wind or none while crews keep watch over lamp chart signal anchor current
depth and shore until morning brings them home
"""
_WORDS = _VOCABULARY.split()


class BadRequest(ValueError):
    """A request that cannot be served.

    :ivar message: what is wrong with it.
    :ivar param: the field that is wrong, if it is one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


def compact(value: object) -> str:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def error_body(message: str, kind: str, param: str | None = None, code: str | None = None) -> str:
    """An error as OpenAI words it: ``{"error": {"message", "type", "param", "code"}}``."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return compact({"error": error})


@attrs.frozen
class ChatRequest:
    """The part of a chat completion request that the server understands; the rest is ignored.

    :ivar messages: the text of each message, with its role.
    :ivar max_tokens: the bound on the reply, from ``max_completion_tokens`` or ``max_tokens``.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None

    @classmethod
    def parse(cls, body: bytes | str) -> ChatRequest:
        """Read a request.

        :raises BadRequest: naming the field that is wrong.
        """
        try:
            data = json.loads(body)
            json.dumps(data, ensure_ascii=False).encode()  # or a lone surrogate comes back to bite
        except (ValueError, RecursionError):
            raise BadRequest("the request is not valid JSON") from None
        if not isinstance(data, dict):
            raise BadRequest("the request must be a JSON object")
        model = data.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("you must provide a model parameter", "model")
        stream = data.get("stream") or False
        if not isinstance(stream, bool):
            raise BadRequest("stream must be a boolean", "stream")
        options = data.get("stream_options") or {}
        if not isinstance(options, dict):
            raise BadRequest("stream_options must be an object", "stream_options")
        return cls(
            model=model,
            messages=tuple(_messages(data.get("messages"))),
            stream=stream,
            include_usage=options.get("include_usage") is True,
            max_tokens=_max_tokens(data),
        )


def _messages(value: object) -> Iterator[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise BadRequest("messages must be a list of at least one message", "messages")
    for index, message in enumerate(value):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(f"{where} must be an object with a role", where)
        yield message["role"], _text(message.get("content"), where)


def _text(content: object, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return " ".join(str(part.get("text", "")) for part in content)
    raise BadRequest(f"{where}.content must be a string or a list of parts", f"{where}.content")


def _max_tokens(data: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = data.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadRequest(f"{name} must be an integer of at least 1", name)
        return value
    return None


class Reply:
    """The answer to ``request``: the same request always gets the same tokens, id and usage.

    :ivar tokens: what is sent piece by piece; joined, they are :attr:`text`.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        prompt = compact([request.model, request.messages])
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        rng = random.Random(digest)
        # Only random() is the same in every version of Python.
        wanted = _MIN_TOKENS + int(rng.random() * (_MAX_TOKENS - _MIN_TOKENS + 1))
        allowed = wanted if request.max_tokens is None else min(wanted, request.max_tokens)
        words = [_WORDS[int(rng.random() * len(_WORDS))] for _ in range(wanted)]
        self.tokens: tuple[str, ...] = tuple(
            (" " if i else "") + word for i, word in enumerate(words[:allowed])
        )
        self.finish_reason = "stop" if allowed == wanted else "length"
        self.id: str = f"chatcmpl-{digest[:24]}"

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.tokens)

    @property
    def usage(self) -> dict[str, int]:
        """Tokens, counted as words."""
        prompt = sum(len(text.split()) for _, text in self._request.messages)
        reply = len(self.tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": reply,
            "total_tokens": prompt + reply,
        }

    def completion(self) -> str:
        """The answer as one ``chat.completion`` object."""
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return compact({**self._head("chat.completion"), "choices": [choice], "usage": self.usage})

    def chunks(self) -> Iterator[str]:
        """The answer as ``chat.completion.chunk`` objects, without the final ``[DONE]``.

        The role first, then a chunk for each token, then the finish reason, then (if asked for)
        the usage with no choices.
        """
        yield self._chunk({"role": "assistant", "content": ""})
        for token in self.tokens:
            yield self._chunk({"content": token})
        yield self._chunk({}, self.finish_reason)
        if self._request.include_usage:
            head = self._head("chat.completion.chunk")
            yield compact({**head, "choices": [], "usage": self.usage})

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk: dict[str, Any] = {**self._head("chat.completion.chunk"), "choices": [choice]}
        if self._request.include_usage:
            chunk["usage"] = None
        return compact(chunk)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": _CREATED, "model": self._request.model}
