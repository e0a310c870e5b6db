"""The timeline: made-up records in, places out."""

import pytest

from moored.cli.gauntlet.timeline import LEFT, MAX_LANES, WIDTH, timeline
from moored.faults import ConnectionRecord, Cut, Injected
from moored.faults.gauntlet import ClientRun, Line, Survive, Trial, TrialRecord, score

CUT = Cut(after_messages=1, times=1)


def drawn(lines=(), connections=(), injected=(), seconds=10.0):
    trial = Trial(name="t", title="t", layer="tcp", schedule=(CUT,), expect=Survive(), count=3)
    run = ClientRun(
        tuple(Line(100.0 + at, str(id_)) for at, id_ in lines), "exit", 0, 100.0, 100.0 + seconds
    )
    record = TrialRecord(
        trial=trial,
        transport="sse",
        run=run,
        connections=tuple(connections),
        injected=tuple(injected),
    )
    return timeline(score(record))


def connection(number, start, end=None, outcome="cut"):
    ended = None if end is None else 100.0 + end
    return ConnectionRecord(number, 100.0 + start, ended=ended, outcome=outcome)


def test_everything_is_at_its_time():
    got = drawn(
        lines=[(1, 1), (5, 2), (6, 2), (7, 3)],
        connections=[connection(1, 0, 2.5), connection(2, 5, None, "")],
        injected=[Injected(CUT, 1, 102.5, "after 1 messages")],
    )
    first, second = got.bars
    assert (first.x, first.width, first.kind) == (LEFT, WIDTH / 4, "bad")
    assert (second.x, second.width, second.kind) == (LEFT + WIDTH / 2, WIDTH / 2, "open")
    assert second.y > first.y
    (fault,) = got.faults
    assert (fault.x, fault.y) == (LEFT + WIDTH / 4, first.y)
    assert fault.title == "2.50 s: Cut(times=1, after_messages=1) after 1 messages"
    assert [(mark.x, mark.kind) for mark in got.messages] == [
        (LEFT + WIDTH * 0.1, "message"),
        (LEFT + WIDTH * 0.5, "message"),
        (LEFT + WIDTH * 0.6, "repeated"),
        (LEFT + WIDTH * 0.7, "message"),
    ]
    assert got.ticks[:2] == ((LEFT, "0 s"), (LEFT + WIDTH / 10, "1 s"))
    assert (got.end_x, got.omitted) == (LEFT + WIDTH, 0)


@pytest.mark.parametrize(
    ("outcome", "kind", "label"),
    [
        ("complete", "good", "complete"),
        ("refused", "refused", "refused None"),
        ("client left", "bad", "client left"),
        ("proxy closed", "open", "proxy closed"),
        ("", "open", "open"),
    ],
)
def test_what_became_of_a_connection(outcome, kind, label):
    (bar,) = drawn(connections=[connection(1, 1, 2, outcome)]).bars
    assert (bar.kind, bar.label) == (kind, label)


def test_a_storm_of_connections_is_cut_short():
    got = drawn(
        connections=[connection(n, 1, 2) for n in range(1, 101)],
        injected=[Injected(CUT, n, 101.0, "") for n in (1, 100)],
    )
    assert (len(got.bars), got.omitted, len(got.faults)) == (MAX_LANES, 100 - MAX_LANES, 1)


def test_nothing_at_all_can_be_drawn():
    got = drawn(seconds=0.0)
    assert (got.bars, got.messages, got.end_x) == ((), (), LEFT)
