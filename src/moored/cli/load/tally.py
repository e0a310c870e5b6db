"""What became of the requests: counted, and timed, as they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from moored import chat
from moored.cli.load.measures import BusiestMinute, Durations
from moored.cli.load.timing import Timing
from moored.errors import MooredError
from moored.pool import PoolClosed

__all__ = ["Outcome", "Tally", "kind_of"]


@attrs.frozen
class Outcome:
    """How a request ended.

    :param timing: of it.
    :param now: when.
    :param error: what it failed with.
    :param cancelled: whether it was given up after a signal.
    :param reply: its reply; ``None`` where it had no slot.
    :param cost: what it cost; ``None`` where nobody knows.
    """

    timing: Timing
    now: float
    error: MooredError | None = None
    cancelled: bool = False
    reply: chat.Reply | None = None
    cost: chat.Cost | None = None


def kind_of(error: MooredError) -> str:
    """What failures are counted by: the error's type, and the status where there is one."""
    name = type(error).__name__
    return f"{name} {error.status}" if isinstance(error, chat.RequestRejected) else name


@attrs.define(eq=False)
class Tally:
    """The counts.

    :ivar arrived: requests that have arrived.
    :ivar active: those that have a slot now; ``most_active`` is the most at once.
    :ivar not_sent: those that a signal kept from being sent.
    :ivar interrupted: those under way that were given up after a signal.
    :ivar failed: those that failed, by kind; ``examples`` has the first error of each.
    :ivar attempts: of all requests together.
    :ivar retried: requests that took more than one, whatever became of them.
    :ivar estimated: whether any tokens had to be counted here, as of an answer that was cut.
    :ivar cost: of those of which it is known; ``unpriced`` counts the others.
    """

    arrived: int = 0
    active: int = 0
    most_active: int = 0
    completed: int = 0
    not_sent: int = 0
    interrupted: int = 0
    failed: Counter[str] = attrs.field(factory=Counter)
    examples: dict[str, str] = attrs.field(factory=dict)
    attempts: int = 0
    retried: int = 0
    restarted: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    cost: chat.Cost | None = None
    unpriced: int = 0
    tokens: BusiestMinute = attrs.field(factory=BusiestMinute)
    pool_wait: Durations = attrs.field(factory=Durations)
    limiter_wait: Durations = attrs.field(factory=Durations)
    first_token: Durations = attrs.field(factory=Durations)
    answer: Durations = attrs.field(factory=Durations)
    total: Durations = attrs.field(factory=Durations)

    @property
    def ended(self) -> int:
        """Requests that are over."""
        return self.completed + self.failed.total() + self.not_sent + self.interrupted

    @contextmanager
    def active_request(self) -> Iterator[None]:
        """A request has its slot, for as long as the block runs."""
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            yield
        finally:
            self.active -= 1

    def end(self, outcome: Outcome) -> None:
        """A request is over."""
        timing, error = outcome.timing, outcome.error
        if outcome.cancelled or isinstance(error, PoolClosed):
            if timing.sent is None:
                self.not_sent += 1
            else:
                self.interrupted += 1
        elif error is not None:
            kind = kind_of(error)
            self.failed[kind] += 1
            self.examples.setdefault(kind, str(error))
        else:
            self.completed += 1
            self._time(timing, outcome.now)
        if timing.pool_wait is not None:
            self.pool_wait.add(timing.pool_wait)
        if timing.sent is not None:
            self.limiter_wait.add(timing.limiter_wait)
        if outcome.reply is not None:
            self._count(outcome.reply, outcome.cost, outcome.now)

    def _time(self, timing: Timing, now: float) -> None:
        """Only of what was completed: a failure is often the fastest answer of all."""
        assert timing.sent is not None
        self.answer.add(now - timing.sent)
        self.total.add(now - timing.arrived)
        if timing.first_token is not None:
            self.first_token.add(timing.first_token)

    def _count(self, reply: chat.Reply, cost: chat.Cost | None, now: float) -> None:
        self.attempts += reply.attempts
        self.retried += reply.attempts > 1
        usage = reply.tokens
        if usage is None:  # nothing was sent
            return
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.estimated = self.estimated or usage.estimated
        self.tokens.add(usage.total_tokens, now)
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = cost if self.cost is None else self.cost + cost
