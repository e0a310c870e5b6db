"""Why a connection ended: every cause, its verdict, and its one line."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable

import attrs
import pytest

from moored.core import causes
from moored.core.causes import (
    CLOSE_CODES,
    RETRIED_STATUSES,
    AbnormalClosure,
    Cause,
    ClosedByUs,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    HeartbeatLost,
    Incomplete,
    PeerClosed,
    ProtocolViolation,
    RateLimited,
    Stalled,
    Verdict,
    close_code_verdict,
    is_certificate_failure,
    is_retried_by_apis,
    status_verdict,
    verdict,
)

RETRY, STOP, FINISH = Verdict.RETRY, Verdict.STOP, Verdict.FINISH

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def bad_certificate() -> ssl.SSLCertVerificationError:
    return ssl.SSLCertVerificationError(1, "certificate verify failed: Hostname mismatch")


# ---------------------------------------------------------------- every cause

# Each cause, its default verdict, and the line that a user reads.
EVERY_CAUSE: list[tuple[Cause, Verdict, str]] = [
    (
        ConnectFailed("credentials", OSError("no token")),
        RETRY,
        "connect failed: the credentials could not be had: no token",
    ),
    (
        ConnectFailed("dns", NO_SUCH_NAME),
        RETRY,
        "connect failed: the name did not resolve: [Errno -2] Name or service not known",
    ),
    (
        ConnectFailed("tcp", REFUSED),
        RETRY,
        "connect failed: no TCP connection: [Errno 111] Connection refused",
    ),
    (ConnectFailed("tcp"), RETRY, "connect failed: no TCP connection"),
    (
        ConnectFailed("tls", ssl.SSLError(1, "wrong version number")),
        RETRY,
        "connect failed: the TLS handshake failed: wrong version number",
    ),
    (
        ConnectFailed("handshake", EOFError()),
        RETRY,
        "connect failed: the peer hung up before it answered: EOFError",
    ),
    (
        ConnectFailed("timeout", detail="nothing within 10 s"),
        RETRY,
        "connect failed: no connection in time: nothing within 10 s",
    ),
    (HandshakeRejected(401), STOP, "rejected with status 401"),
    (
        HandshakeRejected(200, detail="content type text/html"),
        STOP,
        "rejected with status 200: content type text/html",
    ),
    (
        HandshakeRejected(503, retry_after=1.5),
        RETRY,
        "rejected with status 503: retry after 1.5 s",
    ),
    (
        HandshakeRejected(503, retry_after=30, detail="maintenance"),
        RETRY,
        "rejected with status 503: maintenance, retry after 30 s",
    ),
    (RateLimited(), RETRY, "rate limited (status 429)"),
    (RateLimited(retry_after=2), RETRY, "rate limited (status 429): retry after 2 s"),
    (PeerClosed(), RETRY, "the peer ended the stream"),
    (PeerClosed(1000), FINISH, "closed by the peer with code 1000 (normal closure)"),
    (
        PeerClosed(1008, "token expired"),
        STOP,
        "closed by the peer with code 1008 (policy violation): token expired",
    ),
    (PeerClosed(4321, "bye"), RETRY, "closed by the peer with code 4321: bye"),
    (AbnormalClosure(), RETRY, "the connection vanished without an end"),
    (AbnormalClosure(1006), RETRY, "the connection vanished without an end (code 1006)"),
    (
        AbnormalClosure(1006, ConnectionResetError("reset by peer")),
        RETRY,
        "the connection vanished without an end (code 1006): reset by peer",
    ),
    (HeartbeatLost(40), RETRY, "heartbeat lost: nothing at all for 40 s"),
    (Stalled(60), RETRY, "stalled: no message for 60 s"),
    (Stalled(600, before_first=True), RETRY, "stalled: not even a first message for 600 s"),
    (Incomplete("[DONE]"), RETRY, "incomplete: the body ended without: [DONE]"),
    (
        ProtocolViolation("an event is too long", ValueError()),
        RETRY,
        "protocol violation: an event is too long",
    ),
    (Completed(), FINISH, "completed"),
    (Completed("status 204"), FINISH, "completed: status 204"),
    (ClosedByUs(), FINISH, "closed by us"),
    (ClosedByUs(1001), FINISH, "closed by us"),
]


@pytest.mark.parametrize(("cause", "expected", "line"), EVERY_CAUSE, ids=lambda x: str(x)[:50])
def test_the_verdict_on(cause: Cause, expected: Verdict, line: str) -> None:
    assert verdict(cause) is expected


@pytest.mark.parametrize(("cause", "expected", "line"), EVERY_CAUSE, ids=lambda x: str(x)[:50])
def test_the_line_that_says(cause: Cause, expected: Verdict, line: str) -> None:
    assert str(cause) == line


def test_every_cause_is_above() -> None:
    named = [getattr(causes, name) for name in causes.__all__]
    classes = {each for each in named if isinstance(each, type) and issubclass(each, Cause)}
    assert {type(cause) for cause, _, _ in EVERY_CAUSE} == classes - {Cause}


def test_what_is_not_from_the_closed_set_is_refused() -> None:
    class Another(Cause):
        """A cause that the table does not know."""

        def __str__(self) -> str:
            return "another"

    with pytest.raises(TypeError, match="not a cause"):
        verdict(Another())


# ---------------------------------------------------------------- one clear line

NASTY = "first\r\nsecond\u2028third\x1b[2J\x00\x85fourth\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.mark.parametrize(
    "cause",
    [
        ConnectFailed("tcp", OSError(NASTY)),
        ConnectFailed("tcp", detail=NASTY),
        HandshakeRejected(500, detail=NASTY),
        RateLimited(detail=NASTY),
        PeerClosed(1011, NASTY),
        PeerClosed(None, NASTY),
        AbnormalClosure(1006, OSError(NASTY)),
        Incomplete(NASTY),
        ProtocolViolation(NASTY),
        Completed(NASTY),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_what_the_peer_said_stays_on_one_printable_line(cause: Cause) -> None:
    assert str(cause).isprintable()
    assert "first second third\\x1b[2J\\x00 fourth\\u202e" in str(cause)


def test_an_exception_without_words_gives_its_name() -> None:
    assert str(AbnormalClosure(None, BrokenPipeError())).endswith(": BrokenPipeError")


def test_words_of_mere_blanks_are_left_out() -> None:
    assert str(PeerClosed(1011, " \n ")) == "closed by the peer with code 1011 (internal error)"


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("kind", [HandshakeRejected, RateLimited])
def test_the_repr_of_a_rejection_never_shows_headers_or_body(kind: type[HandshakeRejected]) -> None:
    cause = kind(status=429, headers=(("set-cookie", "SECRET-1"),), body=b"SECRET-2")
    for text in (repr(cause), str(cause), repr((cause,)), f"{cause!r} {cause}"):
        assert "SECRET" not in text
        assert "set-cookie" not in text
    assert cause.headers == (("set-cookie", "SECRET-1"),)
    assert cause.body == b"SECRET-2"


def test_a_rate_limit_is_a_rejection_with_status_429() -> None:
    assert isinstance(RateLimited(), HandshakeRejected)
    assert RateLimited().status == 429


def test_causes_are_frozen_values() -> None:
    assert PeerClosed(1001, "restart") == PeerClosed(1001, "restart")
    assert PeerClosed(1001) != PeerClosed(1012)
    assert len({HeartbeatLost(1.0), HeartbeatLost(1.0), Stalled(1.0)}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PeerClosed(1001).code = 1000  # type: ignore[misc]


def test_exceptions_take_no_part_in_comparisons() -> None:
    assert ConnectFailed("tcp", OSError("a")) == ConnectFailed("tcp", OSError("b"))
    assert AbnormalClosure(1006, OSError("a")) == AbnormalClosure(1006)
    assert ProtocolViolation("x", ValueError()) == ProtocolViolation("x")


# ---------------------------------------------------------------- close codes

# RFC 6455, section 7.4.1, and the IANA registry "WebSocket Close Code Number", complete.
REGISTERED: dict[int, tuple[str, Verdict]] = {
    1000: ("normal closure", FINISH),
    1001: ("going away", RETRY),
    1002: ("protocol error", STOP),
    1003: ("unsupported data", STOP),
    1004: ("reserved", STOP),
    1005: ("no status received", RETRY),
    1006: ("abnormal closure", RETRY),
    1007: ("invalid payload data", STOP),
    1008: ("policy violation", STOP),
    1009: ("message too big", STOP),
    1010: ("mandatory extension", STOP),
    1011: ("internal error", RETRY),
    1012: ("service restart", RETRY),
    1013: ("try again later", RETRY),
    1014: ("bad gateway", RETRY),
    1015: ("TLS handshake", RETRY),
    3000: ("unauthorized", STOP),
    3003: ("forbidden", STOP),
    3008: ("timeout", RETRY),
}

# RFC 6455, section 7.4.2: what holds for the codes that nobody has registered.
UNREGISTERED: list[tuple[range, Verdict]] = [
    (range(1000), STOP),  # not used
    (range(1000, 3000), STOP),  # reserved for the protocol: not ours to guess
    (range(3000, 4000), RETRY),  # libraries
    (range(4000, 5000), RETRY),  # applications
    (range(5000, 5001), STOP),  # outside of every range
]


def test_the_registered_close_codes() -> None:
    assert dict(CLOSE_CODES) == REGISTERED


@pytest.mark.parametrize("code", REGISTERED)
def test_the_verdict_on_a_registered_close_code(code: int) -> None:
    assert close_code_verdict(code) is REGISTERED[code][1]
    assert verdict(PeerClosed(code)) is REGISTERED[code][1]
    assert f"code {code} ({REGISTERED[code][0]})" in str(PeerClosed(code))


@pytest.mark.parametrize(("codes", "expected"), UNREGISTERED, ids=str)
def test_the_verdict_on_every_other_close_code(codes: range, expected: Verdict) -> None:
    rest = set(codes) - set(REGISTERED)
    assert {close_code_verdict(code) for code in rest} == {expected}
    assert {verdict(PeerClosed(code)) for code in rest} == {expected}


@pytest.mark.parametrize("code", [-1, 65535, 65536])
def test_an_impossible_close_code_stops(code: int) -> None:
    assert close_code_verdict(code) is STOP


def test_an_end_without_a_code_is_retried() -> None:
    assert close_code_verdict(None) is RETRY


# ---------------------------------------------------------------- statuses

RETRIED = {408, 425, 429, *range(500, 600)}


@pytest.mark.parametrize("status", range(100, 600))
def test_the_verdict_on_a_status(status: int) -> None:
    expected = RETRY if status in RETRIED else STOP
    assert status_verdict(status) is expected
    assert verdict(HandshakeRejected(status)) is expected


def test_the_retried_statuses_outside_of_5xx() -> None:
    assert frozenset({408, 425, 429}) == RETRIED_STATUSES


def test_an_invalid_status_is_treated_as_5xx() -> None:
    # RFC 9110, section 15.
    assert status_verdict(600) is status_verdict(999) is RETRY


# ---------------------------------------------------------------- TLS, DNS, refused


@pytest.mark.parametrize("stage", ["dns", "tcp", "tls", "handshake", "timeout", "credentials"])
def test_a_failed_connect_is_retried_at_every_stage(stage: causes.ConnectStage) -> None:
    for exception in (None, REFUSED, NO_SUCH_NAME, ssl.SSLError("alert"), TimeoutError()):
        assert verdict(ConnectFailed(stage, exception)) is RETRY


def test_a_certificate_that_failed_verification_stops() -> None:
    assert verdict(ConnectFailed("tls", bad_certificate())) is STOP


def caused_by(inner: BaseException) -> Exception:
    outer = OSError("broken")
    outer.__cause__ = inner
    return outer


def in_the_context_of(inner: BaseException) -> Exception:
    outer = OSError("broken")
    outer.__context__ = inner
    return outer


def suppressed(inner: BaseException) -> Exception:
    """As after ``raise outer from None``."""
    outer = in_the_context_of(inner)
    outer.__suppress_context__ = True
    return outer


def grouped(inner: Exception) -> Exception:
    return ExceptionGroup("nursery", [ValueError(), ExceptionGroup("inner", [OSError(), inner])])


def base_grouped(inner: BaseException) -> BaseException:
    return BaseExceptionGroup("nursery", [KeyboardInterrupt(), inner])


Wrap = Callable[[Exception], BaseException]

WRAPPINGS: list[Wrap] = [
    lambda e: e,
    caused_by,
    in_the_context_of,
    suppressed,
    grouped,
    base_grouped,
    lambda e: caused_by(grouped(in_the_context_of(e))),
    lambda e: grouped(caused_by(base_grouped(caused_by(e)))),
]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_certificate_failure_is_found_wherever_it_hides(wrap: Wrap) -> None:
    assert is_certificate_failure(wrap(bad_certificate()))
    assert verdict(ConnectFailed("tls", wrap(bad_certificate()))) is STOP


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_another_tls_failure_is_none_whatever_its_text(wrap: Wrap) -> None:
    alert = ssl.SSLError(1, "certificate verify failed")
    assert not is_certificate_failure(wrap(alert))
    assert verdict(ConnectFailed("tls", wrap(alert))) is RETRY


def test_no_exception_is_no_certificate_failure() -> None:
    assert not is_certificate_failure(None)


def test_a_cycle_of_exceptions_ends() -> None:
    one, two = OSError("one"), OSError("two")
    one.__context__, two.__context__ = two, one
    assert not is_certificate_failure(one)
    two.__cause__ = bad_certificate()
    assert is_certificate_failure(one)


def test_a_group_that_is_its_members_context_ends() -> None:
    member = OSError("member")
    group = ExceptionGroup("group", [member])
    member.__context__ = group
    assert not is_certificate_failure(group)
    assert not is_certificate_failure(member)


def test_a_very_long_chain_is_walked_to_its_end() -> None:
    last: BaseException = bad_certificate()
    for _ in range(5000):
        outer = OSError()
        outer.__cause__ = last
        last = outer
    assert is_certificate_failure(last)


def test_apis_retry_what_their_sdks_do():
    retried = {status for status in range(100, 600) if is_retried_by_apis(status)}
    assert retried == {408, 409, 425, 429, *range(500, 600)}


@pytest.mark.parametrize("status", [400, 429, 500])
@pytest.mark.parametrize(("said", "again"), [("true", True), (" False ", False)])
def test_the_server_knows_whether_an_api_should_be_asked_again(status, said, again):
    assert is_retried_by_apis(status, said) is again
    assert is_retried_by_apis(status, "perhaps") is is_retried_by_apis(status)
