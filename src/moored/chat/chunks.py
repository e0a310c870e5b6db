"""The chunks of OpenAI's Chat Completions API, read into events.  No I/O.

The shape is that of the API reference, "The chat completion chunk object", with what other
providers made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from .answer import Answer, Choice
from .errors import MalformedChunk, ProviderStreamError
from .events import (
    ChatEvent,
    Finished,
    Other,
    Reasoning,
    Refusal,
    Text,
    ToolCallDelta,
    UsageReported,
)
from .usage import Usage

__all__ = ["DONE", "ChunkReader", "provider_error"]

DONE = "[DONE]"

_KNOWN = frozenset(
    {"role", "content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call"}
)
_KNOWN_OF_CHOICE = frozenset({"index", "delta", "finish_reason", "message"})


class ChunkReader:
    """Reads one answer's chunks.

    :param answer: what to put them into.
    :param malformed: what to do with a chunk that is no JSON object.
    """

    def __init__(self, answer: Answer, *, malformed: Literal["raise", "skip"] = "raise") -> None:
        self.answer: Answer = answer
        self._malformed = malformed
        #: Counts the events that are content: what the progress clock asks for.
        self.progress: int = 0

    @property
    def cursor(self) -> int | None:
        """Chat Completions have no cursor of their own."""
        return None

    def feed(self, event: str, data: str) -> list[ChatEvent]:
        """Read one chunk.

        :param event: the event's name, ``"message"`` by default.
        :param data: the chunk.
        :raises ProviderStreamError: when it is an error.
        :raises MalformedChunk: when it is no JSON object.
        """
        if data == DONE or data.strip() == DONE:
            self.answer.done = True
            return []
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            chunk = None
        if event == "error":
            raise ProviderStreamError(_body_of(chunk, data), self.answer)
        if not isinstance(chunk, dict):
            self._refuse(data)
            return []
        if "error" in chunk or chunk.get("object") == "error" or chunk.get("type") == "error":
            body = provider_error(chunk)
            if body is not None:
                raise ProviderStreamError(body, self.answer)
        events: list[ChatEvent] = []
        self._identify(chunk)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._take_choice(choice, events)
        usage = chunk.get("usage")
        if usage is not None and (reported := Usage.parse(usage)) is not None:
            self.answer.usage = reported
            events.append(UsageReported(reported))
        return events

    def _refuse(self, data: str) -> None:
        if self._malformed == "raise":
            raise MalformedChunk(data, self.answer)
        self.answer.malformed_chunks += 1

    def _identify(self, chunk: dict[str, Any]) -> None:
        answer = self.answer
        if not answer.id and isinstance(chunk.get("id"), str):
            answer.id = chunk["id"]
        if not answer.model and isinstance(chunk.get("model"), str):
            answer.model = chunk["model"]

    def _take_choice(self, body: dict[str, Any], events: list[ChatEvent]) -> None:
        number = body.get("index", 0)
        if not isinstance(number, int):
            number = 0
        choice = self.answer.choice(number)
        delta = body.get("delta") or body.get("message")  # the latter where it was not streamed
        if isinstance(delta, dict):
            before = len(events)
            content = delta.get("content")
            if content:
                if isinstance(content, str):
                    choice.add_text(content)
                    events.append(Text(content, number))
                elif isinstance(content, list):
                    _take_parts(choice, content, number, events)
            if len(delta) > 1 or not content:
                _take_rest(choice, delta, number, events)
            self.progress += len(events) - before
            other = {k: v for k, v in delta.items() if k not in _KNOWN and v is not None}
        else:
            other = {}
        if len(body) != 3 or "finish_reason" not in body:
            for name, value in body.items():
                if name not in _KNOWN_OF_CHOICE and value is not None:
                    other[name] = value
        if other:
            error = other.get("error")
            if error:  # OpenRouter puts it into the choice
                raise ProviderStreamError(error, self.answer)
            events.append(Other(other, number))
        reason = body.get("finish_reason")
        if reason and isinstance(reason, str):
            choice.finish_reason = reason
            events.append(Finished(reason, number))
            self.progress += 1


def _take_rest(choice: Choice, delta: dict[str, Any], number: int, events: list[ChatEvent]) -> None:
    """What a delta holds besides its content."""
    # DeepSeek and vLLM call it reasoning_content, OpenRouter and Groq reasoning; some send both.
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if reasoning and isinstance(reasoning, str):
        choice.add_reasoning(reasoning)
        events.append(Reasoning(reasoning, number))
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str):
        choice.add_refusal(refusal)
        events.append(Refusal(refusal, number))
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        for call in calls:
            if isinstance(call, dict):
                events.append(_tool_call(choice, call, call.get("function"), number))
    legacy = delta.get("function_call")  # before tools came, in 2023; some servers still do
    if isinstance(legacy, dict):
        events.append(_tool_call(choice, {"index": 0}, legacy, number))


def _tool_call(
    choice: Choice, call: Mapping[str, Any], function: Any, number: int
) -> ToolCallDelta:
    index = call.get("index")
    if not isinstance(index, int):
        index = None
    if not isinstance(function, dict):
        function = {}
    id, name = _text(call.get("id")), _text(function.get("name"))
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # Ollama and others send them as an object, whole
        arguments = json.dumps(arguments, ensure_ascii=False)
    arguments = _text(arguments)
    place = choice.add_to_call(index, id, name, arguments)
    return ToolCallDelta(place, arguments, id or None, name or None, number)


def _take_parts(choice: Choice, parts: list[Any], number: int, events: list[ChatEvent]) -> None:
    """Content as a list of parts: Mistral's models that reason send it."""
    for part in parts:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            pieces = inner if isinstance(inner, list) else [{"text": inner}]
            text = "".join(_text(p.get("text")) for p in pieces if isinstance(p, dict))
            if text:
                choice.add_reasoning(text)
                events.append(Reasoning(text, number))
        elif text := _text(part.get("text")):
            choice.add_text(text)
            events.append(Text(text, number))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def provider_error(body: dict[str, Any]) -> Any:
    """The error that ``body`` reports, in any of the shapes in use; ``None`` where it is none.

    ``{"error": {...}}`` or ``{"error": "words"}`` (OpenAI and most others), ``{"type": "error",
    "error": {...}}`` (Anthropic), ``{"object": "error", "message": ...}`` (vLLM), and ``{"type":
    "error", "message": ...}`` (OpenAI's Responses).
    """
    error = body.get("error")
    if error:
        return error
    if body.get("object") == "error" or body.get("type") == "error":
        return body
    return None


def _body_of(chunk: Any, data: str) -> Any:
    """What an event that is named ``error`` says."""
    if isinstance(chunk, dict):
        return provider_error(chunk) or chunk
    return data if chunk is None else chunk
