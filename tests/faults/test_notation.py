import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored import faults
from moored.faults import (
    Cut,
    Refuse,
    ScheduleError,
    Stall,
    fault_from_dict,
    fault_to_dict,
    random_schedule,
    schedule_from,
    schedule_to_data,
)
from moored.faults.schedule import KINDS

counts = st.integers(0, 10**6)
seconds = st.floats(0, 1e6)
triggers = st.one_of(
    counts.map(lambda n: {"after_messages": n}),
    counts.map(lambda n: {"after_bytes": n}),
    seconds.map(lambda n: {"after_seconds": n}),
)
connections = st.one_of(
    st.none(),
    st.integers(1, 99),
    st.lists(st.integers(1, 99), min_size=1).map(tuple),
    st.builds(lambda a, b: range(a, a + b), st.integers(1, 99), st.integers(1, 99)),
    st.integers(1, 99).map(lambda a: range(a, sys.maxsize)),
)
aims = st.fixed_dictionaries(
    {},
    optional={
        "connection": connections,
        "times": st.integers(1, 9),
        "path": st.sampled_from(["/", "/feed"]),
        "probability": st.floats(0, 1),
    },
)
any_fault = st.one_of(
    st.builds(
        lambda t, a, how: Cut(**t, **a, how=how), triggers, aims, st.sampled_from(["fin", "rst"])
    ),
    st.builds(
        lambda t, a, pings: Stall(**t, **a, pings=pings),
        triggers,
        aims,
        st.sampled_from(["answered", "swallowed"]),
    ),
    st.builds(
        lambda a, status, after, headers, body: Refuse(
            **a, status=status, retry_after=after, headers=headers, body=body
        ),
        aims,
        st.integers(400, 599),
        st.one_of(st.none(), st.integers(0, 99), seconds, st.just("Wed, 21 Oct 2015 07:28:00 GMT")),
        st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["", "1", "a b"])),
        st.binary(max_size=9),
    ),
)


EXAMPLES = [
    Cut(at="inside_chunk", message=2, attempt=(1, 2)),
    Cut(after_bytes=3, direction="to_server"),
    Stall(at="before_done", attempt=range(2, 4)),
    Refuse(retry_after=3, retry_after_as="date", attempt=3),
    faults.SlowHead(seconds=3),
    faults.ContentType(content_type=""),
    faults.GzipCut(message=2),
    faults.CommentsOnly(after_messages=2, interval=15, comment="keep-alive"),
    faults.Duplicate(message=range(3, sys.maxsize), copies=2),
    faults.Drop(message=(1, 3), after_seconds=2.5),
    faults.Swap(message=1, direction="to_server"),
    faults.Spoil(message=4, how="utf8"),
    faults.Insert(message=1, data="a\nb", event="e", id=""),
    faults.ErrorEvent(shape="unnamed", type="t", text="x"),
    faults.RetryField(retry="soon"),
    faults.Oversized(size=2**40, payload="missing"),
    faults.WrongAccept(accept=""),
    faults.CloseFrame(after_messages=1, code=None),
    faults.CloseFrame(after_messages=1, code=0, reason="é"),
    faults.IgnoreClose(times=1),
    faults.SwallowPings(after_seconds=3),
    faults.LatePongs(seconds=2),
    faults.Masked(message=1),
    faults.ReservedBits(bits=7),
    faults.Fragment(parts=3, pause=0.5),
    faults.Down(how="fin", connection=3),
    faults.NeverAnswer(after_seconds=3, for_seconds=2),
    faults.HalfOpen(),
    faults.Latency(latency=0.5, jitter=0.25, direction="to_server"),
    faults.Bandwidth(rate=1000),
    faults.Slicer(average_size=10, size_variation=5, delay=0.01),
    faults.LimitData(bytes=100),
    faults.SlowClose(delay=2),
    faults.ResetPeer(timeout=1, path="/feed"),
    faults.Timeout(timeout=3),
    faults.Corrupt(share=0.1, offsets=[1, 2], seed=3),
]


