"""Budgets within one process, under an injected clock."""

import decimal
import re
from decimal import Decimal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import assert_checkpoints

from moored.chat.budget import Budget
from moored.chat.errors import BudgetExceeded, ChatError
from moored.chat.ledger import MAXIMUM_USD, WINDOW_BUCKETS, Ledger, Terms, dollars, nanodollars


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


async def spend(budget, usd):
    async with budget.reserve(usd) as reservation:
        reservation.settle(usd)


def figures(budget):
    return budget.spent_usd, budget.reserved_usd, budget.remaining_usd


# ---------------------------------------------------------------------------- one request


async def test_what_is_reserved_becomes_what_was_spent():
    budget = Budget("1.00")
    async with budget.reserve(0.4) as reservation:
        assert reservation.estimated_usd == Decimal("0.4")
        assert figures(budget) == (0, Decimal("0.4"), Decimal("0.6"))
        reservation.settle("0.1")
    assert figures(budget) == (Decimal("0.1"), 0, Decimal("0.9"))


async def test_a_request_that_does_not_fit_is_refused_with_the_figures():
    budget = Budget(1, scope="team")
    await spend(budget, "0.5")
    async with budget.reserve("0.3"):
        with pytest.raises(BudgetExceeded) as caught:
            async with budget.reserve("0.200000001"):
                pytest.fail("it was let through")
        await spend(budget, "0.2")
    error = caught.value
    assert isinstance(error, ChatError)
    assert (error.limit_usd, error.spent_usd, error.reserved_usd, error.requested_usd) == (
        1,
        Decimal("0.5"),
        Decimal("0.3"),
        Decimal("0.200000001"),
    )
    assert (error.window, error.scope, error.retry_after) == (None, "team", None)
    assert str(error) == (
        'the budget "team" of $1 has no room for $0.200000001: $0.5 spent, $0.3 reserved'
    )


async def test_a_block_left_without_settling_keeps_the_estimate_as_spent():
    budget = Budget(1)
    async with budget.reserve("0.1"):
        pass
    with pytest.raises(KeyError):
        async with budget.reserve("0.1"):
            raise KeyError
    with trio.CancelScope() as scope:
        async with budget.reserve("0.1"):
            scope.cancel()
            await trio.sleep_forever()
    assert figures(budget) == (Decimal("0.3"), 0, Decimal("0.7"))


async def test_a_request_that_was_not_sent_spends_nothing():
    budget = Budget(1)
    with pytest.raises(OSError, match="no route"):
        async with budget.reserve("0.1") as reservation:
            reservation.release()
            raise OSError("no route")
    assert figures(budget) == (0, 0, 1)


async def test_an_answer_that_was_cancelled_can_be_settled_by_an_estimate():
    budget = Budget(1)
    with trio.CancelScope() as scope:
        async with budget.reserve("0.5") as reservation:
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                reservation.settle("0.2")
    assert budget.spent_usd == Decimal("0.2")


async def test_the_last_word_counts_and_none_after_the_end():
    budget = Budget(1)
    async with budget.reserve("0.5") as reservation:
        reservation.release()
        reservation.settle("0.2")
        reservation.settle("0.3")
    assert budget.spent_usd == Decimal("0.3")
    with pytest.raises(RuntimeError, match="over"):
        reservation.settle("0.1")
    with pytest.raises(RuntimeError, match="over"):
        reservation.release()
    assert budget.spent_usd == Decimal("0.3")


async def test_an_answer_may_cost_more_than_was_left():
    budget = Budget(1)
    async with budget.reserve("0.5") as reservation:
        reservation.settle(3)
    assert figures(budget) == (3, 0, 0)
    with pytest.raises(BudgetExceeded):
        await spend(budget, "0.000000001")
    await spend(budget, 0)  # what costs nothing overspends nothing


