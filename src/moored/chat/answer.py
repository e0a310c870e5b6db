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


@attrs.define
class ToolCall:
    """One call of a tool.

    :ivar id: the call's id, ``""`` where the provider gave none.
    :ivar name: the tool's name.
    :ivar arguments: JSON as text.  After an interruption it may be cut anywhere.
    """

    id: str = ""
    name: str = ""
    _arguments: list[str] = attrs.field(factory=list, repr=False)

    @property
    def arguments(self) -> str:
        """The arguments, as far as they have come."""
        return "".join(self._arguments)

    @property
    def complete(self) -> bool:
        """Whether the arguments are a whole JSON value.  Only then is it safe to run the tool."""
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True

    def message(self) -> dict[str, Any]:
        """The call as a message of the assistant's holds it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


@attrs.define
class Choice:
    """One of the ``n`` answers.

    :ivar tool_calls: in the order in which they began.
    :ivar finish_reason: ``None`` until the provider has said one.
    """

    tool_calls: list[ToolCall] = attrs.field(factory=list)
    finish_reason: str | None = None
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
        return bool(self._text or self._reasoning or self._refusal or self.tool_calls)

    @property
    def only_text(self) -> bool:
        """Whether it is plain text, which another request can continue."""
        return not (self._refusal or self.tool_calls)

    def add_text(self, piece: str) -> None:
        """The next piece of text came."""
        self._text.append(piece)

    def add_reasoning(self, piece: str) -> None:
        """The next piece of reasoning came."""
        self._reasoning.append(piece)

    def add_refusal(self, piece: str) -> None:
        """The next piece of a refusal came."""
        self._refusal.append(piece)

    def add_to_call(self, index: int | None, id: str, name: str, arguments: str) -> int:
        """A fragment of a tool call came; returns which call it belongs to.

        By index, and by id where there is none.  Providers exist that give every call index 0: one
        with another id and a name of its own is another call.
        """
        place = self._place_of(index, id, name)
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
        if arguments:
            call._arguments.append(arguments)
        return place

    def _place_of(self, index: int | None, id: str, name: str) -> int | None:
        if id:
            for place, call in enumerate(self.tool_calls):
                if call.id == id:
                    return place
        if index is not None:
            place = self._by_index.get(index, -1)
            if place < 0:
                return None
            known = self.tool_calls[place].id
            return None if id and name and known and known != id else place
        if id or not self.tool_calls:
            return None
        return len(self.tool_calls) - 1

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
