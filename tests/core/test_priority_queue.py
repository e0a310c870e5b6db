"""The queue, against a sorted list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.core.priority_queue import PriorityQueue

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 5)),
        st.tuples(st.just("pop"), st.just(0)),
        st.tuples(st.just("discard"), st.integers(0, 100)),
    ),
    max_size=80,
)


@given(STEPS)
def test_it_is_a_sorted_list_from_which_any_can_be_taken(steps):
    queue = PriorityQueue()
    entries = []
    model = []
    for number, (what, value) in enumerate(steps):
        if what == "push":
            entries.append((queue.push(number, value), number))
            model.append((value, number))
        elif what == "pop" and model:
            model.sort()
            assert queue.pop() == model.pop(0)[1]
        elif what == "pop":
            with pytest.raises(IndexError):
                queue.pop()
        elif entries:  # also one that is there no more
            entry, item = entries[value % len(entries)]
            queue.discard(entry)
            model = [each for each in model if each[1] != item]
        assert len(queue) == len(model)
    assert [queue.pop() for _ in model] == [item for _, item in sorted(model)]


def test_the_memory_of_those_who_gave_up_is_bounded():
    queue = PriorityQueue()
    for number in range(1000):
        queue.discard(queue.push(number, number))
    assert len(queue) == 0
    assert len(queue._heap) < 20
