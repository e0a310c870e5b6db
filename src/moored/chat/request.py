"""What is asked for, and the body in which an endpoint gets it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from .endpoint import Endpoint

__all__ = ["Message", "Request"]


@attrs.frozen
class Message:
    """One message of a conversation.  A plain dict does as well.

    :param role: ``"system"``, ``"user"``, ``"assistant"``, ``"tool"``, or what the provider has.
    :param content: text, a list of parts as the provider defines them, or ``None``.
    :param fields: more fields, such as ``{"tool_call_id": ...}``.
    """

    role: str = attrs.field(validator=attrs.validators.instance_of(str))
    content: str | list[dict[str, Any]] | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict)

    def body(self) -> dict[str, Any]:
        """As it is sent."""
        return {"role": self.role, "content": self.content, **self.fields}


@attrs.frozen
class Request:
    """One request, checked.

    :param model: the model.
    :param messages: the conversation so far, as plain dicts.
    :param fields: everything else that goes into the body as it is.
    :param wants_usage: whether to ask for the usage where ``fields`` says nothing about it.
    """

    model: str
    messages: tuple[dict[str, Any], ...] = attrs.field(repr=False)
    fields: dict[str, Any] = attrs.field(factory=dict, repr=False)
    wants_usage: bool = True

    @classmethod
    def of(
        cls, model: str, messages: Iterable[Mapping[str, Any] | Message], fields: dict[str, Any]
    ) -> Request:
        """Check what the user gave.

        :raises TypeError: naming the argument that is of a type that makes no sense.
        :raises ValueError: naming the argument that is out of bounds.
        """
        if not isinstance(model, str):
            raise TypeError(f"model must be text, not {type(model).__name__}")
        if not model:
            raise ValueError("model must not be empty")
        if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
            raise TypeError(
                f"messages must be a sequence of messages, not {type(messages).__name__}"
            )
        bodies = tuple(_message(number, message) for number, message in enumerate(messages))
        if not bodies:
            raise ValueError("messages must hold at least one message, not none")
        if "stream" in fields:
            raise ValueError("stream cannot be given: an answer is always streamed")
        choices = fields.get("n")
        if choices is not None and (
            not isinstance(choices, int) or isinstance(choices, bool) or choices < 1
        ):
            raise ValueError(f"n must be a whole number of at least 1, not {choices!r}")
        kept = {name: value for name, value in fields.items() if value is not None}
        request = cls(model, bodies, kept, "stream_options" not in fields)
        try:
            json.dumps([model, bodies, kept], allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as exc:
            raise ValueError(f"the request must be a value that JSON can hold: {exc}") from exc
        return request

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return int(self.fields.get("n", 1))

    @property
    def max_tokens(self) -> int | None:
        """The bound on the answer that the request itself sets."""
        for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
            value = self.fields.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    @property
    def why_not_continued(self) -> str:
        """Why no other request could go on with its answer; ``""`` where one could."""
        if self.choices != 1:
            return f"n is {self.choices}, and only one answer can be continued"
        for name in ("tools", "functions", "audio"):
            if self.fields.get(name):
                return f"the request has {name}: only plain text can be continued"
        wanted = self.fields.get("response_format")
        if isinstance(wanted, Mapping) and wanted.get("type") not in (None, "text"):
            return "the request has a response_format: only plain text can be continued"
        return ""

    def body(self, endpoint: Endpoint, *, prefill: str = "") -> dict[str, Any]:
        """The body for ``endpoint``.

        :param prefill: the part of the answer that is there already, to be continued.
        """
        if endpoint.api == "responses":
            return {
                "model": self.model,
                "input": list(self.messages),
                **self.fields,
                "stream": True,
            }
        messages = list(self.messages)
        fields = dict(self.fields)
        # Asked for unless the user says otherwise: cost and limits depend on it.
        options = fields.get("stream_options")
        if isinstance(options, Mapping):
            fields["stream_options"] = {"include_usage": True, **options}
        elif self.wants_usage:
            fields["stream_options"] = {"include_usage": True}
        if prefill:
            last: dict[str, Any] = {"role": "assistant", "content": prefill}
            if endpoint.capabilities.prefill == "prefix":
                last["prefix"] = True
            elif endpoint.capabilities.prefill == "continue_final_message":
                fields.update(continue_final_message=True, add_generation_prompt=False)
            messages.append(last)
        return {"model": self.model, "messages": messages, **fields, "stream": True}


def _message(number: int, message: Any) -> dict[str, Any]:
    if isinstance(message, Message):
        return message.body()
    if not isinstance(message, Mapping):
        raise TypeError(
            f"messages[{number}] must be a mapping or a chat.Message, not {type(message).__name__}"
        )
    role = message.get("role")
    if not isinstance(role, str) and "type" not in message:  # an item of the Responses API
        raise ValueError(f"messages[{number}] must have a role that is text, not {role!r}")
    return dict(message)
