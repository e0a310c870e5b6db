"""What an HTTP answer that is not the stream means."""

from __future__ import annotations

from moored.core.causes import HandshakeRejected, RateLimited
from moored.transports.answers import MAX_BODY_BYTES, rejection


def test_a_rejection_holds_the_answer():
    cause = rejection(
        503, [(b"X-Why", b"caf\xe9"), (b"Retry-After", b"7")], bytearray(b"body"), wall_time=0
    )
    assert type(cause) is HandshakeRejected
    assert cause.status == 503
    assert cause.headers == (("x-why", "café"), ("retry-after", "7"))
    assert cause.body == b"body"
    assert type(cause.body) is bytes
    assert cause.retry_after == 7


def test_429_is_a_kind_of_its_own():
    assert type(rejection(429, [], b"", wall_time=0)) is RateLimited


def test_a_date_is_counted_from_the_wall_clock():
    headers = [(b"retry-after", b"Thu, 01 Jan 1970 00:01:00 GMT")]
    assert rejection(503, headers, b"", wall_time=50.0).retry_after == 10.0
    assert rejection(503, headers, b"", wall_time=70.0).retry_after == 0.0


def test_a_long_body_is_cut():
    assert len(rejection(500, [], bytes(MAX_BODY_BYTES + 1), wall_time=0).body) == MAX_BODY_BYTES


def test_what_was_wrong_is_said():
    assert rejection(200, [], b"", wall_time=0, detail="no stream").detail == "no stream"
