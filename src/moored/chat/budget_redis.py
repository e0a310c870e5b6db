"""Budgets that several processes share, in Redis."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

import attrs
import coredis.exceptions
import trio
from anyio import BrokenResourceError, ClosedResourceError

from moored.core.checks import callable_or_none, number
from moored.limits.outage import Outage

from .budget_script import SCRIPT
from .errors import BudgetUnavailable
from .ledger import Decision, Figures, Terms

if TYPE_CHECKING:
    import coredis.client
    from coredis.commands.script import Script

__all__ = ["RedisBudgetStore"]

# Also what a Redis answers that is no use, such as a replica or one whose memory is full.
_LOST = (
    coredis.exceptions.RedisError,
    OSError,
    trio.TooSlowError,
    ClosedResourceError,
    BrokenResourceError,
)

# Within a hash tag, where a brace would end it or begin another.
_IN_TAG = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})

UNSETTLED: int = 10_000
"""Settlements kept while Redis is lost; the oldest beyond them count as what was reserved."""

_SENT_WITH_EACH = 100


@attrs.frozen
class _Ticket:
    """A reservation.

    :param member: its name in Redis, with the amount.
    :param unsure: whether Redis may not know of it.
    """

    member: str
    unsure: bool = False

    @property
    def amount(self) -> int:
        return int(self.member.rpartition(":")[2])


@attrs.define(eq=False)
class RedisBudgetStore:
    """Keeps budgets in Redis, for ``Budget(..., store=...)`` (``pip install moored[redis]``).

    Every operation is one Lua script, atomic and by the server's clock.  All keys of a budget
    have the same hash tag, so that it works on a cluster.

    A reservation has a lease.  Where its process dies, it counts as spent when the lease ends:
    nobody knows what the provider did.  A process that is merely slow settles after it none the
    worse; the figures are put right then, for a day.

    Without Redis nothing is let through (``fail="closed"``), or everything is (``fail="open"``).
    Settlements wait in memory, at most 10,000, and are made up for when Redis is back, without
    counting any twice.

    A Redis that is lost is asked again by one reservation after a quarter of a second at first,
    then after twice as long each time, up to 5 seconds; the others do not wait for it.  There is no
    task in the background.

    :param client: a :class:`coredis.Redis` or :class:`coredis.RedisCluster`, entered by the caller.
    :param prefix: begins every key.
    :param lease: seconds that a request may take; by default 10 minutes.
    :param timeout: seconds without an answer after which Redis counts as lost.
    :param fail: what to do without it.
    :param on_availability: called with the error when Redis was lost, and with ``None`` when it is
        back.
    """

    client: coredis.client.Client[Any] = attrs.field(repr=False)
    prefix: str = attrs.field(default="moored:budget", validator=attrs.validators.instance_of(str))
    lease: float = attrs.field(
        default=600.0, kw_only=True, validator=number(minimum=0.001, maximum=1e9)
    )
    timeout: float = attrs.field(default=2.0, kw_only=True, validator=number(above=0))
    fail: Literal["closed", "open"] = attrs.field(
        default="closed", kw_only=True, validator=attrs.validators.in_(("closed", "open"))
    )
    on_availability: Callable[[Exception | None], None] | None = attrs.field(
        default=None, kw_only=True, repr=False, validator=callable_or_none
    )
    _outage: Outage = attrs.field(init=False, repr=False, factory=Outage)
    _script: Script[Any] = attrs.field(init=False, repr=False)
    _unsettled: deque[tuple[Terms, _Ticket, int]] = attrs.field(
        init=False, repr=False, factory=lambda: deque(maxlen=UNSETTLED)
    )

    def __attrs_post_init__(self) -> None:
        if "{" in self.prefix or "}" in self.prefix:  # it would be another hash tag
            raise ValueError(f"RedisBudgetStore.prefix must be without braces, not {self.prefix!r}")
        self._script = self.client.register_script(SCRIPT)

    @property
    def available(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return not self._outage.lost

    @property
    def unsettled(self) -> int:
        """How many settlements wait for Redis."""
        return len(self._unsettled)

    async def reserve(self, terms: Terms, amount: int) -> Decision:
        """Reserve ``amount`` nanodollars, if there is room.

        :raises BudgetUnavailable: where Redis is lost, unless ``fail="open"``.
        """
        ticket = _Ticket(f"{uuid.uuid4().hex}:{amount}", unsure=True)
        asked = False
        try:
            if not self._outage.admits(trio.current_time()):
                await trio.lowlevel.checkpoint()
                raise BudgetUnavailable(terms.scope) from self._outage.error
            with self._asking(terms):
                await self._make_up(terms)
                asked = True
                granted, retry_after, spent, reserved = await self._ask(
                    terms, "reserve", ticket.member, amount
                )
        except BudgetUnavailable:
            if self.fail == "open":
                return Decision(ticket, Figures(0, 0))
            if asked:  # so it may have been reserved
                self._unsettled.append((terms, ticket, 0))
            raise
        except trio.Cancelled:
            if asked:
                with trio.CancelScope(shield=True):
                    await self.settle(terms, ticket, 0)
            raise
        figures = Figures(spent, reserved)
        if not granted:
            return Decision(None, figures, None if retry_after < 0 else retry_after)
        return Decision(_Ticket(ticket.member), figures)

    async def settle(self, terms: Terms, ticket: Any, amount: int) -> Figures | None:
        """Replace what was reserved by ``amount``; ``None`` where Redis is lost."""
        if self.available:
            with suppress(BudgetUnavailable), self._asking(terms):
                return await self._send(terms, ticket, amount)
        else:  # no request shall wait twice
            await trio.lowlevel.checkpoint()
        self._unsettled.append((terms, ticket, amount))
        return None

    async def figures(self, terms: Terms) -> Figures:
        """What is spent and reserved.

        :raises BudgetUnavailable: where Redis is lost.
        """
        if not self._outage.admits(trio.current_time()):
            await trio.lowlevel.checkpoint()
            raise BudgetUnavailable(terms.scope) from self._outage.error
        with self._asking(terms):
            await self._make_up(terms)
            answer = await self._ask(terms, "figures", "", 0)
        return Figures(*answer[-2:])

    async def _make_up(self, terms: Terms) -> None:
        """Send what waits, as much as one request should have to wait for."""
        if not self.available:
            # Ask for what changes nothing, in case that nobody hears the answer.
            await self._ask(terms, "figures", "", 0)
        for _ in range(min(len(self._unsettled), _SENT_WITH_EACH)):
            if not self._unsettled:  # others send too
                return
            entry = self._unsettled.popleft()
            try:
                await self._send(*entry)
            except coredis.exceptions.ResponseError:
                # Redis is there; what is wrong with one budget shall not hold up the others.
                self._unsettled.append(entry)
                if entry[0] == terms:
                    raise
                return
            except BaseException:
                self._unsettled.appendleft(entry)
                raise

    async def _send(self, terms: Terms, ticket: _Ticket, amount: int) -> Figures:
        member, reserved = ticket.member, ticket.amount
        answer = await self._ask(terms, "settle", member, reserved, amount, int(ticket.unsure))
        return Figures(*answer[-2:])

    async def _ask(
        self, terms: Terms, operation: str, member: str, amount: int, *more: int
    ) -> list[int]:
        tag = f"{self.prefix}:{{{terms.scope.translate(_IN_TAG)}:{terms.window}}}"
        keys = [f"{tag}:{name}" for name in ("spent", "held", "late", "done")]
        lease = round(self.lease * 1e6)
        arguments: list[str | int] = [operation, terms.limit, terms.window, terms.width, lease]
        with trio.fail_after(self.timeout):
            answer: list[int] = await self._script(keys, [*arguments, member, amount, *more])
        self._found()
        return answer

    @contextmanager
    def _asking(self, terms: Terms) -> Iterator[None]:
        looks = self._outage.asked()
        try:
            yield
        except _LOST as error:
            looks = looks and not self.available
            answers = isinstance(error, coredis.exceptions.ResponseError)
            if self._outage.failed(error, trio.current_time(), looked=looks, answers=answers):
                self._tell(error)
            raise BudgetUnavailable(terms.scope) from error
        except BaseException:
            if looks:
                self._outage.gave_up()
            raise

    def _found(self) -> None:
        if self._outage.answered():
            self._tell(None)

    def _tell(self, error: Exception | None) -> None:
        if self.on_availability is not None:
            self.on_availability(error)
