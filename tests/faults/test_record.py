import trio
import trio.testing

from moored.faults import Cut, Injected, Refuse
from moored.faults.record import Record


def test_the_newest_are_kept_and_all_are_counted():
    record = Record(limit=3)
    for number in range(1, 6):
        fault = Cut(after_messages=1) if number % 2 else Refuse()
        record.inject(Injected(fault, number, 0.0, ""))
    assert [injected.connection for injected in record.injected] == [3, 4, 5]
    assert record.counts == {"cut": 3, "refuse": 2}


async def test_a_connection_is_updated_unless_it_was_forgotten(autojump_clock):
    record = Record(limit=2)
    for number in (1, 2, 3):
        record.accept(number)
    before = record.connections
    record.update(1, outcome="cut")
    record.update(3, outcome="cut", ended=5.0)
    assert [(c.number, c.outcome, c.ended) for c in record.connections] == [
        (2, "", None),
        (3, "cut", 5.0),
    ]
    assert before[1].outcome == ""


async def test_waiting_ends_with_the_change_that_makes_it_true(nursery, autojump_clock):
    record = Record()
    done = []

    async def wait(count):
        await record.changes.wait_until(lambda: len(record.connections) >= count)
        done.append(count)

    for count in (0, 1, 2):
        nursery.start_soon(wait, count)
    await trio.testing.wait_all_tasks_blocked()
    assert done == [0]
    record.accept(1)
    await trio.testing.wait_all_tasks_blocked()
    assert done == [0, 1]
    record.accept(2)
    await trio.testing.wait_all_tasks_blocked()
    assert done == [0, 1, 2]
