"""What a request needs of the endpoint and of the model that answer it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from moored.core.checks import flag, instance

from .endpoint import Capabilities, Endpoint

__all__ = ["Needs", "lacking"]

_NAMES = {
    "tools": "tools",
    "vision": "vision",
    "structured": "structured output",
    "reasoning": "reasoning",
}


@attrs.frozen
class Needs:
    """What a request needs.

    :param model: the model that it asks for.
    :param tools: whether it offers tools.
    :param vision: whether it holds images.
    :param structured: whether it asks for JSON, with a schema or without.
    :param reasoning: whether it sets how much the model reasons.
    """

    model: str = attrs.field(validator=instance(str))
    tools: bool = attrs.field(default=False, validator=flag)
    vision: bool = attrs.field(default=False, validator=flag)
    structured: bool = attrs.field(default=False, validator=flag)
    reasoning: bool = attrs.field(default=False, validator=flag)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Needs:
        """The needs of a request's body, of Chat Completions or of Responses.

        What makes no sense is taken for absent: the endpoint says what is wrong with it.
        """
        model = body.get("model")
        text = body.get("text")
        form = body.get("response_format") or (
            text.get("format") if isinstance(text, Mapping) else None
        )
        reasoning = body.get("reasoning")
        effort = body.get("reasoning_effort") or (
            reasoning.get("effort") if isinstance(reasoning, Mapping) else reasoning
        )
        return cls(
            model=model if isinstance(model, str) else "",
            tools=bool(body.get("tools") or body.get("functions")),
            vision=any(_images(body.get("messages"))) or any(_images(body.get("input"))),
            structured=isinstance(form, Mapping) and form.get("type") not in (None, "text"),
            reasoning=bool(effort) and effort != "none",
        )

    def unmet_by(self, endpoint: Endpoint) -> str:
        """Why ``endpoint`` cannot serve it, in words; ``""`` when it can."""
        if not endpoint.serves(self.model):
            return f"does not serve model {self.model!r}"
        return lacking(self, endpoint.capabilities)


def lacking(needs: Any, capabilities: Capabilities) -> str:
    """What of ``needs`` the capabilities do not hold, in words; ``""`` when nothing.

    :param needs: :class:`moored.chat.Needs`, or a request for a route.
    """
    missing = [
        words
        for name, words in _NAMES.items()
        if getattr(needs, name) and not getattr(capabilities, name)
    ]
    return f"has no {' and no '.join(missing)}" if missing else ""


def _images(messages: Any) -> Iterator[bool]:
    """Whether it is an image, for each part of each message."""
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        return
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        parts = message.get("content")
        if isinstance(parts, str) or not isinstance(parts, Sequence):
            continue
        for part in parts:
            kind = part.get("type") if isinstance(part, Mapping) else None
            yield kind in ("image_url", "input_image")  # Chat Completions; Responses
