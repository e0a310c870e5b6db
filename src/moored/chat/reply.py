"""What a consumer sees of an answer while it comes."""

from __future__ import annotations

from collections import deque

import trio

from .answer import Answer
from .cost import Cost
from .endpoint import Endpoint
from .errors import AnswerRestarted, ReplyError
from .events import ChatEvent, Restarted, Text
from .exchange import Exchange
from .usage import Usage

__all__ = ["Reply", "Texts"]

EVENTS_PER_CHECKPOINT = 64
"""``async for`` over events that are there already lets other tasks run this often."""


class Reply:
    """An answer as it comes.  Made by :meth:`moored.chat.Client.stream`.

    Iterate over it for its events; iteration ends when the answer is complete, and raises a
    :class:`moored.chat.ReplyError` when it cannot be completed, after every event that came.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._events: deque[ChatEvent] = deque()
        self._taken = 0

    def __repr__(self) -> str:
        whose = "nobody yet" if self.endpoint is None else self.endpoint.name
        return f"<moored.chat.Reply from {whose}: {len(self.answer.text)} characters>"

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> ChatEvent:
        """The next event.  A checkpoint, as with :class:`moored.Stream`."""
        self._taken += 1
        if self._events and self._taken % EVENTS_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint_if_cancelled()  # gives no other task a turn
            return self._events.popleft()
        await trio.lowlevel.checkpoint()
        if not self._events:
            self._events = await self._exchange.next_events()
            if not self._events:
                raise StopAsyncIteration
        return self._events.popleft()

    def text(self) -> Texts:
        """An async iterator over the pieces of the first choice's text.

        After an interruption that is continued or resumed it goes on; one that restarts the answer
        raises :class:`moored.chat.AnswerRestarted` if text had been given.
        """
        return Texts(self)

    async def complete(self) -> Answer:
        """Take the rest, and return the whole answer.

        :raises ReplyError: when it cannot be completed.
        """
        async for _ in self:
            pass
        return self.answer

    @property
    def answer(self) -> Answer:
        """What has come of the answer, also after a failure.  It may be ahead of the events that
        you took."""
        return self._exchange.answer

    @property
    def usage(self) -> Usage | None:
        """What the provider said about its tokens; ``None`` while, or where, it said nothing."""
        return self.answer.usage

    @property
    def cost(self) -> Cost | None:
        """What all attempts so far cost; ``None`` where no price is known.

        Marked as estimated where tokens had to be counted here, as after a cancellation or an
        interruption: providers report no usage then.
        """
        return self._exchange.bill.cost()

    @property
    def tokens(self) -> Usage | None:
        """The tokens of all attempts so far, estimated where the provider has not said; ``None``
        before anything was sent."""
        return self._exchange.bill.tokens()

    @property
    def model(self) -> str:
        """The model that is asked, as the request names it."""
        return self._exchange.request.model

    @property
    def finish_reason(self) -> str | None:
        """The first choice's finish reason; ``None`` until the provider said one."""
        return self.answer.finish_reason

    @property
    def endpoint(self) -> Endpoint | None:
        """Which endpoint answers; ``None`` before any was asked."""
        return self._exchange.endpoint

    @property
    def attempts(self) -> int:
        """Requests made so far."""
        return self._exchange.attempts

    @property
    def failures(self) -> tuple[ReplyError, ...]:
        """What went wrong so far, be it recovered from or not, oldest first."""
        return tuple(self._exchange.failures)

    @property
    def response_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of the last answer: pairs, names in lower case."""
        return self._exchange.response_headers


class Texts:
    """The pieces of an answer's text.  Made by :meth:`moored.chat.Reply.text`."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._given = False

    def __aiter__(self) -> Texts:
        return self

    async def __anext__(self) -> str:
        """The next piece."""
        while True:
            event = await self._reply.__anext__()
            if isinstance(event, Text) and event.choice == 0:
                self._given = True
                return event.text
            if isinstance(event, Restarted) and self._given:
                words = (
                    "the answer was restarted after text had been given, which is to be discarded"
                )
                raise AnswerRestarted(words, event.discarded) from event.cause
