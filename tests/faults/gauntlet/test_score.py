"""Scoring: made-up records in, scores out."""

import time
from email.utils import formatdate

import attrs
import pytest

from moored.faults import ConnectionRecord, Cut, Injected, Refuse, SwallowPings
from moored.faults.gauntlet import ClientRun, GiveUp, Line, Survive, TrialRecord, score, total
from moored.faults.gauntlet.measure import busiest_second, printed, recovery_time

CUT = Cut(after_messages=2, times=1)
FINAL = Refuse(status=401)
START = 100.0


def lines(*texts, at=START + 1, every=0.1):
    return tuple(Line(at + every * n, str(text)) for n, text in enumerate(texts))


def ran(*texts, status=0, end="exit", seconds=3.0, every=0.1):
    given = texts if texts and isinstance(texts[0], Line) else lines(*texts, every=every)
    return ClientRun(given, end, status, START, START + seconds)


def connected(*times, outcome="complete"):
    """Connections accepted so many seconds after the start; all but the last are cut."""
    return tuple(
        ConnectionRecord(
            number,
            START + at,
            ended=START + at + 0.1,
            outcome=outcome if number == len(times) else "cut",
        )
        for number, at in enumerate(times, 1)
    )


def struck(fault=CUT, at=1.15, connection=1):
    return Injected(fault, connection, START + at, "after 2 messages")


@pytest.fixture
def record(trial):
    def make(run, connections=None, injected=None, clock=0.0, **changes):
        return TrialRecord(
            trial=trial(**changes),
            transport="sse",
            run=run,
            connections=connected(1, 1.15) if connections is None else connections,
            injected=(struck(),) if injected is None else injected,
            clock=clock,
        )

    return make


def test_all_is_well(record):
    got = score(record(ran(1, 2, 3, 4, 5)))
    assert (got.ok, got.verdict, got.points) == (True, "survived", 100)
    assert got.recovery == pytest.approx(0.05)
    assert (got.connections, got.gave_up, got.count.exact) == (2, None, True)


@pytest.mark.parametrize(
    ("texts", "verdict", "points"),
    [
        ((1, 2, 4, 5), "1 lost", 24),
        ((1, 2, 2, 3, 4, 5), "1 duplicated", 24),
        ((1, 2, 4, 3, 5), "1 out of order", 24),
        ((1, 2, 3, 4, 5, 6, 6), "1 past the end", 24),
        ((1, 2, 1, 2, 3), "2 lost, 2 duplicated", 6),
        ((), "5 lost", 0),
        ((1, 2, 3, 4, 5, 6), "survived", 100),  # the end message's own id
        ((1, 2, "", 3, 4, 5), "survived", 100),
    ],
)
def test_what_became_of_the_messages(record, texts, verdict, points):
    got = score(record(ran(*texts)))
    assert got.verdict == verdict
    assert got.ok is (verdict == "survived")
    assert got.points == pytest.approx(points)


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (ran(1, 2, end="time limit", status=None), "still running after 10 s"),
        (ran(1, 2, end="flood", status=None), "flooded its output"),
        (ran(1, 2, end="long line", status=None), "printed an endless line"),
        (ran(end="not started", status=None), "could not be started"),
        (ran(1, 2, status=1), "gave up (status 1)"),
        (ran(1, 2, 3, 4, 5, status=-11), "died of signal 11"),
        (ran(1, 2, "hello", 3, 4, 5), "printed what is no id: 'hello'"),
        (ran(1, 2, "-3", 3, 4, 5), "printed what is no id: '-3'"),
        (ran(1, "02", 3, 4, 5), "printed what is no id: '02'"),
        (ran(1, 2, "+3", 4, 5), "printed what is no id: '+3'"),
        (ran("Traceback", status=-6), "died of signal 6"),
        (ran(1, 2, "٣", 4, 5), "printed what is no id: '٣'"),
    ],
)
def test_what_counts_for_nothing(record, run, verdict):
    got = score(record(run))
    assert (got.ok, got.verdict, got.points) == (False, verdict, 0)


