"""What only a WebSocket can suffer."""

from __future__ import annotations

from moored.faults import (
    CloseFrame,
    Cut,
    Fault,
    Fragment,
    IgnoreClose,
    LatePongs,
    Masked,
    Oversized,
    ReservedBits,
    Spoil,
    Stall,
    SwallowPings,
    WrongAccept,
)
from moored.faults.gauntlet.contract import SILENCE, backoff
from moored.faults.gauntlet.trial import GiveUp, Survive, Trial
from moored.faults.gauntlet.trials.places import frame_bytes

__all__ = ["TRIALS"]

CUT = Survive(ideal=backoff(1))
STALL = Survive(ideal=SILENCE + backoff(1))

_NEXT = frame_bytes(11)


EVERY = range(1, 10_000)

PASSING = {
    1001: "going away",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
}


def _trial(
    name: str, title: str, *schedule: Fault, expect: Survive = CUT, count: int = 20
) -> Trial:
    return Trial(
        name=name,
        title=title,
        layer="websocket",
        transports=("websocket",),
        schedule=schedule,
        expect=expect,
        count=count,
    )


def _closed(code: int, words: str) -> Trial:
    return _trial(
        f"close-{code}",
        f"closed in order with {code} ({words}) after 5 messages",
        CloseFrame(after_messages=5, code=code, reason=words, times=1),
    )


TRIALS = (
    _trial(
        "cut-inside-frame-head",
        "closed between the two bytes of a frame's head",
        Cut(after_bytes=_NEXT + 1, times=1),
    ),
    _trial(
        "cut-inside-frame",
        "closed inside the payload of a frame",
        Cut(after_bytes=_NEXT + 10, times=1),
    ),
    _trial(
        "reset-inside-frame",
        "reset inside the payload of a frame",
        Cut(after_bytes=_NEXT + 10, how="rst", times=1),
    ),
    _trial(
        "stall-inside-frame",
        "silent inside the payload of a frame",
        Stall(after_bytes=_NEXT + 10, pings="swallowed", times=1),
        expect=STALL,
    ),
    _trial(
        "stall-pings-answered",
        "no more messages after 5, and pings are still answered",
        Stall(after_messages=5, times=1),
        expect=STALL,
    ),
    _trial(
        "stall-at-start-pings-answered",
        "no messages at all, and pings are answered",
        Stall(after_messages=0, times=1),
        expect=STALL,
    ),
    _trial(
        "cut-between-fragments",
        "closed between the fragments of a message",
        Cut(at="between_fragments", message=6, times=1),
    ),
    _trial(
        "stall-between-fragments",
        "silent between the fragments of a message",
        Stall(at="between_fragments", message=6, pings="swallowed", times=1),
        expect=STALL,
    ),
    _trial(
        "fragments",
        "messages come in three fragments, with pauses",
        Fragment(message=range(3, 9), parts=3, pause=0.1, times=1),
        expect=Survive(ideal=0.2),
    ),
    *(_closed(code, words) for code, words in PASSING.items()),
    _trial(
        "close-without-code",
        "closed in order, without a code",
        CloseFrame(after_messages=5, code=None, times=1),
    ),
    _trial(
        "close-before-messages",
        "closed with 1001 (going away) right after the handshake",
        CloseFrame(at="after_head", code=1001, times=1),
    ),
    Trial(
        name="close-1008-final",
        title="always closed with 1008 (policy violation) right after the handshake",
        layer="websocket",
        transports=("websocket",),
        schedule=(CloseFrame(at="after_head", code=1008, reason="no"),),
        expect=GiveUp(),
    ),
    _trial(
        "wrong-accept",
        "the first handshake is answered with a wrong Sec-WebSocket-Accept",
        WrongAccept(times=1),
    ),
    _trial(
        "masked",
        "one frame is masked, which a server's must not be",
        Masked(message=6, times=1),
    ),
    _trial(
        "reserved-bits",
        "one frame has a reserved bit set",
        ReservedBits(message=6, times=1),
    ),
    _trial(
        "text-not-utf-8",
        "one message of text is not UTF-8",
        Spoil(message=6, how="utf8", times=1),
    ),
    _trial(
        "oversized",
        "one frame says that it has a terabyte, of which nothing comes",
        Oversized(message=6, size=2**40, payload="missing", times=1),
    ),
    _trial(
        "pings-swallowed",
        "no ping is ever answered, while messages come",
        SwallowPings(connection=EVERY),
        expect=Survive(),
        count=40,
    ),
    _trial(
        "pongs-late",
        "pings are answered 0.8 s late, while messages come",
        LatePongs(seconds=0.8, connection=EVERY),
        expect=Survive(),
        count=40,
    ),
    _trial(
        "close-unanswered",
        "the client's own closing, after the end message, is never answered",
        IgnoreClose(connection=EVERY),
        expect=Survive(ideal=1),  # how long a client may wait for the answer
    ),
)