async def test_cancelled_before_it_begins_it_reserves_nothing():
    budget = Budget(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with budget.reserve("0.5"):
            pytest.fail("it was let through")
    assert figures(budget) == (0, 0, 1)


async def test_every_way_through_is_a_checkpoint():
    budget = Budget(1)
    block = budget.reserve("0.6")
    with assert_checkpoints():
        await block.__aenter__()
    with assert_checkpoints(), pytest.raises(BudgetExceeded):
        await budget.reserve("0.6").__aenter__()
    with assert_checkpoints():
        await block.__aexit__(None, None, None)
    with assert_checkpoints():
        await budget.refresh()


# ---------------------------------------------------------------------------- many requests


async def test_a_hundred_at_once_cannot_overshoot_by_their_estimates():
    budget = Budget(1)
    sent = 0
    go = trio.Event()

    async def request():
        nonlocal sent
        try:
            async with budget.reserve("0.03") as reservation:
                sent += 1
                await go.wait()
                reservation.settle("0.03")
        except BudgetExceeded:
            pass

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(request)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == 33
        assert figures(budget) == (0, Decimal("0.99"), Decimal("0.01"))
        go.set()
    assert figures(budget) == (Decimal("0.99"), 0, Decimal("0.01"))


async def test_a_hundred_thousand_tenths_of_a_cent_are_a_hundred_dollars():
    """As floats, they would not be."""
    ledger = Ledger(Terms(10**15, 0, ""))
    for _ in range(10**5):
        ledger.settle(ledger.reserve(10**6, 0).ticket, 10**6, 0)
    assert dollars(ledger.figures(0).spent) == 100


# ---------------------------------------------------------------------------- the window


async def test_what_was_spent_leaves_the_window():
    clock = Clock(1_200_000.0)  # where a bucket begins
    budget = Budget(1, 60.0, wall_clock=clock)
    await spend(budget, "0.7")
    clock.now += 30
    await spend(budget, "0.3")
    clock.now += 30.999999  # of a bucket of one second, the end has to leave
    assert budget.spent_usd == 1
    clock.now += 0.000001
    assert budget.spent_usd == Decimal("0.3")
    clock.now += 30
    assert figures(budget) == (0, 0, 1)


async def test_a_refusal_says_when_there_is_room():
    clock = Clock(1_200_000.25)
    budget = Budget(1, 60.0, wall_clock=clock)
    await spend(budget, "0.7")
    clock.now += 10
    await spend(budget, "0.3")
    with pytest.raises(BudgetExceeded, match=r"of \$1 in 60 s .*; there is room in 50.75 s") as one:
        await spend(budget, "0.7")
    with pytest.raises(BudgetExceeded) as two:
        await spend(budget, "0.71")
    assert (one.value.retry_after, two.value.retry_after) == (50.75, 60.75)

    clock.now += 50.75 - 1e-6
    with pytest.raises(BudgetExceeded):
        await spend(budget, "0.7")
    clock.now += 1e-6
    await spend(budget, "0.7")


async def test_what_time_alone_does_not_make_room_for_has_no_time():
    budget = Budget(1, 60.0, wall_clock=Clock())
    with pytest.raises(BudgetExceeded) as caught:
        await spend(budget, "1.01")
    assert caught.value.retry_after is None
    async with budget.reserve("0.6"):
        with pytest.raises(BudgetExceeded) as caught:
            await spend(budget, "0.5")
        assert caught.value.retry_after is None


async def test_what_is_reserved_does_not_leave_the_window(autojump_clock):
    budget = Budget(1, 10.0, wall_clock=trio.current_time)
    async with budget.reserve("0.4") as reservation:
        await trio.sleep(1000)
        assert budget.reserved_usd == Decimal("0.4")
        reservation.settle("0.4")
    assert budget.spent_usd == Decimal("0.4")  # spent now, not when it was reserved
    await trio.sleep(10.2)
    assert budget.spent_usd == 0


async def test_a_clock_set_back_frees_nothing():
    clock = Clock()
    budget = Budget(1, 60.0, wall_clock=clock)
    await spend(budget, "0.7")
    clock.now -= 3600
    assert budget.spent_usd == Decimal("0.7")


def test_a_window_takes_bounded_memory():
    ledger = Ledger(Terms(10**18, 60_000_000, ""))
    for now in range(0, 600_000_000, 50_000):
        ledger.settle(ledger.reserve(1, now).ticket, 1, now)
    assert len(ledger._buckets) <= WINDOW_BUCKETS + 1


class LedgerBesideAListOfAll(RuleBasedStateMachine):
    """The ledger against one that remembers every single settlement."""

    WINDOW = 6_000
    LIMIT = 1_000

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(Terms(self.LIMIT, self.WINDOW, ""))
        self.now = 0
        self.tickets = []
        self.spent = []

    def spent_within(self, window):
        return sum(amount for when, amount in self.spent if self.now - when < window)

    @rule(by=st.integers(0, 2_000))
    def time_passes(self, by):
        self.now += by

    @rule(amount=st.integers(0, 400))
    def reserve(self, amount):
        decision = self.ledger.reserve(amount, self.now)
        wanted = sum(self.tickets) + amount
        if decision.ticket is not None:
            assert not amount or self.spent_within(self.WINDOW) + wanted <= self.LIMIT
            self.tickets.append(decision.ticket)
            return
        # Refused only where what is spent within the window and one bucket leaves no room.
        assert self.spent_within(self.WINDOW + 100) + wanted > self.LIMIT
        if decision.retry_after is None:
            assert wanted > self.LIMIT
        else:
            later = self.now + decision.retry_after
            early = self.ledger_copy().reserve(amount, later - 1)
            assert early.ticket is None
            assert self.ledger_copy().reserve(amount, later).ticket is not None

    def ledger_copy(self):
        copy = Ledger(Terms(self.LIMIT, self.WINDOW, ""))
        for when, amount in self.spent:
            copy.settle(copy.reserve(0, when).ticket, amount, when)
        copy._reserved = sum(self.tickets)
        return copy

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), amount=st.integers(0, 600))
    def settle(self, data, amount):
        ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        self.ledger.settle(ticket, amount, self.now)
        self.spent.append((self.now, amount))

    @invariant()
    def nothing_is_lost(self):
        figures = self.ledger.figures(self.now)
        assert figures.reserved == sum(self.tickets)
        assert (
            self.spent_within(self.WINDOW) <= figures.spent <= self.spent_within(self.WINDOW + 100)
        )


