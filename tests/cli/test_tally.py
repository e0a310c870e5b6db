"""Counting: values in, values out."""

import attrs
import pytest

from moored.cli.demo.scenario import scenario
from moored.cli.demo.tally import count_pieces, recovery_times
from moored.cli.demo.track import Journal, Track
from moored.cli.demo.verdict import Verdict, judge, missing_faults
from moored.faults import Cut, Injected, Refuse
from moored.faults.counting import Count, count_numbers


@pytest.mark.parametrize(
    ("seen", "facts"),
    [
        ("the boat and the line", {}),
        ("", {"lost": 5}),
        ("the boat", {"lost": 3}),
        ("boat and the line", {"lost": 1}),
        ("the boat and line", {"lost": 1}),
        ("the boat the boat and the line", {"duplicated": 2}),
        ("the boat and the whale line", {"unexpected": 1}),
        ("the boat and the wall", {"lost": 1, "unexpected": 1}),
    ],
)
def test_pieces_of_a_text(seen, facts):
    expected = ["the", "boat", "and", "the", "line"]
    count = count_pieces(expected, seen.split())
    assert count == Count(expected=5, received=len(seen.split()), **facts)
    assert count.exact is not bool(facts)


def test_a_swap_of_pieces_is_noticed():
    assert not count_pieces(["a", "b", "c"], ["b", "a", "c"]).exact


@pytest.mark.parametrize(
    ("faults", "opened", "arrivals", "times"),
    [
        ([], [0.0], [1.0], ()),
        ([2.0], [0.0, 3.0], [1.0, 3.5], (1.5,)),
        # What was on its way when the fault struck shows nothing.
        ([2.0], [0.0, 3.0], [1.0, 2.1, 3.5], (1.5,)),
        ([2.0], [0.0], [1.0, 2.1], (None,)),
        ([2.0], [0.0, 3.0], [1.0], (None,)),
        # Two faults before the next message: each waited for the same one.
        ([1.0, 2.0], [3.0], [4.0], (3.0, 2.0)),
        ([1.0, 5.0], [2.0, 6.0], [2.5, 7.0], (1.5, 2.0)),
        ([1.0, 5.0], [2.0], [2.5], (1.5, None)),
    ],
)
def test_time_to_recover(faults, opened, arrivals, times):
    assert recovery_times(faults, opened, arrivals) == times


def test_faults_that_never_came_are_missed():
    schedule = (Cut(after_messages=3, times=1), Refuse(times=2))
    cut, refusal = (Injected(fault, 1, 0.0, "") for fault in schedule)
    assert missing_faults(schedule, []) == 3
    assert missing_faults(schedule, [cut, refusal]) == 1
    assert missing_faults(schedule, [refusal, cut, refusal]) == 0
    assert missing_faults(schedule, [cut, cut, cut]) == 2


# ---------------------------------------------------------------------------- the verdict


def perfect():
    """A stream that went through all of its faults."""
    part = scenario()[0]
    track = Track(part, Journal(0.0, lambda happening: None))
    for at, fault in enumerate(part.schedule):
        track.injected.append(Injected(fault, at + 1, float(at), ""))
        track.opened.append(at + 0.5)
    track.received = [(9.0, number) for number in range(1, 61)]
    track.finished = True
    return track


def verdict_on(track):
    count = count_numbers(range(1, 61), [number for _, number in track.received])
    return Verdict((judge(track, count, started=0.0),), seed=1, recovery_enabled=True, seconds=9.0)


def test_a_perfect_run_passes():
    verdict = verdict_on(perfect())
    assert verdict.ok
    assert verdict.sentence == (
        "PASSED: 60 messages on 1 streams, 2 faults, nothing lost, nothing duplicated"
    )


def lose(track):
    del track.received[7]


def repeat(track):
    track.received.append(track.received[-1])


def disorder(track):
    track.received[3], track.received[4] = track.received[4], track.received[3]


def invent(track):
    track.received.append((9.0, 99))


def miss_a_fault(track):
    del track.injected[0]


def fail_to_recover(track):
    track.opened.clear()


def break_off(track):
    track.finished = False


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose, "1 of 60 messages lost"),
        (repeat, "1 duplicated"),
        (disorder, "1 out of order"),
        (invent, "1 unexpected"),
        (miss_a_fault, "1 faults never came about"),
        (fail_to_recover, "2 of 2 faults not recovered from"),
        (break_off, "a stream did not come to its end"),
    ],
)
def test_one_thing_wrong_fails_it(spoil, words):
    track = perfect()
    spoil(track)
    verdict = verdict_on(track)
    assert not verdict.ok
    assert verdict.sentence == f"FAILED: {words}"
    assert verdict.to_data()["ok"] is False


def test_no_streams_are_no_success():
    assert not Verdict((), seed=1, recovery_enabled=True, seconds=0.0).ok


def test_no_fault_of_the_scenario_relies_on_chance():
    for part in scenario():
        assert part.faults == sum(fault.times for fault in part.schedule) > 1
        assert all(fault.probability == 1 for fault in part.schedule)
        needed = sum(getattr(fault, "after_messages", 0) for fault in part.schedule)
        assert needed < part.count


def test_speed_leaves_the_faults_as_they_are():
    slow, fast = scenario(), scenario(speed=5)
    assert [part.schedule for part in slow] == [part.schedule for part in fast]
    assert [attrs.evolve(part, pace=0, policy=None) for part in slow] == [
        attrs.evolve(part, pace=0, policy=None) for part in fast
    ]
