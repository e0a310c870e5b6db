"""Budgets in a real Redis: shared, atomic, and made up for when it was lost."""

import contextlib
import random
import sys
from decimal import Decimal

import coredis
import pytest
import trio

from moored.chat.budget import Budget
from moored.chat.budget_redis import RedisBudgetStore, _Ticket
from moored.chat.errors import BudgetExceeded, BudgetUnavailable
from moored.chat.ledger import Figures, Ledger, Terms

from ..redis_server import a_free_port, on_redis, running

pytestmark = on_redis


@pytest.fixture
async def client(redis_server):
    async with coredis.Redis(host="127.0.0.1", port=redis_server.port) as client:
        yield client


@pytest.fixture
async def own_client(own_redis_server):
    async with coredis.Redis(host="127.0.0.1", port=own_redis_server.port) as client:
        yield client


async def spend(budget, usd):
    async with budget.reserve(usd) as reservation:
        reservation.settle(usd)


async def until_asked_again(store):
    """It leaves Redis alone for a while after it was lost."""
    await trio.sleep_until(store._outage.retry_at)


def count_calls(store):
    """The names of the operations that Redis is asked for from now on."""
    script, asked = store._script, []
    store._script = lambda keys, arguments: (asked.append(arguments[0]), script(keys, arguments))[1]
    return asked


async def figures(budget):
    await budget.refresh()
    return budget.spent_usd, budget.reserved_usd, budget.remaining_usd


# ---------------------------------------------------------------------------- shared


async def test_two_processes_share_a_budget(client):
    one, other = (Budget(1, scope="team", store=RedisBudgetStore(client)) for _ in range(2))
    await spend(one, "0.5")
    async with one.reserve("0.3") as reservation:
        with pytest.raises(BudgetExceeded) as caught:
            await spend(other, "0.200000001")
        error = caught.value
        assert (error.spent_usd, error.reserved_usd, error.requested_usd) == (
            Decimal("0.5"),
            Decimal("0.3"),
            Decimal("0.200000001"),
        )
        await spend(other, "0.2")
        reservation.settle("0.1")
    assert (one.spent_usd, one.reserved_usd) == (Decimal("0.8"), 0)  # as it was last told
    assert other.spent_usd == Decimal("0.7")
    assert await figures(other) == (Decimal("0.8"), 0, Decimal("0.2"))


async def test_budgets_of_other_scopes_windows_and_prefixes_are_others(client):
    store = RedisBudgetStore(client)
    await spend(Budget(1, scope="a", store=store), 1)
    others = [
        Budget(1, scope="b", store=store),
        Budget(1, 60, scope="a", store=store),
        Budget(1, scope="a", store=RedisBudgetStore(client, "other")),
    ]
    for other in others:
        await spend(other, 1)
    keys = {key.decode() for key in await client.keys("*")}
    assert {key.rpartition(":")[0] for key in keys} == {
        "moored:budget:{a:0}",
        "moored:budget:{b:0}",
        "moored:budget:{a:60000000}",
        "other:{a:0}",
    }


async def test_scopes_may_hold_anything_and_stay_within_one_slot_of_a_cluster(tmp_path):
    """Braces would end the hash tag, or leave it empty, and the keys would be in several slots."""
    scopes = ["}", "{", "{}", "}x{", "a{b}c", "", "%7D", "ü:1 \n", "a\x00b"]
    # The other port is by default one 10,000 higher, which may be none.
    cluster = ["--cluster-enabled", "yes", "--cluster-port", str(a_free_port())]
    with running(tmp_path, *cluster) as server:
        async with coredis.Redis(host="127.0.0.1", port=server.port) as node:
            await node.cluster_addslots(list(range(16384)))
            while (await node.cluster_info())["cluster_state"] != "ok":  # noqa: ASYNC110
                await trio.sleep(0.02)
            store = RedisBudgetStore(node)
            for scope in scopes:
                await spend(Budget(1, 3600, scope, store=store), "0.7")
            for scope in scopes:  # and each is its own
                assert (await figures(Budget(1, 3600, scope, store=store)))[0] == Decimal("0.7")


async def test_a_block_left_without_settling_keeps_the_estimate_as_spent(client):
    budget = Budget(1, store=RedisBudgetStore(client))
    with trio.CancelScope() as scope:
        async with budget.reserve("0.1"):
            scope.cancel()
            await trio.sleep_forever()
    assert await figures(budget) == (Decimal("0.1"), 0, Decimal("0.9"))


