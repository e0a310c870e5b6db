"""The chunks of OpenAI's Chat Completions API, read into events.  No I/O.

The shape is that of the API reference, "The chat completion chunk object", with what other
providers made of it.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from moored.core.causes import ProtocolViolation

from .answer import Answer, Choice
from .errors import MalformedChunk, NotResumed, ProviderStreamError
from .events import (
    ChatEvent,
    Finished,
    Other,
    Text,
    ToolCallDelta,
    UsageReported,
)
from .pieces import Kind, Pieces
from .usage import Usage

__all__ = ["DONE", "ChunkReader", "not_resumed", "provider_error"]

DONE = "[DONE]"

_KNOWN = frozenset(
    {"role", "content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call"}
)
_KNOWN_OF_CHOICE = frozenset({"index", "delta", "finish_reason", "message"})
_KNOWN_OF_CHUNK = frozenset(
    {
        "choices",
        "created",
        "error",
        "id",
        "model",
        "object",
        "obfuscation",
        "service_tier",
        "system_fingerprint",
        "type",
        "usage",
    }
)
_ENDS_CALLS = frozenset({"tool_calls", "function_call", "stop"})  # and not "length", for one
# What a delta holds about the answer, and not of it.
_NOT_CONTENT = frozenset(
    {"annotations", "citations", "error", "id", "logprobs", "metadata", "name", "obfuscation"}
    | {"padding", "token_ids", "type"}
)


class ChunkReader:
    """Reads one answer's chunks.

    :param answer: what to put them into.
    :param malformed: what to do with a chunk that is no JSON object.
    """

    def __init__(self, answer: Answer, *, malformed: Literal["raise", "skip"] = "raise") -> None:
        self.answer: Answer = answer
        self._malformed = malformed
        self._pieces = Pieces(answer)
        self._streamed: set[int] = set()  # the choices whose deltas had content
        self._resuming = False
        self._fields: dict[str, Any] = {}  # what was said of the answer as a whole
        #: Counts what is content: what the progress clock asks for.
        self.progress: int = 0

    def resume(self) -> None:
        """What follows comes from another connection, which was asked to go on."""
        self._resuming = True

    @property
    def cursor(self) -> int | None:
        """Chat Completions have no cursor of their own."""
        return None

    def feed(self, event: str, data: str, events: list[ChatEvent]) -> None:
        """Read one chunk.

        :param event: the event's name, ``"message"`` by default.  One of another name, other than
            ``"error"``, is passed over unless it has choices, usage or an error.
        :param data: the chunk.
        :param events: what comes of it is put here, before anything is raised.
        :raises ProviderStreamError: when it is an error.
        :raises MalformedChunk: when it is no JSON object.
        :raises NotResumed: after :meth:`resume`, when it is of another answer.
        """
        if data == DONE:
            self._end(events)
            return
        try:
            chunk: Any = json.loads(data)
        except (ValueError, RecursionError):
            chunk = None
        unusual = event != "message" or not isinstance(chunk, dict)
        if unusual and not self._is_chunk(event, data, chunk, events):
            return
        error = None
        if "error" in chunk or chunk.get("object") == "error" or chunk.get("type") == "error":
            error = provider_error(chunk)
        self._identify(chunk)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    if error is not None:  # its finish reason is no end, but the error once more
                        choice["finish_reason"] = None
                    error = self._take_choice(choice, events) or error
        usage = chunk.get("usage")
        if not chunk.keys() <= _KNOWN_OF_CHUNK and error is None:
            groq = chunk.get("x_groq")
            if isinstance(groq, dict):
                error = groq.get("error") or None
                usage = usage or groq.get("usage")
            self._take_fields(chunk, events)
        if usage is not None and (reported := Usage.parse(usage)) is not None:
            self.answer.usage = reported
            events.append(UsageReported(reported))
        if error is not None:
            raise ProviderStreamError(error, self.answer)

    def _is_chunk(self, event: str, data: str, chunk: Any, events: list[ChatEvent]) -> bool:
        """Whether an event that has a name, or is no JSON object, is a chunk all the same."""
        if chunk is None and data.strip() == DONE:
            self._end(events)
            return False
        if event == "error":
            raise ProviderStreamError(_body_of(chunk, data), self.answer)
        if isinstance(chunk, dict):
            return "choices" in chunk or "usage" in chunk or provider_error(chunk) is not None
        if event == "message" and data and not data.isspace():
            if self._malformed == "raise":
                raise MalformedChunk(data, self.answer)
            self.answer.malformed_chunks += 1
        return False

    def _end(self, events: list[ChatEvent]) -> None:
        self._pieces.end(events)
        self.answer.done = True

    def _identify(self, chunk: dict[str, Any]) -> None:
        answer = self.answer
        if not answer.id and isinstance(chunk.get("id"), str):
            answer.id = chunk["id"]
        elif self._resuming and chunk.get("id") not in (answer.id, None):
            raise not_resumed(answer, "it began another answer")
        if not answer.model and isinstance(chunk.get("model"), str):
            answer.model = chunk["model"]

    def _take_fields(self, chunk: dict[str, Any], events: list[ChatEvent]) -> None:
        """What a chunk says of the answer as a whole.  Many servers repeat it in each."""
        new = {}
        for name, value in chunk.items():
            if name in _KNOWN_OF_CHUNK or value is None or self._fields.get(name) == value:
                continue
            self._fields[name] = new[name] = value
        if new:
            events.append(Other(new))

    def _take_choice(self, body: dict[str, Any], events: list[ChatEvent]) -> Any:
        """Returns the error that the choice reports, as OpenRouter has it, or ``None``."""
        number = body.get("index", 0)
        if not isinstance(number, int):
            number = 0
        choice = self.answer.choice(number)
        other: dict[str, Any] | None = None
        before = self.progress
        delta = body.get("delta")
        if isinstance(delta, dict):
            piece = delta.get("content") if len(delta) == 1 else None
            if isinstance(piece, str) and piece.isascii() and not self._pieces.held:
                if piece:  # as by far the most of all chunks are
                    choice.add_text(piece)
                    events.append(Text(piece, number))
                    self.progress += 1
            else:
                other = self._take_delta(choice, delta, number, events)
            if self.progress != before:
                self._streamed.add(number)
        if "message" in body and number not in self._streamed:  # where it was not streamed
            message = body["message"]
            if isinstance(message, dict):
                other = {**(other or {}), **self._take_delta(choice, message, number, events)}
        if len(body) != 3 or "finish_reason" not in body:
            other = other or {}
            for name, value in body.items():
                if name not in _KNOWN_OF_CHOICE and value is not None:
                    other[name] = value
        if other:
            error = other.get("error")
            if error:
                del other["error"]
            if other:
                events.append(Other(other, number))
            if error:
                return error
        reason = body.get("finish_reason")
        if reason and isinstance(reason, str) and reason != choice.finish_reason:
            self._pieces.end(events, number)
            if reason in _ENDS_CALLS:
                for call in choice.tool_calls:
                    call.ended = True
            choice.finish_reason = reason
            events.append(Finished(reason, number))
            self.progress += 1
        return None

    def _take_delta(
        self, choice: Choice, delta: dict[str, Any], number: int, events: list[ChatEvent]
    ) -> dict[str, Any]:
        """Take a delta, or a whole message.  Returns what no other event carries."""
        content = delta.get("content")
        if content:
            if isinstance(content, str):
                self.progress += 1
                if content.isascii() and not self._pieces.held:  # most are, and it saves a call
                    choice.add_text(content)
                    events.append(Text(content, number))
                else:
                    self._pieces.add("text", content, events, number)
            elif isinstance(content, list):
                self._take_parts(choice, content, number, events)
            if len(delta) == 1:
                return {}
        self._take_rest(choice, delta, number, events)
        other = {k: v for k, v in delta.items() if k not in _KNOWN and v is not None}
        if other:
            self._note_content(choice, other)
        return other

    def _note_content(self, choice: Choice, other: dict[str, Any]) -> None:
        """Audio, images and the like are content too, though they are not merged here."""
        names = [name for name, value in other.items() if value and name not in _NOT_CONTENT]
        if names:
            choice.other_content.update(names)
            self.progress += 1

    def _take_rest(
        self, choice: Choice, delta: dict[str, Any], number: int, events: list[ChatEvent]
    ) -> None:
        """What a delta holds besides its content."""
        # DeepSeek and vLLM call it reasoning_content, OpenRouter and Groq reasoning; some send both
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and isinstance(reasoning, str):
            self._add("reasoning", reasoning, number, events)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._add("refusal", refusal, number, events)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._take_call(choice, call, number, events)
        legacy = delta.get("function_call")  # before tools came, in 2023; some servers still do
        if isinstance(legacy, dict):
            self._take_call(choice, {"index": 0, "function": legacy}, number, events)

    def _take_call(
        self, choice: Choice, call: dict[str, Any], number: int, events: list[ChatEvent]
    ) -> None:
        index = call.get("index")
        if not isinstance(index, int):
            index = None
        function, custom = call.get("function"), call.get("custom")
        if isinstance(custom, dict) and not isinstance(function, dict):
            function = {**custom, "arguments": custom.get("input")}
        elif not isinstance(function, dict):
            function = {}
        id, name = _text(call.get("id")), _text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama and others send them as an object, whole
            arguments = json.dumps(arguments, ensure_ascii=False)
        arguments = _text(arguments)
        place = choice.call_for(index, id, name, arguments)
        if isinstance(custom, dict) or call.get("type") == "custom":
            choice.tool_calls[place].type = "custom"
        self.progress += 1
        arguments = self._pieces.join("arguments", arguments, number, place)
        choice.add_arguments(place, arguments)
        events.append(ToolCallDelta(place, arguments, id or None, name or None, number))

    def _add(self, kind: Kind, piece: str, number: int, events: list[ChatEvent]) -> None:
        self.progress += 1
        self._pieces.add(kind, piece, events, number)

    def _take_parts(
        self, choice: Choice, parts: list[Any], number: int, events: list[ChatEvent]
    ) -> None:
        """Content as a list of parts: Mistral's models that reason send it."""
        for part in parts:
            if not isinstance(part, dict):
                continue
            if part.get("type") == "thinking":
                inner = part.get("thinking")
                pieces = inner if isinstance(inner, list) else [{"text": inner}]
                text = "".join(_text(p.get("text")) for p in pieces if isinstance(p, dict))
                if text:
                    self._add("reasoning", text, number, events)
            elif text := _text(part.get("text")):
                self._add("text", text, number, events)
            elif part.get("type") not in (None, "text"):
                self._note_content(choice, {str(part["type"]): part})
                events.append(Other({"content": [part]}, number))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def not_resumed(answer: Answer, why: str) -> NotResumed:
    """The error where a server shows that it did not go on from where it was asked to."""
    cause = ProtocolViolation(f"the server did not resume: {why}")
    return NotResumed(str(cause), answer, cause)


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
