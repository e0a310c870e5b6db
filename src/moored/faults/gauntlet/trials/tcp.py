"""What TCP itself does to a connection, below any protocol, on both transports."""

from __future__ import annotations

from moored.faults import (
    Bandwidth,
    Corrupt,
    Cut,
    Down,
    Fault,
    HalfOpen,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)
from moored.faults.gauntlet.contract import CONNECT_TIMEOUT, SILENCE, backoff
from moored.faults.gauntlet.trial import Survive, Trial

__all__ = ["TRIALS"]

EVERY = range(1, 10_000)
BEGINS = 0.3
"""Seconds after which a fault begins that is to come in the midst of the messages."""

AFTER_SILENCE = Survive(ideal=SILENCE + backoff(1))
UNANSWERED = Survive(ideal=CONNECT_TIMEOUT + backoff(1))


def _trial(name: str, title: str, *schedule: Fault, expect: Survive, limit: float = 12.0) -> Trial:
    return Trial(name=name, title=title, layer="tcp", schedule=schedule, expect=expect, limit=limit)


TRIALS = (
    _trial(
        "latency",
        "everything comes 0.3 s late",
        Latency(latency=0.3, connection=EVERY),
        expect=Survive(ideal=0.6),  # the head, and the first message
    ),
    _trial(
        "jitter",
        "everything comes up to 0.4 s late",
        Latency(latency=0.2, jitter=0.2, connection=EVERY),
        expect=Survive(ideal=0.6),
    ),
    _trial(
        "bandwidth",
        "800 bytes a second",
        Bandwidth(rate=800, connection=EVERY),
        expect=Survive(ideal=0.5),
    ),
    _trial(
        "byte-by-byte",
        "every byte comes by itself",
        Slicer(average_size=1, delay=0.0005, connection=EVERY),
        expect=Survive(ideal=0.2),
    ),
    _trial(
        "limit-data",
        "two connections in turn are closed after 400 bytes",
        LimitData(bytes=400, times=2),
        expect=Survive(ideal=0.5 + backoff(2) - backoff(1)),
    ),
    _trial(
        "answer-reset",
        "the answer to the first request is lost, and the connection reset",
        ResetPeer(times=1),
        expect=Survive(ideal=backoff(1)),
    ),
    _trial(
        "answer-lost",
        "the answer to the first request is lost; closed half a second later",
        Timeout(timeout=0.5, times=1),
        expect=Survive(ideal=0.5 + backoff(1)),
    ),
    _trial(
        "black-hole",
        "after 0.3 s all bytes to the client are lost",
        Timeout(after_seconds=BEGINS, times=1),
        expect=AFTER_SILENCE,
    ),
    _trial(
        "half-open",
        "after 0.3 s the server has vanished without a word",
        HalfOpen(after_seconds=BEGINS, times=1),
        expect=AFTER_SILENCE,
    ),
    _trial(
        "half-open-from-the-start",
        "the server vanishes as soon as it has accepted",
        HalfOpen(times=1),
        expect=UNANSWERED,
    ),
    _trial(
        "down",
        "the server is down: five connections in turn are reset at once",
        Down(times=5),
        expect=Survive(ideal=backoff(5)),
        limit=25,  # an event source waits for 3 s each time
    ),
    _trial(
        "down-fin",
        "three connections in turn are closed before anything was said",
        Down(how="fin", times=3),
        expect=Survive(ideal=backoff(3)),
        limit=20,
    ),
    _trial(
        "close-arrives-late",
        "closed after 5 messages, which the client learns 2 s later",
        SlowClose(delay=2, times=1),
        Cut(after_messages=5, times=1),
        expect=Survive(ideal=0.3 + SILENCE + backoff(1)),
    ),
    _trial(
        "corrupt-head",
        "the first byte of the first answer is wrong",
        Corrupt(offsets=(0,), times=1),
        expect=Survive(ideal=backoff(1)),
    ),
)
