"""What a reply takes from limits and budgets, and what it cost: reserved before, settled after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import attrs

from moored.errors import HookFailed, MooredError
from moored.transports.target import call_sync_hook

from .answer import Answer
from .budget import Budget, Reservation
from .cost import Cost
from .endpoint import Endpoint
from .errors import PriceUnknown
from .prices import Prices
from .request import Request
from .tokens import (
    CalibratedCounter,
    TokenCounter,
    default_counter,
    estimate_messages,
    observe_messages,
)
from .usage import Usage

__all__ = ["Accounting", "Bill"]


class Accounting:
    """What all replies of a client share: prices, budgets, limits, and how tokens are counted.

    :param prices: what models cost, where the endpoint has no prices of its own.
    :param budgets: what may be spent, each for itself.
    :param limits: a limiter for endpoints that have none of their own.
    :param counter: counts tokens where the provider has not said; made when it is first needed.
    """

    def __init__(
        self,
        *,
        prices: Prices,
        budgets: Sequence[Budget] = (),
        limits: Any = None,
        counter: TokenCounter | None = None,
    ) -> None:
        self.prices = prices
        self.budgets: tuple[Budget, ...] = tuple(budgets)
        self._limits = limits
        self._counter = counter

    @property
    def counter(self) -> TokenCounter:
        """How tokens are counted."""
        if self._counter is None:
            self._counter = default_counter()
        return self._counter

    def prepare(self) -> None:
        """Load what takes long now, and not while replies are under way: a vocabulary and the
        prices take up to half a second."""
        self.counter  # noqa: B018 - made when it is first asked for
        if self.budgets:
            self.prices.cost(Usage(0, 0), model="gpt-5")

    @property
    def counts(self) -> bool:
        """Whether tokens had to be counted yet, so that it is of use to learn from what providers
        report."""
        return self._counter is not None

    def count(self, text: str, model: str) -> int:
        """The tokens of a text.

        :raises HookFailed: when a counter of the user's own raises.
        """
        return int(call_sync_hook("counter", self.counter.count, text, model)) if text else 0

    def estimate(self, request: Request) -> int:
        """The input tokens of a request.

        :raises HookFailed: when a counter of the user's own raises.
        """
        tools = request.fields.get("tools")
        estimate: int = call_sync_hook(
            "counter", estimate_messages, self.counter, request.messages, request.model, tools
        )
        return estimate

    def limits_of(self, endpoint: Endpoint) -> Any:
        """The limiter for what goes to ``endpoint``; ``None`` for none."""
        return self._limits if endpoint.limits is None else endpoint.limits

    def cost(self, usage: Usage, model: str, endpoint: Endpoint) -> Cost | None:
        """What ``usage`` cost at ``endpoint``; ``None`` where nobody knows."""
        prices = self.prices if endpoint.prices is None else endpoint.prices
        return prices.cost(usage, model=model, provider_url=endpoint.base_url)


@attrs.define(eq=False)
class _Charge:
    """One attempt's share."""

    request: Request
    endpoint: Endpoint
    answer: Answer
    text_before: int
    reported_before: Usage | None
    sent: bool = True
    rejected: bool = False
    completed: bool = False
    final: Usage | None = None

    def usage(self, accounting: Accounting) -> Usage:
        """What the provider said, or what it must have been."""
        request, answer = self.request, self.answer
        if self.final is not None:
            return self.final
        if not self.sent or self.rejected:
            return Usage(0, 0)
        reported = None if answer.usage is self.reported_before else answer.usage
        if reported is not None and self.completed:
            return reported
        model = request.model
        given = accounting.estimate(request)
        made = 0
        for choice in answer.choices.values():
            pieces = [choice.text[self.text_before :], choice.reasoning, choice.refusal]
            pieces += [call.name + call.arguments for call in choice.tool_calls]
            made += sum(accounting.count(piece, model) for piece in pieces if piece)
        given += accounting.count(answer.text[: self.text_before], model)
        if reported is None:
            return Usage(given, made, estimated=True)
        # Reported on the way: the answer went on after it, and nobody said how far.
        made = max(made, reported.output_tokens)
        return attrs.evolve(reported, output_tokens=made, estimated=True)