TestLedger = LedgerBesideAListOfAll.TestCase


# ---------------------------------------------------------------------------- amounts


@given(st.integers(0, 10**15))
def test_nanodollars_survive_the_way_to_dollars_and_back(nanos):
    assert nanodollars(dollars(nanos), "x") == nanos


@pytest.mark.parametrize(
    ("usd", "nanos"), [(0.1, 10**8), ("1e-10", 1), (2, 2 * 10**9), (Decimal("0.0000000011"), 2)]
)
def test_amounts_are_rounded_up_to_a_nanodollar(usd, nanos):
    assert nanodollars(usd, "x") == nanos


@pytest.mark.parametrize("usd", [-1, float("nan"), float("inf"), "1000000.1"])
async def test_a_limit_or_an_estimate_out_of_bounds_is_refused(usd):
    with pytest.raises(ValueError, match=r"Budget\.limit_usd must be from 0 to 1000000, not "):
        Budget(usd)
    budget = Budget(1)
    with pytest.raises(ValueError, match="estimated_usd must be from 0 to 1000000, not "):
        await spend(budget, usd)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (-1, "-1"),
        (float("nan"), "NaN"),
        (Decimal("sNaN"), "sNaN"),
        (-float("inf"), "-Infinity"),
        pytest.param(-(10**5000), "-1.00000000000e+5000", id="huge"),
    ],
)
async def test_what_nothing_can_have_cost_is_refused(usd, shown):
    budget = Budget(1)
    async with budget.reserve("0.5") as reservation:
        with pytest.raises(
            ValueError, match=f"actual_usd must be at least 0, not {re.escape(shown)}$"
        ):
            reservation.settle(usd)
    assert budget.spent_usd == Decimal("0.5")


@pytest.mark.parametrize(
    "usd", ["1000000.1", 10**18, pytest.param(10**5000, id="huge"), "1e999999", float("inf")]
)
async def test_a_cost_beyond_the_maximum_is_taken_as_the_maximum(usd, caplog):
    """As where a provider reports 10**18 tokens: to raise would leave the budget unsettled."""
    budget = Budget(1)
    async with budget.reserve("0.5") as reservation:
        reservation.settle(usd)
    assert figures(budget) == (MAXIMUM_USD, 0, 0)
    [record] = caplog.records
    assert "at least $1000000, where $0.5 was reserved" in record.getMessage()
    with pytest.raises(BudgetExceeded):
        await spend(budget, "0.1")


async def test_amounts_do_not_depend_on_the_callers_decimal_context():
    context = decimal.Context(prec=5, rounding=decimal.ROUND_DOWN, traps=[decimal.Inexact])
    with decimal.localcontext(context):
        budget = Budget("123.456789")
        async with budget.reserve("1.23456789") as reservation:
            assert reservation.estimated_usd == Decimal("1.23456789")
            reservation.settle("1.2345678901")
        with pytest.raises(BudgetExceeded, match=r"\$123.456789 has no room for \$122.3: "):
            await spend(budget, "122.3")
        with pytest.raises(TypeError, match="must be a number"):
            Budget("much")
    assert budget.limit_usd == Decimal("123.456789")
    assert figures(budget) == (Decimal("1.234567891"), 0, Decimal("122.222221109"))


@pytest.mark.parametrize("usd", ["much", None, True, b"1"])
def test_an_amount_that_is_no_number_is_refused(usd):
    with pytest.raises(TypeError, match=r"Budget\.limit_usd must be a number, not "):
        Budget(usd)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"window": 0}, ValueError),
        ({"window": -1.0}, ValueError),
        ({"window": "day"}, TypeError),
        ({"scope": None}, TypeError),
    ],
)
def test_settings_out_of_bounds_are_refused(arguments, error):
    with pytest.raises(error):
        Budget(1, **arguments)


def test_a_budget_shows_its_terms():
    assert (
        repr(Budget(5, 3600, "team")) == "Budget(limit_usd=Decimal('5'), window=3600, scope='team')"
    )
