"""The events of OpenAI's Responses API, read into the same events as chunks are.  No I/O.

The names are those of the API reference, "Streaming events".
"""

from __future__ import annotations

import json
from typing import Any, Literal

from .answer import Answer
from .chunks import provider_error
from .errors import MalformedChunk, ProviderStreamError
from .events import ChatEvent, Finished, Reasoning, Refusal, Text, ToolCallDelta, UsageReported
from .usage import Usage

__all__ = ["ResponseReader"]

_REASONING = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})


class ResponseReader:
    """Reads one response's events.

    :param answer: what to put them into.
    :param malformed: what to do with an event that is no JSON object.
    """

    def __init__(self, answer: Answer, *, malformed: Literal["raise", "skip"] = "raise") -> None:
        self.answer: Answer = answer
        self._malformed = malformed
        self._sequence: int | None = None
        #: Counts the events that are content.
        self.progress: int = 0

    @property
    def cursor(self) -> int | None:
        """The last sequence number, for ``starting_after``."""
        return self._sequence

    def feed(self, event: str, data: str) -> list[ChatEvent]:
        """Read one event.

        :raises ProviderStreamError: when it is an error.
        :raises MalformedChunk: when it is no JSON object.
        """
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            if event == "error":
                raise ProviderStreamError(data if body is None else body, self.answer)
            if data.strip() == "[DONE]":
                return []
            if self._malformed == "raise":
                raise MalformedChunk(data, self.answer)
            self.answer.malformed_chunks += 1
            return []
        number = body.get("sequence_number")
        if isinstance(number, int):
            if self._sequence is not None and number <= self._sequence:
                return []  # a repetition, after resuming
            self._sequence = number
        kind = body.get("type")
        if kind == "error" or event == "error" or "error" in body:
            error = provider_error(body) or (body if event == "error" else None)
            if error is not None:
                raise ProviderStreamError(error, self.answer)
        events = self._events(kind if isinstance(kind, str) else event, body)
        self.progress += sum(not isinstance(each, UsageReported) for each in events)
        return events

    def _events(self, kind: str, body: dict[str, Any]) -> list[ChatEvent]:
        choice = self.answer.choice(0)
        delta = body.get("delta")
        piece = delta if isinstance(delta, str) else ""
        if kind == "response.output_text.delta" and piece:
            choice.add_text(piece)
            return [Text(piece)]
        if kind in _REASONING and piece:
            choice.add_reasoning(piece)
            return [Reasoning(piece)]
        if kind == "response.refusal.delta" and piece:
            choice.add_refusal(piece)
            return [Refusal(piece)]
        if kind == "response.function_call_arguments.delta" and piece:
            place = choice.add_to_call(_index(body), "", "", piece)
            return [ToolCallDelta(place, piece)]
        if kind == "response.output_item.added":
            return self._item(body)
        if kind.startswith("response."):
            return self._response(kind, body.get("response"))
        return []

    def _item(self, body: dict[str, Any]) -> list[ChatEvent]:
        item = body.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return []
        id, name = str(item.get("call_id") or ""), str(item.get("name") or "")
        place = self.answer.choice(0).add_to_call(_index(body), id, name, "")
        return [ToolCallDelta(place, "", id or None, name or None)]

    def _response(self, kind: str, response: Any) -> list[ChatEvent]:
        """An event about the response as a whole."""
        if not isinstance(response, dict):
            return []
        answer = self.answer
        answer.id = answer.id or str(response.get("id") or "")
        answer.model = answer.model or str(response.get("model") or "")
        if kind == "response.failed":
            raise ProviderStreamError(response.get("error") or response, answer)
        if kind not in ("response.completed", "response.incomplete"):
            return []
        events: list[ChatEvent] = []
        if (usage := Usage.parse(response.get("usage"))) is not None:
            answer.usage = usage
            events.append(UsageReported(usage))
        choice = answer.choice(0)
        choice.finish_reason = _finish_reason(kind, response, bool(choice.tool_calls))
        answer.done = True
        return [*events, Finished(choice.finish_reason)]


def _finish_reason(kind: str, response: dict[str, Any], calls_tools: bool) -> str:
    """The API's status, in the words of Chat Completions where these have one."""
    if kind == "response.completed":
        return "tool_calls" if calls_tools else "stop"
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return "length" if reason == "max_output_tokens" else str(reason or "incomplete")


def _index(body: dict[str, Any]) -> int | None:
    index = body.get("output_index")
    return index if isinstance(index, int) else None