def test_who_invents_the_messages_gets_nothing(record):
    got = score(record(ran(1, 2, 3, 4, 5), connections=(), injected=()))
    assert (got.ok, got.verdict, got.points) == (False, "never connected", 0)


def test_who_dies_before_it_connects_is_told_so(record):
    got = score(record(ran(status=-11), connections=(), injected=()))
    assert (got.ok, got.verdict, got.points) == (False, "died of signal 11", 0)


def test_who_does_not_meet_the_fault_gets_nothing(record):
    got = score(record(ran(1, 2, 3, 4, 5), connections=connected(1), injected=()))
    assert (got.ok, got.verdict, got.points) == (False, "came through without meeting the fault", 0)


def test_who_leaves_early_is_told_what_is_lost(record):
    got = score(record(ran(1), connections=connected(1), injected=()))
    assert (got.ok, got.verdict, got.points) == (False, "4 lost", pytest.approx(6))


def test_who_gives_up_too_soon_gets_nothing(record):
    refused = connected(1, outcome="refused")
    got = score(record(ran(status=1), refused, (), schedule=(CUT, FINAL), expect=GiveUp()))
    assert (got.ok, got.verdict, got.points) == (False, "gave up before it had to", 0)


def test_without_faults_there_is_nothing_to_recover_from(record):
    got = score(record(ran(1, 2, 3, 4, 5), connected(1), (), schedule=()))
    assert (got.ok, got.points, got.recovery, got.ideal) == (True, 100, None, None)


@pytest.mark.parametrize(("ideal", "recovery", "points"), [(0, 1, 20), (0, 4, 5), (3, 4, 20)])
def test_slow_recovery_costs_points(record, ideal, recovery, points):
    run = ran(*lines(1, 2), *lines(3, 4, 5, at=START + 1.15 + recovery))
    got = score(record(run, expect=Survive(ideal=ideal)))
    assert got.recovery == pytest.approx(recovery)
    assert got.points == pytest.approx(80 + points)


def test_a_message_that_was_on_its_way_is_no_recovery(record):
    # 2 comes 0.05 s after the cut, and 3 on the next connection.
    run = ran(*lines(1, 2, at=START + 1.1), *lines(3, 4, 5, at=START + 2))
    assert recovery_time(record(run, connected(1, 1.9))) == pytest.approx(0.85)


def test_a_repetition_is_no_recovery(record):
    run = ran(*lines(1, 2), *lines(1, 2, 3, 4, 5, at=START + 2, every=0.5))
    assert recovery_time(record(run)) == pytest.approx(1.85)


def test_a_fault_after_the_last_message_is_recovered_from_by_the_end(record):
    got = record(ran(1, 2, 3, 4, 5), injected=(struck(at=1.9),), connections=connected(1, 2.5))
    assert recovery_time(got) == pytest.approx(1.1)


def test_a_fault_without_recovery(record):
    assert recovery_time(record(ran(1, 2, status=1), connections=connected(1))) is None


def test_the_longest_recovery_counts(record):
    injected = (struck(at=1.15), struck(at=1.35, connection=2))
    run = ran(*lines(1, 2, at=START + 1), *lines(3, at=START + 1.3), *lines(4, 5, at=START + 2))
    got = record(run, connections=connected(1, 1.2, 1.5), injected=injected)
    assert recovery_time(got) == pytest.approx(0.65)


def test_what_ends_no_connection_is_recovered_from_by_the_next_message(record):
    got = record(ran(1, 2, 3, 4, 5), connections=connected(1), injected=(struck(at=1.15),))
    assert recovery_time(got) == pytest.approx(0.05)


