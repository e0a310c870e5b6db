import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.faults import CloseFrame, CommentsOnly, Cut, Refuse, Stall
from moored.faults.aim import Aim
from moored.faults.scanners import EventScanner, FrameScanner, PlainScanner

EVENTS = b"".join(b"data: %d\n\n" % n for n in range(10))  # 9 bytes each


def started(*schedule, number=1, path="/", scanner=None, framed=False, seed=0):
    aim = Aim(schedule, seed).connection(number)
    assert aim.request(path) is None
    assert aim.begin(scanner or EventScanner(), framed=framed) is None
    return aim


def feed(aim, data, size):
    """Feed ``data`` in pieces; returns how many bytes passed, and what struck."""
    passed = 0
    for at in range(0, len(data), size):
        step = aim.advance(data[at : at + size])
        passed += step.forward
        if step.fault:
            return passed, step.fault
    return passed, None


@pytest.mark.parametrize("size", [1, 2, 7, 9, 10, 1000])
@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        (Cut(after_messages=1), 9),
        (Cut(after_messages=3), 27),
        (Cut(after_messages=10), 90),
        (Cut(after_bytes=1), 1),
        (Cut(after_bytes=30), 30),
        (Cut(after_bytes=90), 90),
        (Stall(after_messages=2), 18),
        (Stall(after_bytes=20), 20),
    ],
)
def test_a_fault_strikes_at_the_same_byte_however_the_bytes_come(fault, passes, size):
    aim = started(fault)
    assert feed(aim, EVENTS, size) == (passes, fault)
    assert aim.bytes == passes
    assert aim.messages == passes // 9


@pytest.mark.parametrize("fault", [Cut(after_messages=11), Cut(after_bytes=91)])
def test_a_fault_behind_the_end_does_not_strike(fault):
    assert feed(started(fault), EVENTS, 7) == (90, None)


@pytest.mark.parametrize("fault", [Cut(after_messages=0), Stall(after_bytes=0)])
def test_zero_is_before_any_payload(fault):
    aim = Aim([fault]).connection(1)
    aim.request("/")
    assert aim.begin(PlainScanner()) is fault


def test_the_first_to_come_strikes_whatever_its_place():
    late, early = Cut(after_messages=5), Stall(after_bytes=12)
    assert feed(started(late, early), EVENTS, 1000) == (12, early)
    first, second = Cut(after_messages=1), Cut(after_bytes=9)
    assert feed(started(first, second), EVENTS, 1000) == (9, first)
    assert feed(started(second, first), EVENTS, 1000) == (9, second)


def test_refusals_come_in_order_each_as_often_as_it_may():
    aim = Aim([Refuse(times=2), Refuse(status=503, times=1), Cut(after_messages=1)])
    refusals = [aim.connection(number).request("/") for number in range(1, 6)]
    assert [refusal and refusal.status for refusal in refusals] == [429, 429, 503, None, None]


def test_times_count_what_struck_not_what_was_armed():
    fault = Cut(after_messages=2, times=1)
    aim = Aim([fault])
    one, two = aim.connection(1), aim.connection(2)
    for each in (one, two):
        each.request("/")
        each.begin(EventScanner())
        assert each.advance(b"data: x\n\n").fault is None
    assert two.advance(b"data: x\n\n").fault is fault
    assert one.advance(b"data: x\n\n").fault is None
    assert one.messages == 2


def test_only_the_connections_aimed_at_are_struck():
    schedule = [Cut(after_messages=1, connection=[2, 4])]
    struck = [feed(started(*schedule, number=n), EVENTS, 99)[1] is not None for n in range(1, 6)]
    assert struck == [False, True, False, True, False]


def test_only_the_paths_aimed_at_are_struck():
    fault = Cut(after_messages=1, path="/feed")
    assert feed(started(fault, path="/feed/1"), EVENTS, 99)[1] is fault
    assert feed(started(fault, path="/chat"), EVENTS, 99)[1] is None
    assert Aim([Refuse(path="/chat")]).connection(1).request("/feed") is None


def test_a_probability_is_a_share_that_the_seed_decides():
    def struck(seed):
        aim = Aim([Refuse(probability=0.5)], seed)
        return [aim.connection(n).request("/") is not None for n in range(1, 41)]

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert 8 < sum(struck(1)) < 32


def test_timed_faults_are_told_when_their_path_is_known():
    anywhere = Cut(after_seconds=2)
    here, there = Stall(after_seconds=1, path="/a"), Stall(after_seconds=1, path="/b")
    aim = Aim([anywhere, here, there, Cut(after_messages=1)]).connection(1)
    assert aim.timed(with_path=False) == [(0, anywhere, 2)]
    aim.request("/a")
    assert aim.timed(with_path=True) == [(1, here, 1)]


