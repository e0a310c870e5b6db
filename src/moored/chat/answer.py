"""The answer as far as it has come: the deltas of a stream, put together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .usage import Usage

if TYPE_CHECKING:
    from .cost import Cost

__all__ = ["Answer", "Choice", "ToolCall"]

End = Literal["either", "done", "finish_reason", "both"]

REASONING_FIELDS = frozenset({"reasoning_details", "thinking_blocks"})
"""Fields of a delta that hold reasoning in a form that only the provider reads (OpenRouter,
LiteLLM)."""


@attrs.define
class ToolCall:
    """One call of a tool.

    :ivar id: the call's id, ``""`` where the provider gave none.
    :ivar name: the tool's name.
    :ivar arguments: JSON as text, or any text where the tool is a custom one.  After an
        interruption it may be cut anywhere.
    :ivar type: ``"function"`` or ``"custom"``.
    :ivar ended: whether the provider said that the call is whole.
    """

    id: str = ""
    name: str = ""
    _arguments: list[str] = attrs.field(factory=list, repr=False)
    type: Literal["function", "custom"] = "function"
    ended: bool = attrs.field(default=False, repr=False)

    @property
    def arguments(self) -> str:
        """The arguments, as far as they have come."""
        return "".join(self._arguments)

    @property
    def complete(self) -> bool:
        """Whether the arguments are whole.  Only then is it safe to run the tool.

        A function's are when they are a JSON value.  A custom tool's input can be any text: there
        it takes the provider's word.
        """
        if self.type == "custom":
            return self.ended
        return self._is_json

    @property
    def _is_json(self) -> bool:
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True

    def is_continued_by(self, id: str, name: str, arguments: str) -> bool:
        """Whether a fragment at the same place belongs to this call, and not to another one.

        Providers exist that give every call index 0, or none, and no id: a name where there is one
        already begins another call, unless it is the same name and the call is not whole.
        """
        if id and name and self.id and id != self.id:
            return False
        if not name or not self.name or (id and id == self.id):
            return True
        if name != self.name:
            return False
        # Only the last piece of an object ends with a brace: most are not worth parsing.
        last = self._arguments[-1] if self._arguments else ""
        return not (arguments and last.rstrip().endswith("}") and self._is_json)

    def message(self) -> dict[str, Any]:
        """The call as a message of the assistant's holds it."""
        if self.type == "custom":
            custom = {"name": self.name, "input": self.arguments}
            return {"id": self.id, "type": "custom", "custom": custom}
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


