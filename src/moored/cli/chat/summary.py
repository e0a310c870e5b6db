"""What is told of an answer: in words, and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from moored import chat
from moored.errors import MooredError

__all__ = ["cost_data", "facts", "summary"]


def facts(reply: chat.Reply, client: chat.Client) -> Iterator[str]:
    """Tool calls, usage, cost: a line each."""
    answer = reply.answer
    for call in answer.tool_calls:
        cut = "" if call.complete else " (its arguments are not complete)"
        yield f"tool call: {call.name}({call.arguments}){cut}"
    if len(answer.choices) > 1:
        yield f"{len(answer.choices)} choices came, and the first is shown: --json has them all"
    if not reply.attempts:
        return
    told = _usage(reply, client)
    told.append(f"finish reason {answer.finish_reason or 'none'}")
    if reply.attempts > 1:
        told.append(f"{reply.attempts} attempts")
    yield ", ".join(told)
    if (cost := reply.cost) is not None:
        yield f"cost {cost}{' for all attempts' if reply.attempts > 1 else ''}"
    else:
        yield f"cost unknown: there is no price for {reply.model!r} (--price gives it)"


def _usage(reply: chat.Reply, client: chat.Client) -> list[str]:
    usage, note = reply.usage, ""
    if usage is None and (usage := reply.tokens) is not None and usage.estimated:
        note = f" (estimated by {client.counter_name}: the provider reported none)"
    if usage is None:
        return ["no usage reported"]
    given = f"{usage.input_tokens} input tokens"
    if usage.cached_input_tokens:
        given += f" ({usage.cached_input_tokens} cached)"
    made = f"{usage.output_tokens} output tokens"
    if usage.reasoning_tokens:
        made += f" ({usage.reasoning_tokens} of reasoning)"
    return [given, made + note]


def summary(reply: chat.Reply, error: MooredError | None, *, complete: bool) -> dict[str, Any]:
    """All of it, as JSON can hold it.

    :param complete: whether the answer came to its end.
    """
    answer = reply.answer
    return {
        "text": answer.text,
        "reasoning": answer.reasoning,
        "refusal": answer.refusal,
        "tool_calls": [call.message() for call in answer.tool_calls],
        "finish_reason": answer.finish_reason,
        "choices": [
            {"index": index, "message": choice.message(), "finish_reason": choice.finish_reason}
            for index, choice in sorted(answer.choices.items())
        ],
        "complete": complete,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "usage": None if answer.usage is None else attrs.asdict(answer.usage),
        "tokens": None if reply.tokens is None else attrs.asdict(reply.tokens),
        "cost": cost_data(reply.cost),
        "model": answer.model or reply.model,
        "endpoint": None if reply.endpoint is None else reply.endpoint.name,
        "attempts": reply.attempts,
        "failures": [
            {"type": type(each).__name__, "message": str(each.args[0])} for each in reply.failures
        ],
    }


def cost_data(cost: chat.Cost | None) -> dict[str, Any] | None:
    """A cost as JSON can hold it: amounts as text, since they are exact decimals."""
    if cost is None:
        return None
    return {
        "usd": f"{cost.usd:f}",
        "input_usd": f"{cost.input_usd:f}",
        "output_usd": f"{cost.output_usd:f}",
        "estimated": cost.estimated,
        "source": cost.source,
        "as_of": None if cost.as_of is None else cost.as_of.isoformat(),
        "model": cost.model,
    }