class Bill:
    """One reply's reservations, and what its attempts cost together.

    :param accounting: the client's.
    :param request: what is asked for.
    :param budgets: of the request, beside those of the client.
    :param expected_output: output tokens to reserve where the request sets no bound.
    """

    def __init__(
        self,
        accounting: Accounting,
        request: Request,
        *,
        budgets: Sequence[Budget] = (),
        expected_output: int,
    ) -> None:
        self._accounting = accounting
        self._request = request
        self._budgets = (*accounting.budgets, *budgets)
        self._expected_output = expected_output
        self._charges: list[_Charge] = []

    def cost(self) -> Cost | None:
        """What all attempts so far cost; ``None`` where no price is known, or nothing was sent."""
        total: Cost | None = None
        for charge in self._charges:
            usage = charge.usage(self._accounting)
            cost = self._accounting.cost(usage, charge.request.model, charge.endpoint)
            if cost is None:
                return None
            total = cost if total is None else total + cost
        return total

    def tokens(self) -> Usage | None:
        """The tokens of all attempts so far, estimated where the provider has not said."""
        total: Usage | None = None
        for charge in self._charges:
            usage = charge.usage(self._accounting)
            total = usage if total is None else total + usage
        return total

    def nothing_was_sent(self) -> None:
        """The last attempt did not get as far as sending its request."""
        self._charges[-1].sent = False

    def was_rejected(self) -> None:
        """The last attempt was answered with a status: nothing was generated."""
        self._charges[-1].rejected = True

    def was_completed(self) -> None:
        """The last attempt's answer is whole: what the provider reported is all of it."""
        self._charges[-1].completed = True

    @asynccontextmanager
    async def attempt(
        self, request: Request, endpoint: Endpoint, answer: Answer, *, resumes: bool = False
    ) -> AsyncIterator[None]:
        """Reserve for one attempt, for as long as the block lasts, and settle it then.

        :param request: what is asked for in this attempt.
        :param answer: what the attempt adds to.
        :param resumes: whether it only fetches what the attempt before it had ordered.
        :raises BudgetExceeded: where there is no room in a budget.
        :raises PriceUnknown: where there is a budget and no price.
        """
        for each in self._charges:
            if each.answer is answer:  # what follows is not its own
                each.final = each.usage(self._accounting)
        charge = _Charge(request, endpoint, answer, len(answer.text), answer.usage)
        limits = self._accounting.limits_of(endpoint)
        async with AsyncExitStack() as stack:
            expected = self._expected() if self._budgets or limits is not None else Usage(0, 0)
            budgeted: list[Reservation] = []
            limited = None
            try:
                for budget in self._budgets:
                    reserving = budget.reserve(self._price(expected, charge))
                    budgeted.append(await stack.enter_async_context(reserving))
                if limits is not None:
                    limited = await _reserve(stack, limits, expected)
            except BaseException:
                for reservation in budgeted:
                    reservation.release()
                raise
            if resumes and self._charges:
                self._charges.pop()
            self._charges.append(charge)
            try:
                yield
            finally:
                self._settle(charge, budgeted, limited)

    def _expected(self) -> Usage:
        request = self._request
        given = self._accounting.estimate(request)
        made = (request.max_tokens or self._expected_output) * request.choices
        return Usage(given, made, estimated=True)

    def _price(self, usage: Usage, charge: _Charge) -> Decimal:
        cost = self._accounting.cost(usage, charge.request.model, charge.endpoint)
        if cost is None:
            raise PriceUnknown(charge.request.model, charge.endpoint.name)
        return cost.usd

    def _settle(self, charge: _Charge, budgeted: list[Reservation], limited: Any) -> None:
        if budgeted or limited is not None:
            usage = charge.usage(self._accounting)
            cost = self._accounting.cost(usage, charge.request.model, charge.endpoint)
            if cost is not None:
                for reservation in budgeted:
                    reservation.settle(cost.usd)
            if limited is not None:
                amounts = _amounts(usage)
                others = {name: amounts[name] for name in _IN_AND_OUT}
                if not charge.sent:
                    others["requests"] = 0
                call_sync_hook("limits", limited.settle, amounts["tokens"], **others)
        self._learn(charge)

    def _learn(self, charge: _Charge) -> None:
        """Let the counter learn from what the provider reported."""
        reported, request = charge.answer.usage, charge.request
        whole = charge.completed and not charge.text_before
        if reported is None or not whole or not self._accounting.counts:
            return
        counter, answer = self._accounting.counter, charge.answer
        tools = request.fields.get("tools")
        given = reported.input_tokens
        call_sync_hook(
            "counter", observe_messages, counter, request.messages, request.model, given, tools
        )
        made = reported.output_tokens - reported.reasoning_tokens
        plain = len(answer.choices) == 1 and not answer.tool_calls and not answer.refusal
        if plain and made > 0 and isinstance(counter, CalibratedCounter):
            call_sync_hook("counter", counter.observe, answer.text, made, request.model)


async def _reserve(stack: AsyncExitStack, limits: Any, expected: Usage) -> Any:
    """Wait for a limiter, which may be the user's own."""
    try:
        return await stack.enter_async_context(limits.reserve(**_amounts(expected)))
    except MooredError:
        raise
    except Exception as exc:
        raise HookFailed("limits") from exc


_IN_AND_OUT = ("input_tokens", "output_tokens")


def _amounts(usage: Usage) -> dict[str, float]:
    return {
        "tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
