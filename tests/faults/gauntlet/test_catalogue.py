"""The catalogue: well-formed, and every trial can be passed."""

import re

import pytest

from moored.faults.gauntlet import GiveUp, Survive, catalogue
from moored.faults.gauntlet.contract import CONNECT_TIMEOUT, backoff
from moored.faults.gauntlet.trial import for_transport
from moored.faults.gauntlet.trials.places import event, frame_bytes, sse_bytes

TRIALS = catalogue()


def test_there_are_enough_and_each_has_its_own_name():
    names = [trial.name for trial in TRIALS]
    assert len(set(names)) == len(names) >= 40
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(len(name) <= 30 for name in names)  # the table has that much room
    assert len({trial.title for trial in TRIALS}) == len(names)


def test_one_is_without_faults():
    assert [trial.name for trial in TRIALS if not trial.schedule] == ["calm"]


@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_a_whole_run_stays_short(transport):
    """At the worst, with four at a time, and with a client that hangs in every trial."""
    trials = for_transport(TRIALS, transport)
    assert len(trials) >= 40
    assert sum(trial.limit for trial in trials) / 4 < 300


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_each_trial_can_be_passed_in_time(trial):
    feed = trial.count * trial.pace
    if isinstance(trial.expect, Survive):
        assert feed + trial.expect.ideal + CONNECT_TIMEOUT < trial.limit / 2
    else:
        assert isinstance(trial.expect, GiveUp)
        assert trial.expect.within < trial.limit
        assert trial.schedule[-1].times is None  # the final answer stays the same


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_faults_that_should_be_survived_come_to_an_end(trial):
    if trial.survivable:
        for fault in trial.schedule:
            assert fault.times is not None or fault.connection is not None


def test_a_seed_decides_what_is_random():
    assert catalogue(1) == catalogue(1)
    changed = [a.name for a, b in zip(catalogue(1), catalogue(2), strict=True) if a != b]
    assert changed
    assert all(name.startswith("random-") for name in changed)


def test_places_in_the_feed():
    first = b'id: 1\ndata: {"id":1,"text":"message 1"}\n\n'
    assert event(1) == first
    assert sse_bytes(1) == len(b"retry: 200\n" + first)
    assert sse_bytes(10) - sse_bytes(0) == 10 * len(first) + 3  # the 10 stands there three times
    assert frame_bytes(2) == 2 * (2 + len('{"id":1,"text":"message 1"}'))


def test_backoff():
    assert backoff(0) == 0
    assert backoff(3) == pytest.approx((0.2 + 0.4 + 0.8) / 2)
    assert backoff(5) - backoff(4) == 0.5
