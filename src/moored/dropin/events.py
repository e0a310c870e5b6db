"""Which events of the typed streams are content, and which a sign that none is to be expected yet.

OpenAI's Responses and Assistants, Anthropic's messages, and those that copy them.  No I/O, no
state.  Sources: OpenAI, "Streaming events"; Anthropic, "Streaming messages".
"""

from __future__ import annotations

from typing import Any

__all__ = ["begins_silence", "ends_silence", "is_content", "is_news", "is_of_known_api"]

# They say that an answer has begun, or goes on, and nothing of it.
_KEEP_ALIVE = frozenset(
    {
        "ping",
        "keepalive",
        "message_start",
        "response.created",
        "response.queued",
        "response.in_progress",
    }
)
_FAMILIES = ("response.", "thread.")  # of the Responses and the Assistants API
_ANTHROPIC = frozenset(
    {
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    }
)
# Items of the Responses API that the model writes before our eyes.  All others, such as reasoning
# and web_search_call, are made or run at the provider, with no event for as long as it takes.
_WRITTEN_ITEMS = frozenset({"message", "function_call", "custom_tool_call"})
# The deltas of that writing.  Not those of a reasoning summary, which comes in parts, with thought
# between them; nor those of the input to a tool that then runs at the provider.
_WRITING = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.audio.delta",
        "response.audio.transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "thread.message.delta",
    }
)
# Of the deltas inside Anthropic's content blocks.  Not input_json_delta: a tool's input comes one
# whole property at a time, with "delays between streaming events while the model is working".
_WRITING_DELTAS = frozenset({"text_delta", "thinking_delta"})


def is_of_known_api(kind: str) -> bool:
    """Whether events of this type are those of an API whose content is known."""
    return kind in _ANTHROPIC or kind.startswith(_FAMILIES)


def is_news(kind: str, value: dict[str, Any]) -> bool:
    """Whether an event says anything: that it is no keep-alive, and no delta with nothing in it."""
    if kind in _KEEP_ALIVE:
        return False
    delta = value.get("delta", True)
    if isinstance(delta, dict):
        delta = any(held for name, held in delta.items() if name != "type")
    return bool(delta) or not kind.endswith("delta")


def is_content(kind: str, value: dict[str, Any]) -> bool:
    """Whether an event of a known API has something of the answer: text, reasoning, arguments ...

    What only opens or closes an item, a part or a block has not, nor has a signature.
    """
    if not is_news(kind, value):
        return False
    if kind == "content_block_delta":
        return _type_of(value.get("delta")) != "signature_delta"
    return kind.endswith((".delta", ".partial_image"))


def begins_silence(kind: str, value: dict[str, Any]) -> bool:
    """Whether the model is going to think, or a tool to run, for as long as it takes."""
    if kind == "response.output_item.added":
        return _type_of(value.get("item")) not in _WRITTEN_ITEMS
    if kind == "content_block_start":
        return _type_of(value.get("content_block")) != "text"
    return kind == "thread.run.step.created" or kind.startswith("response.reasoning_summary")


def ends_silence(kind: str, value: dict[str, Any]) -> bool:
    """Whether the model writes, piece by piece, or has come to its end: more is to come soon."""
    if not is_news(kind, value):
        return False
    if kind == "content_block_delta":
        return _type_of(value.get("delta")) in _WRITING_DELTAS
    return kind in _WRITING or kind == "message_delta"


def _type_of(part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else ""
