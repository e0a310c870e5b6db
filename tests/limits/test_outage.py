"""When a server that was lost is asked again."""

import pytest

from moored.limits.outage import FIRST_RETRY, LAST_RETRY, Outage

LOST = OSError("lost")


def look(outage, now):
    """Ask at ``now``, in vain."""
    assert outage.admits(now)
    outage.failed(LOST, now, looked=outage.asked())


def test_a_server_that_is_there_is_asked_by_all():
    outage = Outage()
    for _ in range(3):
        assert outage.admits(0.0)
        assert not outage.asked()
    assert not outage.lost
    assert not outage.answered()  # no news


def test_attempts_are_ever_further_apart_up_to_a_bound():
    outage, now, delays = Outage(), 100.0, []
    for _ in range(8):
        look(outage, now)
        delays.append(outage.retry_at - now)
        now = outage.retry_at
        assert not outage.admits(now - 0.001)
    assert delays == [FIRST_RETRY, 0.5, 1.0, 2.0, 4.0, LAST_RETRY, LAST_RETRY, LAST_RETRY]
    assert outage.answered()
    look(outage, now)
    assert outage.retry_at - now == FIRST_RETRY  # from the beginning


def test_several_that_failed_together_count_once():
    outage = Outage()
    assert outage.failed(LOST, 1.0, looked=False)
    for now in (1.1, 1.2):
        assert not outage.failed(OSError("another"), now, looked=False)
    assert (outage.error, outage.retry_at) == (LOST, 1.0 + FIRST_RETRY)


def test_one_looks_at_a_time():
    outage = Outage()
    look(outage, 0.0)
    assert outage.admits(1.0)
    assert outage.asked()
    assert not outage.admits(100.0)
    outage.failed(LOST, 1.0, looked=False)  # a straggler changes nothing
    assert not outage.admits(100.0)
    outage.gave_up()
    assert outage.admits(1.0)


@pytest.mark.parametrize("lost_before", [False, True])
def test_a_server_that_answers_with_errors_keeps_nobody_waiting(lost_before):
    outage = Outage()
    if lost_before:
        look(outage, 0.0)
        looked = outage.asked()
    else:
        looked = False
    outage.failed(LOST, 1.0, looked=looked, answers=True)
    for _ in range(3):
        assert outage.lost
        assert outage.admits(1.0)
        assert not outage.asked()
    look(outage, 2.0)  # until it answers no more
    assert outage.retry_at == 2.0 + FIRST_RETRY
