"""What a reply consists of, in the order in which it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from .usage import Usage

if TYPE_CHECKING:
    from .answer import Answer
    from .errors import ChatError

__all__ = [
    "ChatEvent",
    "Continued",
    "Finished",
    "Other",
    "Reasoning",
    "Refusal",
    "Restarted",
    "Resumed",
    "Text",
    "ToolCallDelta",
    "UsageReported",
]


@attrs.frozen
class Text:
    """A piece of the answer's text.

    :param text: the piece; never empty.
    :param choice: which of the ``n`` answers it belongs to, from 0.
    """

    text: str
    choice: int = 0


@attrs.frozen
class Reasoning:
    """A piece of what the model thought, where the provider shows it.

    :param text: the piece; never empty.
    :param choice: which of the ``n`` answers it belongs to.
    """

    text: str
    choice: int = 0


@attrs.frozen
class Refusal:
    """A piece of the text with which the model refuses.

    :param text: the piece; never empty.
    :param choice: which of the ``n`` answers it belongs to.
    """

    text: str
    choice: int = 0


@attrs.frozen
class ToolCallDelta:
    """A fragment of a call of a tool.

    The merged calls are in :attr:`moored.chat.Answer.tool_calls`.

    :param index: which call of the choice, from 0: its place in ``Choice.tool_calls``.
    :param arguments: the next piece of the arguments, which are JSON only once they are whole; of a
        custom tool, of its input.
    :param id: the call's id, where this fragment brought it.
    :param name: the tool's name, where this fragment brought it.
    :param choice: which of the ``n`` answers it belongs to.
    """

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    choice: int = 0


@attrs.frozen
class UsageReported:
    """The provider said how many tokens it took so far.  The last one counts.

    :param usage: the tokens.
    """

    usage: Usage


@attrs.frozen
class Finished:
    """A choice is finished.  Given once, and again only where the reason changes.

    :param reason: the provider's own word: ``"stop"``, ``"length"``, ``"tool_calls"``,
        ``"content_filter"``, or whatever else it says.
    :param choice: which of the ``n`` answers.
    """

    reason: str
    choice: int = 0


@attrs.frozen
class Other:
    """What a chunk said that no other event carries, such as ``logprobs`` or ``audio``.

    What a chunk says of the answer as a whole, such as ``citations``, is given once, and again
    only where its value changes.  Of the Responses API it is a whole event, with its ``type``.

    :param fields: as the provider sent them.
    :param choice: which of the ``n`` answers; 0 also for what concerns all of them.
    """

    fields: dict[str, Any]
    choice: int = 0


@attrs.frozen
class Restarted:
    """The answer was cut and is being given anew: **discard** everything before this event.

    :param attempt: the number of the request that begins now, from 1.
    :param cause: why the answer was cut.
    :param discarded: what had come.
    """

    attempt: int
    cause: ChatError
    discarded: Answer


@attrs.frozen
class Continued:
    """The answer was cut, and the model was asked to go on with what had come.

    What follows belongs after what came before, but another run of the model wrote it.

    :param attempt: the number of the request that begins now, from 1.
    :param cause: why the answer was cut.
    :param position: characters of text that had come.
    """

    attempt: int
    cause: ChatError
    position: int


@attrs.frozen
class Resumed:
    """The connection was cut, and the server went on from the cursor: nothing is missing.

    :param attempt: the number of the request that begins now, from 1.
    :param cause: why the connection was cut.
    :param cursor: the last event id, or the last sequence number.
    """

    attempt: int
    cause: ChatError
    cursor: str | int


ChatEvent: TypeAlias = (
    Text
    | Reasoning
    | Refusal
    | ToolCallDelta
    | UsageReported
    | Finished
    | Other
    | Restarted
    | Continued
    | Resumed
)
"""Anything that iterating over a :class:`~moored.chat.Reply` gives."""
