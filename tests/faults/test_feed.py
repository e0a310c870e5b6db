import json

import pytest

from moored.faults.feed import FeedRequest, message, resume_position
from moored.faults.replies import BadRequest


def numbers(query, last_event_id=None):
    request = FeedRequest.parse(query, last_event_id, 0.0)
    assert request.last is not None
    return list(range(request.next, request.last + 1))


def test_a_message_is_always_the_same():
    assert json.loads(message(7)) == {"id": 7, "text": "message 7"}
    assert message(7) == message(7)
    assert json.loads(message(7, " ⚓"))["text"] == "message 7 ⚓"


@pytest.mark.parametrize(
    ("query", "last_event_id", "expected"),
    [
        ({}, None, list(range(1, 21))),
        ({"count": "3"}, None, [1, 2, 3]),
        ({"count": "3", "start": "5"}, None, [5, 6, 7]),
        ({"count": "3"}, "1", [2, 3]),
        ({"count": "3"}, "0", [1, 2, 3]),
        ({"count": "3"}, "3", []),
        ({"count": "3"}, "99", []),
        ({"count": "3"}, "", [1, 2, 3]),
        ({"count": "3", "resume": "2"}, None, [3]),
        ({"count": "3", "resume": "2"}, "1", [2, 3]),
        ({"count": "0"}, None, []),
    ],
)
def test_which_messages_are_sent(query, last_event_id, expected):
    assert numbers(query, last_event_id) == expected


def test_a_feed_to_be_followed_has_no_end_and_the_pace_is_the_querys():
    request = FeedRequest.parse({"follow": "1", "pace": "0.5"}, None, 2.0)
    assert (request.last, request.pace) == (None, 0.5)
    assert FeedRequest.parse({}, None, 2.0).pace == 2.0
    assert FeedRequest.parse({"text": " ⚓"}, None, 2.0).text == " ⚓"


@pytest.mark.parametrize(
    ("query", "last_event_id"),
    [
        ({"count": "-1"}, None),
        ({"count": "x"}, None),
        ({"count": "٣"}, None),
        ({"count": "9" * 30}, None),
        ({"start": "0"}, None),
        ({"pace": "-1"}, None),
        ({"pace": "nan"}, None),
        ({"pace": "inf"}, None),
        ({"pace": "fast"}, None),
        ({"follow": "yes"}, None),
        ({"wait": "2"}, None),
        ({"grace": "-1"}, None),
        ({"retry": "0.5"}, None),
        ({}, "abc"),
    ],
)
def test_what_is_wrong_is_named(query, last_event_id):
    with pytest.raises(BadRequest) as caught:
        FeedRequest.parse(query, last_event_id, 0.0)
    assert caught.value.param in {*query, "resume"}


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('{"resume": 3}', 3),
        ('{"resume": 0}', 0),
        ('{"resume": null}', 0),
        ('{"resume": -1}', None),
        ('{"resume": true}', None),
        ('{"resume": "3"}', None),
        ('{"other": 3}', None),
        ("3", None),
        ("resume", None),
    ],
)
def test_a_resume_message_is_recognised(text, position):
    assert resume_position(text) == position