async def test_the_script_counts_as_the_ledger_does(client):
    """Ones of every size, also beyond what 32 bits and a float's printing hold."""
    rng = random.Random(17)
    terms = Terms(3 * 10**14, 0, "")
    ledger, store = Ledger(terms), RedisBudgetStore(client)
    held = []
    for _ in range(300):
        if held and rng.random() < 0.5:
            mine, theirs = held.pop(rng.randrange(len(held)))
            actual = rng.choice([0, 1, rng.randrange(10**9), rng.randrange(10**12)])
            ledger.settle(mine, actual, 0)
            await store.settle(terms, theirs, actual)
        else:
            amount = rng.choice([0, 1, rng.randrange(10**9), rng.randrange(10**14)])
            mine, theirs = ledger.reserve(amount, 0), await store.reserve(terms, amount)
            assert (mine.ticket is None) == (theirs.ticket is None)
            assert mine.figures == theirs.figures
            if mine.ticket is not None:
                held.append((mine.ticket, theirs.ticket))
        assert await store.figures(terms) == ledger.figures(0)


PROCESS = """
import sys
import coredis, trio
from moored.chat.budget import Budget
from moored.chat.budget_redis import RedisBudgetStore
from moored.chat.errors import BudgetExceeded

async def request(budget, granted):
    try:
        async with budget.reserve("0.01") as reservation:
            granted.append(1)
            await trio.sleep(0.001)
            reservation.settle("0.01")
    except BudgetExceeded:
        pass

async def main():
    granted = []
    async with coredis.Redis(host="127.0.0.1", port=int(sys.argv[1])) as client:
        budget = Budget(1, store=RedisBudgetStore(client))
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(request, budget, granted)
    print(len(granted))

trio.run(main)
"""


async def test_four_processes_cannot_overshoot(client, redis_server):
    command = [sys.executable, "-c", PROCESS, str(redis_server.port)]
    granted = []

    async def process():
        done = await trio.run_process(command, capture_stdout=True)
        granted.append(int(done.stdout))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(process)
    assert len(granted) == 4
    assert sum(granted) == 100  # of 200
    assert await figures(Budget(1, store=RedisBudgetStore(client))) == (1, 0, 0)


# ---------------------------------------------------------------------------- time


async def test_what_was_spent_leaves_the_window(client):
    budget = Budget(1, 0.3, store=RedisBudgetStore(client))
    await spend(budget, "0.7")
    with pytest.raises(BudgetExceeded) as caught:
        await spend(budget, "0.7")
    assert 0.1 < caught.value.retry_after <= 0.305
    assert await figures(budget) == (Decimal("0.7"), 0, Decimal("0.3"))
    await trio.sleep(caught.value.retry_after)
    await spend(budget, "0.7")
    with pytest.raises(BudgetExceeded) as caught:
        await spend(budget, "1.1")
    assert caught.value.retry_after is None


async def test_a_budget_with_a_window_does_not_stay_in_redis_for_ever(client):
    store = RedisBudgetStore(client, lease=0.05)
    await spend(Budget(1, 0.05, scope="a", store=store), "0.5")
    await spend(Budget(1, scope="b", store=store), "0.5")
    lasting = {key.decode(): await client.pttl(key) for key in await client.keys("*")}
    assert 0 < lasting["moored:budget:{a:50000}:spent"] <= 1102
    assert lasting["moored:budget:{b:0}:spent"] == -1


async def test_the_reservation_of_a_dead_process_counts_as_spent_when_its_lease_ends(client):
    store = RedisBudgetStore(client, lease=0.05)
    terms = Terms(10**9, 0, "")
    await store.reserve(terms, 4 * 10**8)
    budget = Budget(1, store=store)
    assert (await figures(budget))[:2] == (0, Decimal("0.4"))
    await trio.sleep(0.06)
    assert (await figures(budget))[:2] == (Decimal("0.4"), 0)


@pytest.mark.parametrize("window", [None, 60.0])
async def test_a_request_that_outlasts_its_lease_settles_none_the_worse(client, window):
    budget = Budget(1, window, store=RedisBudgetStore(client, lease=0.02))
    async with budget.reserve("0.4") as reservation:
        await trio.sleep(0.03)
        assert (await figures(budget))[:2] == (Decimal("0.4"), 0)
        reservation.settle("0.1")
    assert await figures(budget) == (Decimal("0.1"), 0, Decimal("0.9"))


async def test_of_a_late_settlement_the_bucket_may_be_gone(client):
    budget = Budget(1, 0.06, store=RedisBudgetStore(client, lease=0.02))
    async with budget.reserve("0.4") as reservation:
        await trio.sleep(0.1)
        assert (await figures(budget))[:2] == (0, 0)
        reservation.settle("0.1")
    assert budget.spent_usd == Decimal("0.1")