@attrs.define
class Choice:
    """One of the ``n`` answers.

    :ivar tool_calls: in the order in which they began.
    :ivar finish_reason: ``None`` until the provider has said one.
    :ivar other_content: the names of the fields that brought content which is not here but in
        events of type :class:`~moored.chat.Other`, such as ``"audio"``.
    """

    tool_calls: list[ToolCall] = attrs.field(factory=list)
    finish_reason: str | None = None
    other_content: set[str] = attrs.field(factory=set)
    _text: list[str] = attrs.field(factory=list, repr=False)
    _reasoning: list[str] = attrs.field(factory=list, repr=False)
    _refusal: list[str] = attrs.field(factory=list, repr=False)
    # How the provider names its calls: the index that it gives, and which call of ours that is.
    _by_index: dict[int, int] = attrs.field(factory=dict, repr=False)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """What the model thought so far, where the provider shows it."""
        return "".join(self._reasoning)

    @property
    def refusal(self) -> str:
        """With what the model refuses, so far."""
        return "".join(self._refusal)

    @property
    def begun(self) -> bool:
        """Whether any of its content has come."""
        return bool(
            self._text or self._reasoning or self._refusal or self.tool_calls or self.other_content
        )

    @property
    def only_text(self) -> bool:
        """Whether it is plain text, which another request can continue."""
        return not (self._refusal or self.tool_calls or self.other_content - REASONING_FIELDS)

    def add_text(self, piece: str) -> None:
        """The next piece of text came."""
        self._text.append(piece)

    def add_reasoning(self, piece: str) -> None:
        """The next piece of reasoning came."""
        self._reasoning.append(piece)

    def add_refusal(self, piece: str) -> None:
        """The next piece of a refusal came."""
        self._refusal.append(piece)

    def call_for(self, index: int | None, id: str, name: str, arguments: str = "") -> int:
        """Which call a fragment belongs to; one begins with it where it is none that is known.

        By index, by id where there is no index, and else the last one.

        :param arguments: the fragment's, which are not added: see :meth:`add_arguments`.
        """
        place = self._place_of(index, id, name, arguments)
        if place is None:
            place = len(self.tool_calls)
            self.tool_calls.append(ToolCall())
        if index is not None:
            self._by_index[index] = place
        call = self.tool_calls[place]
        if id and not call.id:
            call.id = id
        if name and not call.name:
            call.name = name
        return place

    def add_arguments(self, place: int, piece: str) -> None:
        """The next piece of a call's arguments came."""
        if piece:
            self.tool_calls[place]._arguments.append(piece)

    def _place_of(self, index: int | None, id: str, name: str, arguments: str) -> int | None:
        calls = self.tool_calls
        if index is not None and index in self._by_index:
            place = self._by_index[index]
            if calls[place].id and not id:
                return place  # ids are given, each once, so the index can be trusted
            return place if calls[place].is_continued_by(id, name, arguments) else None
        if id:
            for place, call in enumerate(calls):
                if call.id == id and (index is None or place not in self._by_index.values()):
                    return place
        if index is not None or id or not calls:
            return None
        return len(calls) - 1 if calls[-1].is_continued_by(id, name, arguments) else None

    def message(self) -> dict[str, Any]:
        """The choice as the assistant's message, for the next turn of the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self._refusal:
            message["refusal"] = self.refusal
        if self.tool_calls:
            message["tool_calls"] = [call.message() for call in self.tool_calls]
        return message


@attrs.define(eq=False)
class Answer:
    """An answer, whole or as far as it came.

    The properties without ``choices`` in their name speak of the first choice.

    :ivar choices: the ``n`` answers, by their number.
    :ivar usage: what the provider said last, or ``None`` where it said nothing.
    :ivar id: the provider's id for the answer.
    :ivar model: the model that answered, in the provider's words.
    :ivar done: whether the provider's own end came: ``[DONE]``, or the last event of a response.
    :ivar malformed_chunks: chunks that were no JSON object and were skipped.
    """

    choices: dict[int, Choice] = attrs.field(factory=dict)
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    done: bool = False
    malformed_chunks: int = 0
    _price: Callable[[], Cost | None] = attrs.field(default=lambda: None, repr=False, alias="price")

    def choice(self, index: int) -> Choice:
        """One of the choices, which begins with this if it had not."""
        found = self.choices.get(index)
        if found is None:
            found = self.choices[index] = Choice()
        return found

    @property
    def text(self) -> str:
        """The text so far."""
        return self._first.text

    @property
    def reasoning(self) -> str:
        """What the model thought so far, where the provider shows it."""
        return self._first.reasoning

    @property
    def refusal(self) -> str:
        """With what the model refuses, so far."""
        return self._first.refusal

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls so far."""
        return self._first.tool_calls

    @property
    def finish_reason(self) -> str | None:
        """``None`` until the provider has said one; never invented."""
        return self._first.finish_reason

    @property
    def cost(self) -> Cost | None:
        """What it cost: see :attr:`moored.chat.Reply.cost`."""
        return self._price()

    @property
    def begun(self) -> bool:
        """Whether any content has come."""
        return any(choice.begun for choice in self.choices.values())

    def message(self) -> dict[str, Any]:
        """The first choice as the assistant's message, for the next turn of the conversation."""
        return self._first.message()

    def finished(self, choices: int = 1) -> bool:
        """Whether each of that many choices has a finish reason, and any other that has begun."""
        wanted = {*range(choices), *self.choices}
        return all(
            number in self.choices and self.choices[number].finish_reason is not None
            for number in wanted
        )

    def proves_complete(self, end: End, choices: int = 1) -> bool:
        """Whether what has come proves that the answer is whole.

        :param end: what counts as proof, see :attr:`moored.chat.Endpoint.end`.
        :param choices: how many answers were asked for.
        """
        finished = self.finished(choices)
        match end:
            case "done":
                return self.done
            case "finish_reason":
                return finished
            case "both":
                return self.done and finished
            case _:
                return self.done or finished

    @property
    def _first(self) -> Choice:
        return self.choices.get(0) or Choice()
