import math

import pytest

from moored.faults import Cut, Fault, Refuse, ScheduleError, Stall


@pytest.mark.parametrize(
    ("connection", "hit"),
    [
        (None, [1, 2, 3, 4, 5]),
        (2, [2]),
        ((1, 4), [1, 4]),
        ([5], [5]),
        (range(2, 4), [2, 3]),
    ],
)
def test_a_fault_aims_at_a_connection_at_several_or_at_all(connection, hit):
    fault = Cut(after_messages=1, connection=connection)
    assert [number for number in range(1, 6) if fault.aims_at(number)] == hit


@pytest.mark.parametrize(
    ("make", "field", "part"),
    [
        (lambda: Cut(after_messages=-1), "after_messages", "at least 0, not -1"),
        (lambda: Cut(after_messages=1.5), "after_messages", "an integer"),
        (lambda: Cut(after_messages=True), "after_messages", "an integer"),
        (lambda: Cut(after_bytes=-3), "after_bytes", "at least 0, not -3"),
        (
            lambda: Cut(after_seconds=math.nan),
            "after_seconds",
            "finite number of at least 0, not nan",
        ),
        (lambda: Stall(after_seconds=math.inf), "after_seconds", "finite"),
        (lambda: Stall(after_seconds=-0.1), "after_seconds", "at least 0, not -0.1"),
        (lambda: Stall(after_seconds="1"), "after_seconds", "not '1'"),
        (lambda: Cut(), "after_messages/after_bytes/after_seconds/at", "one of the four exactly"),
        (
            lambda: Cut(after_messages=1, after_bytes=2),
            "after_messages/after_bytes",
            "one of the four exactly, not (1, 2)",
        ),
        (lambda: Cut(after_messages=1, how="close"), "how", "'fin' or 'rst', not 'close'"),
        (lambda: Stall(after_messages=1, pings="late"), "pings", "'answered' or 'swallowed'"),
        (lambda: Refuse(connection=0), "connection", "at least 1, not 0"),
        (lambda: Refuse(connection=(1, 0)), "connection", "at least 1, not 0"),
        (lambda: Refuse(connection=()), "connection", "at least one"),
        (lambda: Refuse(connection="1"), "connection", "not '1'"),
        (lambda: Refuse(connection=range(3, 3)), "connection", "at least one number"),
        (lambda: Refuse(connection=range(1, 9, 2)), "connection", "by steps of 1"),
        (lambda: Refuse(connection=range(9)), "connection", "at least 1, not 0"),
        (lambda: Refuse(connection=1.0), "connection", "not 1.0"),
        (lambda: Refuse(times=0), "times", "at least 1, not 0"),
        (lambda: Refuse(path="feed"), "path", "begins with '/', not 'feed'"),
        (lambda: Refuse(probability=1.1), "probability", "from 0 to 1, not 1.1"),
        (lambda: Refuse(probability=math.nan), "probability", "not nan"),
        (lambda: Refuse(status=199), "status", "from 200 to 599, not 199"),
        (lambda: Refuse(status=600), "status", "not 600"),
        (lambda: Refuse(status=204, body="x"), "body", "empty with status 204"),
        (lambda: Refuse(body=1), "body", "text or bytes"),
        (lambda: Refuse(retry_after=-1), "retry_after", "at least 0, not -1"),
        (lambda: Refuse(retry_after="a\r\nb"), "retry_after", "printable"),
        (lambda: Refuse(headers={"a b": "c"}), "headers", "not 'a b'"),
        (lambda: Refuse(headers={"a": "b\r\nc: d"}), "headers", "printable"),
        (lambda: Refuse(headers={"Content-Length": "3"}), "headers", "proxy does not set itself"),
        (lambda: Refuse(headers=["ab", 1]), "headers", "pairs"),
        (lambda: Refuse(headers={"a": 1}), "headers", "pairs of text"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_bound(make, field, part):
    with pytest.raises(ScheduleError) as caught:
        make()
    assert caught.value.field == field
    assert part in str(caught.value)


def test_the_common_part_is_no_fault_by_itself():
    with pytest.raises(TypeError, match="use one of them"):
        Fault()


def test_a_fault_shows_only_what_was_set():
    assert repr(Cut(after_messages=3, how="rst")) == "Cut(after_messages=3, how='rst')"
    assert repr(Refuse()) == "Refuse()"


def test_headers_may_be_a_dict_and_a_body_text():
    fault = Refuse(headers={"X-Why": "because"}, body="é")
    assert fault == Refuse(headers=(("X-Why", "because"),), body="é".encode())
