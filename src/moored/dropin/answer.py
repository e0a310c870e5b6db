"""What the events of a streamed answer say: content, its end, usage.  No I/O.

Knows the streams of OpenAI's chat completions and Responses, Anthropic's messages, and those that
copy them, by their JSON alone.  What it cannot read counts as content and never as an end; but in
the stream of an API that it knows, only what is known to be content.
"""

from __future__ import annotations

import json
from typing import Any

from moored.core.sse import EventDecoder, ServerSentEvent
from moored.transports.content_coding import ContentDecoder

from .events import begins_silence, ends_silence, is_content, is_news, is_of_known_api

__all__ = ["AnswerWatch", "total_tokens"]

MAX_TEXT_CHARACTERS = 4 * 1024 * 1024
"""Of the partial text no more than this is kept: about a million tokens."""

# Anthropic, "Streaming messages": message_stop.  OpenAI, "Responses: streaming events".
_TERMINATORS = frozenset(
    {
        "message_stop",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
    }
)
# OpenAI's streams of audio and images: the last of one part, behind which another may come.
_FINISHES = frozenset(
    {
        "image_edit.completed",
        "image_generation.completed",
        "speech.audio.done",
        "transcript.text.done",
    }
)
_TEXT_DELTAS = frozenset({"response.output_text.delta", "transcript.text.delta"})


class AnswerWatch:
    """Reads an answer's bytes as they pass.

    :param coding: the ``Content-Encoding`` of the bytes.
    :param choices: how many choices were asked for: OpenAI's ``n``.
    :param max_event_bytes: bound on one event.
    :raises moored.transports.content_coding.UnknownCoding: for a coding that it cannot undo.
    """

    def __init__(self, *, coding: str = "", choices: int = 1, max_event_bytes: int) -> None:
        self._content = ContentDecoder(coding)
        self._decoder = EventDecoder(max_event_bytes=max_event_bytes)
        self._choices = choices
        self._seen: set[object] = set()
        self._ended: set[object] = set()
        self._text: list[str] = []
        self._text_size = 0
        self._input_tokens = 0
        self._known_api = False
        #: Whether the bytes are compressed.
        self.compressed: bool = coding.strip().lower() not in ("", "identity")
        #: Events so far.
        self.events: int = 0
        #: Whether any of them had content.
        self.has_content: bool = False
        #: Whether the model thinks, or a tool runs at the provider, as far as events tell: nothing
        #: need come before that is over.
        self.silence_expected: bool = False
        #: Whether the answer's own last event came, or an error in its place.
        self.terminated: bool = False
        #: Whether a choice says that it failed, where an SDK does not look.
        self.failed: bool = False
        #: The ``error`` that it gave, or ``None``.
        self.error: object = None
        #: Whether a finish reason came for each choice, or the like.
        self.finished: bool = False
        #: The tokens that the server says were used, of the request and the answer, or ``None``.
        self.tokens: int | None = None

    @property
    def text(self) -> str:
        """The text so far, of the first choice."""
        return "".join(self._text)

    @property
    def inside_event(self) -> bool:
        """Whether an event, or the coding of the bytes, was begun and not ended."""
        return self._decoder.incomplete or self._content.incomplete

    def feed(self, chunk: bytes) -> bool:
        """Read ``chunk``, and return whether the answer has content and now went on.

        Content goes on with more of it, or with an event about what comes next.

        :raises moored.core.sse.EventTooLarge: for an event over ``max_event_bytes``.
        :raises zlib.error: when the bytes are not in their coding.
        """
        progress = False
        self._content.feed(chunk)
        while True:
            for event in self._decoder.feed(self._content.take()):
                self.events += 1
                progress = self._read(event) or progress
            if not self._content.pending:
                break
        return progress and self.has_content

    def _read(self, event: ServerSentEvent) -> bool:
        """Whether ``event`` says anything that is no keep-alive."""
        news, content = self._parse(event)
        self.has_content = self.has_content or content
        return news or content

    def _parse(self, event: ServerSentEvent) -> tuple[bool, bool]:
        """Whether ``event`` says anything, and whether it has content."""
        data = event.data
        if data.startswith("[DONE]"):
            self.terminated = True
            return True, True
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            self.terminated = self.terminated or event.event == "error"
            news = is_news(event.event, {})
            return news, news and not self._known_api
        if not isinstance(value, dict):
            return True, True
        choices = value.get("choices")
        if isinstance(choices, list) and not value.get("error"):
            content = self._read_chunk(value, choices)
            return content, content
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else event.event
        if event.event == "error" or kind == "error" or value.get("error"):
            self.terminated = True
            return True, True
        return self._read_typed(kind, value)

    def _read_chunk(self, value: dict[str, Any], choices: list[Any]) -> bool:
        """A ``chat.completion.chunk``, or one of the older ``text_completion``."""
        if usage := value.get("usage"):
            self._read_usage(usage)
        content = bool(usage)
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            index = index if isinstance(index, int) else 0
            self._seen.add(index)
            if choice.get("error") or choice.get("finish_reason") == "error":
                self.failed = True
                self.error = self.error or choice.get("error") or None
            if choice.get("finish_reason"):
                self._ended.add(index)
                content = True
            delta = choice.get("delta")
            if isinstance(delta, dict):
                content = content or any(v for k, v in delta.items() if k != "role")
                text = delta.get("content")
            else:
                text = choice.get("text")
                content = content or bool(text)
            if index == 0 and isinstance(text, str):
                self._keep(text)
        self.finished = len(self._ended) >= max(self._choices, len(self._seen))
        return content

    def _read_typed(self, kind: str, value: dict[str, Any]) -> tuple[bool, bool]:
        """An event with a ``type``, as of Responses or Anthropic's messages."""
        if kind in _TEXT_DELTAS and isinstance(value.get("delta"), str):
            self._keep(value["delta"])
        elif kind == "content_block_delta":
            delta = value.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("text"), str):
                self._keep(delta["text"])
        elif kind == "message_delta":
            delta = value.get("delta")
            self.finished = isinstance(delta, dict) and bool(delta.get("stop_reason"))
        elif kind in _TERMINATORS:
            self.terminated = True
        elif kind in _FINISHES:
            self.finished = True
        for holder in (value, value.get("response"), value.get("message")):
            if isinstance(holder, dict) and holder.get("usage"):
                self._read_usage(holder["usage"])
        if begins_silence(kind, value):
            self.silence_expected = True
        elif ends_silence(kind, value):
            self.silence_expected = False
        self._known_api = self._known_api or is_of_known_api(kind)
        news = is_news(kind, value)
        return news, is_content(kind, value) if self._known_api else news

    def _read_usage(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        # Anthropic's input tokens come first, and the output tokens, counted from the start, later.
        self._input_tokens = max(self._input_tokens, _number(usage.get("input_tokens")))
        found = total_tokens({**usage, "input_tokens": self._input_tokens})
        self.tokens = self.tokens if found is None else found

    def _keep(self, text: str) -> None:
        if self._text_size < MAX_TEXT_CHARACTERS:
            self._text.append(text[: MAX_TEXT_CHARACTERS - self._text_size])
            self._text_size += len(text)


def total_tokens(usage: object) -> int | None:
    """The tokens of a ``usage`` object, of the request and the answer, or ``None``."""
    if not isinstance(usage, dict):
        return None
    if total := _number(usage.get("total_tokens")):
        return total
    parts = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
    return sum(_number(usage.get(part)) for part in parts) or None


def _number(value: object) -> int:
    """``value`` if it is a count, or 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
