"""What the Responses API calls its events, parts and items.  No I/O.

The names are those of the API reference, "Streaming events".
"""

from __future__ import annotations

import json
from typing import Any, Literal

from .pieces import Kind

__all__ = [
    "CALLS",
    "CALL_DELTAS",
    "CALL_ENDS",
    "PARTS",
    "PART_DELTAS",
    "PART_ENDS",
    "SILENT",
    "WHOLE_PARTS",
    "as_list",
    "as_text",
    "finish_reason_of",
    "is_known_part",
    "rest_of",
]

PARTS: dict[str, tuple[Kind, str]] = {
    "output_text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("reasoning", "text"),
    "summary_text": ("reasoning", "text"),
}
"""By the type of a part: what it is here, and the field that holds it."""

PART_DELTAS = {
    "response.output_text.delta": "output_text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_text",
    "response.reasoning_summary_text.delta": "summary_text",
}
PART_ENDS = {name.removesuffix("delta") + "done": part for name, part in PART_DELTAS.items()}
WHOLE_PARTS = frozenset({"response.content_part.done", "response.reasoning_summary_part.done"})

CALLS: dict[str, tuple[Literal["function", "custom"], str]] = {
    "function_call": ("function", "arguments"),
    "custom_tool_call": ("custom", "input"),
}
"""By the type of an item that is a call: the call's, and the field that holds its arguments."""

CALL_DELTAS = {
    "response.function_call_arguments.delta": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
}
CALL_ENDS = {name.removesuffix("delta") + "done": item for name, item in CALL_DELTAS.items()}

SILENT = frozenset(
    {
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
"""Events that say nothing which the others do not say."""


def rest_of(whole: str, had: str) -> str:
    """What of ``whole`` comes after ``had``, if it begins with that."""
    return whole[len(had) :] if whole.startswith(had) else ""


def as_text(value: Any) -> str:
    """Text as it is, an object as JSON, anything else as nothing."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else ""


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def is_known_part(part: Any) -> bool:
    """Whether it is a part of one of the :data:`PARTS`."""
    return isinstance(part, dict) and as_text(part.get("type")) in PARTS


def finish_reason_of(kind: str, response: dict[str, Any], calls_tools: bool) -> str:
    """The API's status, in the words of Chat Completions where these have one."""
    if kind == "response.completed":
        return "tool_calls" if calls_tools else "stop"
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return "length" if reason == "max_output_tokens" else str(reason or "incomplete")
