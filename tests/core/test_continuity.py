"""Positions and repetitions, without a stream."""

import pytest

from moored.core.continuity import Continuity


def by_number(message):
    return message.get("n")


def admit(continuity, messages):
    """What is new, without the positions, and whether the position moved."""
    new = []
    advanced = continuity.admit(messages, new)
    return [message for message, _ in new], advanced


def test_messages_without_a_cursor_are_all_new():
    continuity = Continuity(by_number)

    assert admit(continuity, [{}, {}]) == ([{}, {}], False)
    assert continuity.position is None
    assert continuity.duplicates == 0


def test_a_cursor_moves_the_position():
    continuity = Continuity(by_number)

    new, advanced = admit(continuity, [{"n": 1}, {"n": 2}, {}])

    assert new == [{"n": 1}, {"n": 2}, {}]
    assert advanced
    assert continuity.position == 2


def test_a_repetition_is_left_out_and_moves_nothing():
    continuity = Continuity(by_number)
    admit(continuity, [{"n": 1}, {"n": 2}])

    assert admit(continuity, [{"n": 1}, {"n": 2}]) == ([], False)
    assert continuity.position == 2
    assert continuity.duplicates == 2


def test_a_repetition_within_one_read_is_left_out():
    continuity = Continuity(by_number)

    assert admit(continuity, [{"n": 1}, {"n": 1}]) == ([{"n": 1}], True)


def test_no_order_is_assumed():
    """A message that comes late is not lost: positions are compared for equality only."""
    continuity = Continuity(by_number)

    new, _ = admit(continuity, [{"n": 1}, {"n": 3}, {"n": 2}])

    assert [message["n"] for message in new] == [1, 3, 2]
    assert continuity.position == 2


@pytest.mark.parametrize(("one", "other"), [(-1, -2), ("a", "b"), ("x" * 99, "y" * 99), (1, "1")])
def test_different_cursors_are_never_taken_for_the_same(one, other):
    """hash(-1) == hash(-2) in Python, so the hash alone would lose a message."""
    continuity = Continuity(by_number)

    new, _ = admit(continuity, [{"n": one}, {"n": other}])

    assert len(new) == 2
    assert continuity.duplicates == 0


def test_the_memory_is_bounded_and_forgets_the_oldest():
    continuity = Continuity(by_number, remembered=10)
    admit(continuity, [{"n": n} for n in range(11)])

    assert admit(continuity, [{"n": 0}])[0] == [{"n": 0}]
    assert admit(continuity, [{"n": 10}])[0] == []


def test_it_begins_where_it_is_told():
    assert Continuity(by_number, 7).position == 7


def test_a_cursor_that_cannot_be_compared_is_the_callers_error():
    with pytest.raises(TypeError):
        admit(Continuity(by_number), [{"n": []}])


def test_each_message_has_the_position_after_it():
    new = []
    Continuity(by_number, 0).admit([{}, {"n": 1}, {}, {"n": 2}], new)

    assert [position for _, position in new] == [0, 1, 1, 2]


def test_what_came_before_a_cursor_that_raises_is_new_all_the_same():
    new = []
    with pytest.raises(AttributeError):
        Continuity(by_number).admit([{"n": 1}, {"n": 2}, "no mapping", {"n": 3}], new)

    assert new == [({"n": 1}, 1), ({"n": 2}, 2)]


def test_of_one_connection_only_what_came_on_an_earlier_one_is_a_repetition():
    """Servers give several events one id; "ha ha" must not become "ha"."""
    continuity = Continuity(by_number, identity_of=str, within=False)
    continuity.next_connection()
    assert admit(continuity, [{"n": 1}, {"n": 1}])[0] == [{"n": 1}, {"n": 1}]
    continuity.next_connection()
    assert admit(continuity, [{"n": 1}, {"n": 1}, {"n": 2}, {"n": 2}])[0] == [{"n": 2}, {"n": 2}]
    assert continuity.duplicates == 2