# ---------------------------------------------------------------------------- cancelled


async def test_a_reservation_cancelled_on_the_way_leaves_nothing(redis_server, client):
    """Redis carries out what it was sent, when the request is long gone."""
    budget = Budget(1, store=RedisBudgetStore(client, timeout=0.05))
    await budget.refresh()
    with redis_server.frozen(), trio.move_on_after(0.03):
        async with budget.reserve("0.5"):
            pytest.fail("it was let through")
    assert budget.store.unsettled == 1
    await until_asked_again(budget.store)
    assert await figures(budget) == (0, 0, 1)
    assert budget.store.unsettled == 0


async def test_a_release_that_overtakes_its_reservation_wins(client):
    store, terms = RedisBudgetStore(client), Terms(10**9, 0, "")
    await store.settle(terms, _Ticket("mine:300000000", unsure=True), 0)
    await store._ask(terms, "reserve", "mine:300000000", 3 * 10**8)
    assert (await store.figures(terms)).reserved == 0


@pytest.mark.parametrize("unsure", [False, True])
async def test_what_is_sent_twice_counts_once(client, unsure):
    """As after a connection that broke before the answer came."""
    store, terms = RedisBudgetStore(client), Terms(10**9, 0, "")
    ticket = _Ticket("mine:300000000", unsure)
    for _ in range(2):
        answer = await store._ask(terms, "reserve", ticket.member, ticket.amount)
        assert answer == [1, -1, 0, 3 * 10**8]
    for _ in range(2):
        assert await store.settle(terms, ticket, 2 * 10**8) == Figures(2 * 10**8, 0)


async def test_what_redis_never_knew_of_counts_once_too(client):
    store, terms = RedisBudgetStore(client), Terms(10**9, 0, "")
    for _ in range(2):
        ticket = _Ticket("mine:300000000", unsure=True)
        assert await store.settle(terms, ticket, 2 * 10**8) == Figures(2 * 10**8, 0)


# ---------------------------------------------------------------------------- Redis lost


async def test_scripts_that_were_flushed_are_loaded_again(client):
    budget = Budget(1, store=RedisBudgetStore(client))
    await spend(budget, "0.1")
    await client.script_flush()
    await spend(budget, "0.1")
    assert await figures(budget) == (Decimal("0.2"), 0, Decimal("0.8"))


async def test_without_redis_nothing_is_let_through(own_redis_server, own_client):
    heard = []
    store = RedisBudgetStore(own_client, on_availability=heard.append)
    budget = Budget(1, scope="team", store=store)
    await spend(budget, "0.1")
    own_redis_server.stop()
    for attempt in (spend(budget, "0.1"), budget.refresh()):
        with pytest.raises(BudgetUnavailable, match='the budget "team" cannot be used') as caught:
            await attempt
        assert isinstance(caught.value.__cause__, coredis.exceptions.ConnectionError)
        assert caught.value.scope == "team"
    assert not store.available
    own_redis_server.start()
    await until_asked_again(store)
    await spend(budget, "0.2")
    assert store.available
    assert [type(each) for each in heard] == [coredis.exceptions.ConnectionError, type(None)]
    assert (await figures(budget))[:2] == (Decimal("0.2"), 0)  # a Redis that kept nothing


async def test_open_lets_everything_through_and_books_it_when_redis_is_back(
    own_redis_server, own_client
):
    store = RedisBudgetStore(own_client, fail="open")
    budget = Budget(1, store=store)
    own_redis_server.stop()
    for _ in range(3):
        await spend(budget, "0.6")
    assert store.unsettled == 3
    own_redis_server.start()
    await until_asked_again(store)
    with pytest.raises(BudgetExceeded) as caught:
        await spend(budget, "0.1")
    assert caught.value.spent_usd == Decimal("1.8")
    assert store.unsettled == 0


async def test_a_settlement_that_finds_no_redis_is_made_up_for(redis_server, client):
    store = RedisBudgetStore(client, timeout=0.05)
    budget = Budget(1, store=store)
    with contextlib.ExitStack() as stack:
        async with budget.reserve("0.5") as reservation:
            reservation.settle("0.2")
            stack.enter_context(redis_server.frozen())
    assert store.unsettled == 1
    await until_asked_again(store)
    assert await figures(budget) == (Decimal("0.2"), 0, Decimal("0.8"))


