"""Counting: values in, values out."""

import pytest

from moored.faults.counting import Count, count_numbers


@pytest.mark.parametrize(
    ("seen", "facts"),
    [
        ([1, 2, 3, 4], {}),
        ([], {"lost": 4}),
        ([1, 2, 4], {"lost": 1}),
        ([1, 2, 2, 2, 3, 4], {"duplicated": 2}),
        ([1, 3, 2, 4], {"disordered": 1}),
        ([4, 3, 2, 1], {"disordered": 3}),
        # A replay from the start is duplication, not disorder.
        ([1, 2, 1, 2, 3, 4], {"duplicated": 2}),
        ([1, 2, 3, 4, 5, 9, 9], {"unexpected": 3}),
        ([0, 1, 1, 3], {"unexpected": 1, "duplicated": 1, "lost": 2}),
    ],
)
def test_numbers(seen, facts):
    count = count_numbers(range(1, 5), seen)
    assert count == Count(expected=4, received=len(seen), **facts)
    assert count.exact is not bool(facts)


def test_counts_add_up():
    assert Count(4, 3, lost=1) + Count(2, 3, duplicated=1) == Count(6, 6, lost=1, duplicated=1)