def test_too_eager(record):
    eager = record(ran(1, 2, 3, 4, 5), connected(*(1 + n / 10 for n in range(9))))
    got = score(eager)
    assert (got.busiest_second, got.too_eager, got.points) == (9, True, 90)
    assert got.ok  # it is no reason to fail
    calm = record(ran(1, 2, 3, 4, 5), connected(*(1 + n / 5 for n in range(8))))
    assert busiest_second(calm) == 5
    assert not score(calm).too_eager


def test_following_redirects_is_not_too_eager(record):
    connections = [attrs.evolve(each, status=307) for each in connected(*[1] * 8)]
    assert busiest_second(record(ran(), tuple(connections))) == 1


def test_a_fault_that_the_client_never_called_for_is_no_matter(record):
    schedule = (SwallowPings(),)
    got = score(record(ran(1, 2, 3, 4, 5), connected(1), (), schedule=schedule))
    assert (got.ok, got.points) == (True, 100)


@pytest.mark.parametrize(
    ("retry_after", "after", "ignored"),
    [
        (1, 0.5, 1),
        (1, 1.0, 0),
        (1, 0.95, 0),  # clocks are read at two ends
        ("1", 0.5, 1),
        (31_536_000, 3.0, 0),  # nobody has to wait for a year
        ("soon", 0.1, 0),
        (None, 0.1, 0),
    ],
)
def test_retry_after(record, retry_after, after, ignored):
    refusal = Refuse(retry_after=retry_after, times=1)
    got = score(
        record(
            ran(1, 2, 3, 4, 5),
            connected(0.9, 0.9 + after),
            (struck(refusal, at=0.9),),
            schedule=(refusal,),
        )
    )
    assert got.retry_after_ignored == ignored
    assert got.ok


@pytest.mark.parametrize(("after", "ignored"), [(0.5, 1), (2.1, 0)])
def test_retry_after_as_a_date(record, after, ignored):
    now = int(time.time())
    refusal = Refuse(retry_after=formatdate(now + 2, usegmt=True), times=1)
    got = record(
        ran(1, 2, 3, 4, 5),
        connected(0.9, 0.9 + after),
        (struck(refusal, at=0.9),),
        clock=now - (START + 0.9),
        schedule=(refusal,),
    )
    assert score(got).retry_after_ignored == ignored


@pytest.fixture
def final(record):
    """A trial that should be given up."""

    def make(run, refusals=1, **changes):
        return record(
            run,
            connected(*range(1, refusals + 1), outcome="refused"),
            tuple(struck(FINAL, at=n, connection=n) for n in range(1, refusals + 1)),
            **({"schedule": (FINAL,), "expect": GiveUp(attempts=1, within=2)} | changes),
        )

    return make


def test_giving_up(final):
    got = score(final(ran(status=1, seconds=1.2)))
    assert (got.ok, got.verdict, got.gave_up, got.points) == (True, "gave up", True, 100)
    assert (got.recovery, got.ideal, got.count.lost) == (None, None, 0)


@pytest.mark.parametrize(
    ("run", "refusals", "verdict", "points"),
    [
        (ran(status=1, seconds=2.5), 2, "gave up after 2 attempts", 80),
        (ran(status=1, seconds=4), 1, "gave up after 3.0 s", 80),
        (ran(1, 3, status=1, seconds=1.2), 1, "gave up, messages wrong", 20),
        (ran(1, 2, 2, status=1, seconds=1.2), 1, "gave up, messages wrong", 15),
    ],
)
def test_giving_up_badly(final, run, refusals, verdict, points):
    got = score(final(run, refusals))
    assert (got.ok, got.verdict) == (False, verdict)
    assert got.points == pytest.approx(points)


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (ran(status=0), "exited with 0, as if it had seen the end"),
        (ran(status=None, end="time limit"), "still running after 10 s"),
    ],
)
def test_not_giving_up(final, run, verdict):
    got = score(final(run))
    assert (got.ok, got.verdict, got.gave_up, got.points) == (False, verdict, False, 0)