@pytest.mark.parametrize("fault", EXAMPLES, ids=repr)
def test_each_kind_goes_through_json_and_back(fault):
    assert fault_from_dict(json.loads(json.dumps(fault_to_dict(fault)))) == fault


def test_there_is_an_example_of_each_kind():
    assert {example.kind for example in EXAMPLES} == set(KINDS)


def test_what_differs_from_the_default_by_being_none_is_kept():
    assert fault_to_dict(faults.CloseFrame(after_messages=1, code=None)) == {
        "fault": "close_frame",
        "after_messages": 1,
        "code": None,
    }


@given(st.lists(any_fault, max_size=4))
def test_a_schedule_goes_through_json_and_back(schedule):
    text = json.dumps(schedule_to_data(schedule), allow_nan=False)
    assert schedule_from(json.loads(text)) == tuple(schedule)


def test_a_plain_fault_holds_only_what_was_set():
    assert fault_to_dict(Cut(after_messages=3, how="rst", connection=1)) == {
        "fault": "cut",
        "connection": 1,
        "after_messages": 3,
        "how": "rst",
    }
    assert fault_to_dict(Refuse()) == {"fault": "refuse"}
    assert fault_to_dict(Stall(after_seconds=0, connection=range(2, 4))) == {
        "fault": "stall",
        "connection": {"from": 2, "to": 3},
        "after_seconds": 0,
    }


def test_values_and_plain_faults_may_be_mixed():
    cut = Cut(after_messages=1)
    assert schedule_from([cut, {"fault": "refuse", "times": 2}]) == (cut, Refuse(times=2))


def test_a_range_without_end_and_bytes_that_are_no_text():
    fault = fault_from_dict(
        {"fault": "refuse", "connection": {"from": 3}, "body": {"base64": "/w=="}}
    )
    assert fault.body == b"\xff"
    assert not fault.aims_at(2)
    assert fault.aims_at(3)
    assert fault.aims_at(10**9)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"fault": "slow"}, "fault must be one of 'cut', 'stall', 'refuse', "),
        ({}, "not None"),
        ({"fault": ["cut"]}, "not ['cut']"),
        ({"fault": "refuse", "statsu": 3}, "field must be one of those of 'refuse': "),
        ({"fault": "cut", "after_messages": -1}, "after_messages must be an integer of at least 0"),
        ({"fault": "cut", "after_messages": "3"}, "not '3'"),
        (
            {"fault": "refuse", "connection": {"from": 3, "to": 2}},
            'with 1 <= a <= b, or without "to"',
        ),
        ({"fault": "refuse", "connection": {"to": 2}}, "connection must be"),
        ({"fault": "refuse", "connection": {"from": 1, "till": 2}}, "connection must be"),
        ({"fault": "refuse", "body": {"base64": "?"}}, "body must be text"),
        ({"fault": "refuse", "body": {"hex": "00"}}, "body must be text"),
        ("cut", "a fault, or an object with its fields, not 'cut'"),
    ],
)
def test_what_is_wrong_in_plain_data_is_named(data, message):
    with pytest.raises(ScheduleError) as caught:
        fault_from_dict(data)
    assert message in str(caught.value)


def test_the_place_in_the_schedule_is_named():
    with pytest.raises(ScheduleError, match=r"^schedule\[1\]: times must be .* not 0$"):
        schedule_from([Refuse(), {"fault": "refuse", "times": 0}])


@pytest.mark.parametrize("schedule", [Refuse(), {"fault": "refuse"}, "cut"])
def test_a_single_fault_is_no_schedule(schedule):
    with pytest.raises(ScheduleError, match="a sequence of faults"):
        schedule_from(schedule)


def test_a_random_schedule_is_plain_data_too():
    schedule = random_schedule(5, connections=50)
    assert schedule_from(json.loads(json.dumps(schedule_to_data(schedule)))) == schedule