async def test_what_a_redis_that_hung_reserves_after_all_is_given_back(redis_server, client):
    store = RedisBudgetStore(client, timeout=0.05)
    budget = Budget(1, store=store)
    await budget.refresh()
    with redis_server.frozen():
        for _ in range(3):  # of which only the first was sent
            with pytest.raises(BudgetUnavailable):
                await spend(budget, "0.5")
    assert store.unsettled == 1
    await until_asked_again(store)
    assert await figures(budget) == (0, 0, 1)


async def test_while_redis_is_lost_a_settlement_does_not_wait_for_it(redis_server, client):
    store = RedisBudgetStore(client, timeout=0.05, fail="open")
    budget = Budget(1, store=store)
    asked = count_calls(store)
    with redis_server.frozen():
        await spend(budget, "0.1")
        await spend(budget, "0.1")
    assert asked == ["reserve"]
    await until_asked_again(store)
    assert await figures(budget) == (Decimal("0.2"), 0, Decimal("0.8"))


async def test_open_does_not_count_twice_what_redis_did_reserve(redis_server, client):
    """It hung with the reservation in hand, and carried it out when it was awake again."""
    store = RedisBudgetStore(client, timeout=0.05, fail="open")
    budget = Budget(1, store=store)
    with redis_server.frozen():
        block = budget.reserve("0.5")
        reservation = await block.__aenter__()
    reservation.settle("0.2")
    await block.__aexit__(None, None, None)
    await until_asked_again(store)
    assert await figures(budget) == (Decimal("0.2"), 0, Decimal("0.8"))


async def test_a_redis_that_answers_with_an_error_is_of_no_use(client):
    budget = Budget(1, store=RedisBudgetStore(client))
    await client.set("moored:budget:{:0}:spent", "something else")
    with pytest.raises(BudgetUnavailable) as caught:
        await spend(budget, "0.1")
    assert "wrong kind of value" in str(caught.value.__cause__)


async def test_an_error_of_one_budget_holds_up_no_other(client):
    """Redis answers, if with an error, so that nobody would wait for it."""
    store = RedisBudgetStore(client)
    await client.set("moored:budget:{bad:0}:spent", "something else")
    with pytest.raises(BudgetUnavailable):
        await spend(Budget(1, scope="bad", store=store), "0.1")
    assert not store.available
    good = Budget(1, scope="good", store=store)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(spend, good, "0.1")
    assert await figures(good) == (Decimal("0.5"), 0, Decimal("0.5"))


@pytest.mark.parametrize("fail", ["closed", "open"])
async def test_a_redis_that_hangs_is_asked_again_after_a_while_and_by_one(
    redis_server, client, fail
):
    store = RedisBudgetStore(client, timeout=0.05, fail=fail)
    budget = Budget(100, store=store)
    await budget.refresh()
    asked = count_calls(store)
    granted = 0

    async def request():
        nonlocal granted
        with contextlib.suppress(BudgetUnavailable):
            await spend(budget, "0.1")
            granted += 1

    async def requests():
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(request)

    with redis_server.frozen():
        await request()
        assert asked == ["reserve"]
        await requests()  # nobody waits
        assert asked == ["reserve"]
        with pytest.raises(BudgetUnavailable) as caught:
            await budget.refresh()
        assert isinstance(caught.value.__cause__, trio.TooSlowError)
        await until_asked_again(store)
        await requests()  # one looks, the others do not wait for it
        assert asked == ["reserve", "figures"]
    assert granted == (21 if fail == "open" else 0)
    await until_asked_again(store)
    await spend(budget, "0.1")  # and it is back
    assert store.available
    assert (await figures(budget))[0] == (granted + 1) * Decimal("0.1")


async def test_one_that_is_cancelled_looking_for_redis_leaves_it_to_the_next(redis_server, client):
    store = RedisBudgetStore(client, timeout=0.05)
    budget = Budget(1, store=store)
    with redis_server.frozen():
        with pytest.raises(BudgetUnavailable):
            await spend(budget, "0.1")
        await until_asked_again(store)
        with trio.move_on_after(0.01) as scope:
            await spend(budget, "0.1")
        assert scope.cancelled_caught
    await spend(budget, "0.1")
    assert (await figures(budget))[0] == Decimal("0.1")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prefix": "a{b}"}, ValueError),
        ({"prefix": None}, TypeError),
        ({"lease": 0}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"fail": "local"}, ValueError),
        ({"on_availability": 1}, TypeError),
    ],
)
def test_settings_out_of_bounds_are_refused(arguments, error):
    with pytest.raises(error):
        RedisBudgetStore(coredis.Redis(), **arguments)