def test_what_came_before_giving_up_has_to_be_right(final):
    assert score(final(ran(1, 2, 3, status=1, seconds=1.2))).ok


def test_the_output_is_read(record):
    got = printed(record(ran("1", "2", "", "x", "y", "6")))
    assert [number for _, number in got.ids] == [1, 2]
    assert got.junk == "x"


def test_the_total(record, final):
    scores = [
        score(record(ran(1, 2, 3, 4, 5))),
        score(record(ran(1, 2, 2, 4, 5))),
        score(final(ran(status=1, seconds=1.2))),
        score(final(ran(status=0))),
    ]
    got = total(scores)
    assert not got.ok
    assert got.points == pytest.approx((100 + 18 + 100 + 0) / 4)
    assert (got.survived, got.survivable, got.gave_up, got.final) == (1, 2, 1, 2)
    assert (got.lost, got.duplicated, got.disordered) == (1, 1, 0)
    assert total(scores[::2]).ok
    assert not total([]).ok


def test_what_nobody_had_sent_cannot_have_been_received(record):
    honest = record(ran(1, 2, 3, 4, 5))
    assert score(attrs.evolve(honest, sent_up_to=5)).ok
    got = score(attrs.evolve(honest, sent_up_to=2))
    assert (got.ok, got.points, got.verdict) == (False, 0, "printed 3 ids that nobody had sent")


@pytest.mark.parametrize("sent_up_to", [5, None])
@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        ((1, 2, 3, 4, 5, 999), "printed 1 id that nobody had sent"),
        ((1, 2, 3, 4, 5, 7), "printed 1 id that nobody had sent"),
        ((0, 1, 2, 3, 4, 5, 0), "printed 2 ids that nobody had sent"),
    ],
)
def test_what_is_not_in_the_feed_cannot_have_been_received(record, texts, verdict, sent_up_to):
    got = score(attrs.evolve(record(ran(*texts)), sent_up_to=sent_up_to))
    assert (got.ok, got.points, got.verdict) == (False, 0, verdict)


def test_what_is_not_in_the_feed_counts_for_nothing_when_giving_up_too(final):
    got = score(final(ran(999, status=1, seconds=1.2)))
    assert (got.ok, got.points, got.verdict) == (False, 0, "printed 1 id that nobody had sent")


@pytest.mark.parametrize(
    ("changes", "points"),
    [
        ({"sent_up_to": 5}, 100),
        ({"sent_up_to": 4}, 0),  # nobody had come to it
        ({"transport": "websocket"}, 0),  # whose end message has no id
    ],
)
def test_the_id_of_the_end_message_is_no_invention_where_it_was_sent(record, changes, points):
    assert score(attrs.evolve(record(ran(1, 2, 3, 4, 5, 6)), **changes)).points == points


def test_dying_of_a_signal_is_no_way_to_give_up(record):
    run = ran(status=-11)
    final = record(
        run,
        connections=connected(1),
        injected=(struck(FINAL),),
        schedule=(FINAL,),
        expect=GiveUp(),
    )
    got = score(final)
    assert (got.ok, got.points, got.verdict) == (False, 0, "died of signal 11")


@pytest.mark.parametrize(
    ("transports", "verdict"),
    [
        (["http"], "never asked for a WebSocket"),
        (["sse", "http"], "never asked for a WebSocket"),
        (["", "websocket"], "survived"),
        (["", ""], "survived"),  # refused before they could ask
    ],
)
def test_a_websocket_trial_takes_a_websocket(record, transports, verdict):
    connections = tuple(
        attrs.evolve(each, transport=transport)
        for each, transport in zip(connected(1, 1.15), transports, strict=False)
    )
    got = score(attrs.evolve(record(ran(1, 2, 3, 4, 5), connections), transport="websocket"))
    assert got.verdict == verdict