@pytest.mark.parametrize(
    ("schedule", "counts"),
    [
        ([], False),
        ([Cut(after_bytes=5)], False),
        ([Cut(after_messages=0)], False),
        ([Cut(after_messages=1)], True),
        ([Cut(after_messages=1, path="/x")], False),
    ],
)
def test_it_tells_whether_messages_must_be_readable(schedule, counts):
    aim = Aim(schedule).connection(1)
    aim.request("/")
    assert aim.counts_messages is counts


@given(st.integers(1, 60), st.integers(1, 40))
def test_a_stall_that_answers_pings_ends_between_frames(make_frame, after, size):
    frames = [make_frame(1, b"x" * n) for n in (0, 3, 10, 20, 30)]
    edges = list(itertools.accumulate(len(frame) for frame in frames))
    fault = Stall(after_bytes=after)
    aim = started(fault, scanner=FrameScanner(), framed=True)
    passed, struck = feed(aim, b"".join(frames), size)
    assert struck is fault
    assert passed == next(edge for edge in edges if edge >= after)
    swallowing = started(
        Stall(after_bytes=after, pings="swallowed"), scanner=FrameScanner(), framed=True
    )
    assert feed(swallowing, b"".join(frames), size)[0] == after


def test_a_cut_may_come_before_the_end_of_the_frame_that_a_stall_waits_for(make_frame):
    cut = Cut(after_bytes=20)
    aim = started(Stall(after_bytes=5), cut, scanner=FrameScanner(), framed=True)
    assert feed(aim, make_frame(1, bytes(100)), 3) == (20, cut)


def test_a_stall_from_outside_waits_for_the_end_of_the_frame_only_if_it_answers(make_frame):
    answering, swallowing = Stall(after_seconds=0), Stall(after_seconds=0, pings="swallowed")
    data = make_frame(1, bytes(10))
    aim = started(scanner=FrameScanner(), framed=True)
    assert aim.hold(answering, sending=False)
    assert not aim.hold(answering, sending=True)
    assert aim.release() is answering
    aim = started(scanner=FrameScanner(), framed=True)
    aim.advance(data[:5])
    assert aim.hold(swallowing, sending=False)
    assert not aim.hold(answering, sending=False)
    assert aim.release() is None
    assert aim.advance(data[5:] + data) == (7, answering)
    body = started(scanner=EventScanner())
    body.advance(b"data")
    assert body.hold(answering, sending=True)


def attempts(aim, *paths):
    return [aim.connection(n).request(path) is not None for n, path in enumerate(paths, 1)]


def test_attempts_are_counted_for_each_path_by_itself():
    assert attempts(Aim([Refuse(attempt=2)]), "/a", "/b", "/a", "/a", "/b") == [
        False,
        False,
        True,
        False,
        True,
    ]
    schedule = [Refuse(attempt=(1, 3), path="/a")]
    assert attempts(Aim(schedule), "/a", "/b", "/a", "/a") == [True, False, False, True]


def test_the_paths_that_attempts_are_counted_for_are_bounded():
    aim = Aim([Refuse(attempt=2)])
    attempts(aim, "/first", *(f"/{n}" for n in range(10_000)))
    assert len(aim._attempts) == 10_000
    assert attempts(aim, "/first", "/9999") == [False, True]


def test_a_timed_fault_may_aim_at_an_attempt():
    fault = Cut(after_seconds=1, attempt=2)
    aim = Aim([fault])
    one, two = aim.connection(1), aim.connection(2)
    assert one.timed(with_path=False) == []
    one.request("/")
    two.request("/")
    assert one.timed(with_path=True) == []
    assert two.timed(with_path=True) == [(0, fault, 1)]


def test_what_the_client_sends_is_counted_by_itself():
    up, down = Cut(after_messages=1, direction="to_server"), Cut(after_messages=2)
    aim = started(up, down)
    assert aim.to_server.begin(EventScanner(), "sse") is None
    assert aim.advance(EVENTS[:9]).fault is None
    assert aim.to_server.advance(EVENTS[:9]).fault is up
    assert aim.advance(EVENTS[9:18]).fault is down
    assert aim.to_server.messages == 1


def test_each_kind_strikes_only_what_it_can():
    events, frames = CommentsOnly(after_messages=1), CloseFrame(after_messages=1)
    assert feed(started(frames, events), EVENTS, 99)[1] is events
    scanner = FrameScanner()
    assert feed(started(events, frames, scanner=scanner, framed=True), b"\x81\0", 9)[1] is frames
