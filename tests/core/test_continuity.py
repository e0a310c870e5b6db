"""Positions and repetitions, without a stream."""

import pytest

from moored.core.continuity import REMEMBERED, Continuity


def by_number(message):
    return message.get("n")


def test_messages_without_a_cursor_are_all_new():
    continuity = Continuity(by_number)

    assert continuity.admit([{}, {}]) == ([{}, {}], False)
    assert continuity.position is None
    assert continuity.duplicates == 0


def test_a_cursor_moves_the_position():
    continuity = Continuity(by_number)

    new, advanced = continuity.admit([{"n": 1}, {"n": 2}, {}])

    assert new == [{"n": 1}, {"n": 2}, {}]
    assert advanced
    assert continuity.position == 2


def test_a_repetition_is_left_out_and_moves_nothing():
    continuity = Continuity(by_number)
    continuity.admit([{"n": 1}, {"n": 2}])

    assert continuity.admit([{"n": 1}, {"n": 2}]) == ([], False)
    assert continuity.position == 2
    assert continuity.duplicates == 2


def test_a_repetition_within_one_read_is_left_out():
    continuity = Continuity(by_number)

    assert continuity.admit([{"n": 1}, {"n": 1}]) == ([{"n": 1}], True)


def test_no_order_is_assumed():
    """A message that comes late is not lost: positions are compared for equality only."""
    continuity = Continuity(by_number)

    new, _ = continuity.admit([{"n": 1}, {"n": 3}, {"n": 2}])

    assert [message["n"] for message in new] == [1, 3, 2]
    assert continuity.position == 2


@pytest.mark.parametrize(("one", "other"), [(-1, -2), ("a", "b"), ("x" * 99, "y" * 99), (1, "1")])
def test_different_cursors_are_never_taken_for_the_same(one, other):
    """hash(-1) == hash(-2) in Python, so the hash alone would lose a message."""
    continuity = Continuity(by_number)

    new, _ = continuity.admit([{"n": one}, {"n": other}])

    assert len(new) == 2
    assert continuity.duplicates == 0


def test_the_memory_is_bounded_and_forgets_the_oldest():
    continuity = Continuity(by_number)
    continuity.admit([{"n": n} for n in range(REMEMBERED + 1)])

    assert continuity.admit([{"n": 0}])[0] == [{"n": 0}]
    assert continuity.admit([{"n": REMEMBERED}])[0] == []


def test_it_begins_where_it_is_told():
    assert Continuity(by_number, 7).position == 7


def test_a_cursor_that_cannot_be_compared_is_the_callers_error():
    with pytest.raises(TypeError):
        Continuity(by_number).admit([{"n": []}])
