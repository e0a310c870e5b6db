"""Connections that are cut or fall silent, on both transports."""

from __future__ import annotations

from moored.faults import Cut, Duplicate, Refuse, Stall
from moored.faults.gauntlet.contract import SILENCE, backoff
from moored.faults.gauntlet.trial import Survive, Trial

__all__ = ["TRIALS"]

AT_ONCE = Survive(ideal=backoff(1))
AFTER_SILENCE = Survive(ideal=SILENCE + backoff(1))

BEYOND_ASCII = " \N{ANCHOR} \N{SAILBOAT}"

TRIALS = (
    Trial(
        name="calm",
        title="no fault at all: shows that the client keeps the contract",
        layer="none",
        schedule=(),
    ),
    Trial(
        name="cut-fin",
        title="the connection is closed after 5 messages (FIN)",
        layer="tcp",
        schedule=(Cut(after_messages=5, times=1),),
        expect=AT_ONCE,
    ),
    Trial(
        name="cut-rst",
        title="the connection is reset after 5 messages (RST)",
        layer="tcp",
        schedule=(Cut(after_messages=5, how="rst", times=1),),
        expect=AT_ONCE,
    ),
    Trial(
        name="cut-before-messages",
        title="the first connection is closed before its first message",
        layer="tcp",
        schedule=(Cut(after_messages=0, times=1),),
        expect=AT_ONCE,
    ),
    Trial(
        name="reset-before-messages",
        title="the first connection is reset before its first message",
        layer="tcp",
        schedule=(Cut(after_messages=0, how="rst", times=1),),
        expect=AT_ONCE,
    ),
    Trial(
        name="cut-before-end",
        title="closed after the last message, before the end message",
        layer="tcp",
        schedule=(Cut(after_messages=20, times=1),),
        expect=AT_ONCE,
    ),
    Trial(
        name="cut-five-times",
        title="five connections in turn are closed, each after 3 messages",
        layer="tcp",
        schedule=(Cut(after_messages=3, times=5),),
        expect=Survive(ideal=backoff(5) - backoff(4)),
    ),
    Trial(
        name="cut-every-message",
        title="eight connections in turn bring one message each",
        layer="tcp",
        schedule=(Cut(after_messages=1, times=8),),
        expect=Survive(ideal=backoff(8) - backoff(7)),
        limit=20,
    ),
    Trial(
        name="flapping",
        title="eight connections in turn are accepted and closed at once",
        layer="tcp",
        schedule=(Cut(after_messages=0, times=8),),
        expect=Survive(ideal=backoff(8)),
        limit=30,  # so that an event source, which waits for 3 s each time, can survive
    ),
    Trial(
        name="lifetime",
        title="a proxy closes every connection after 0.4 s, five times",
        layer="tcp",
        schedule=(Cut(after_seconds=0.4, times=5),),
        expect=Survive(ideal=backoff(5) - backoff(4)),
        count=60,
        limit=20,
    ),
    Trial(
        name="stall",
        title="silent after 5 messages, the connection stays up",
        layer="tcp",
        schedule=(Stall(after_messages=5, pings="swallowed", times=1),),
        expect=AFTER_SILENCE,
    ),
    Trial(
        name="stall-before-messages",
        title="silent before the first message",
        layer="tcp",
        schedule=(Stall(after_messages=0, pings="swallowed", times=1),),
        expect=AFTER_SILENCE,
    ),
    Trial(
        name="stall-before-end",
        title="silent after the last message, before the end message",
        layer="tcp",
        schedule=(Stall(after_messages=20, pings="swallowed", times=1),),
        expect=AFTER_SILENCE,
    ),
    Trial(
        name="stall-twice",
        title="silent after 5 messages, and again on the next connection",
        layer="tcp",
        schedule=(Stall(after_messages=5, pings="swallowed", times=2),),
        expect=Survive(ideal=SILENCE + backoff(2) - backoff(1)),
    ),
    Trial(
        name="stall-then-reset",
        title="silent after 5 messages, reset half a second later",
        layer="tcp",
        schedule=(
            Stall(after_messages=5, pings="swallowed", times=1),
            Cut(after_seconds=0.75, how="rst", connection=1),
        ),
        expect=AT_ONCE,
    ),
    Trial(
        name="cut-inside-character",
        title="closed inside a character of two or more bytes",
        layer="tcp",
        schedule=(Cut(at="inside_character", message=6, times=1),),
        expect=AT_ONCE,
        text=BEYOND_ASCII,
    ),
    Trial(
        name="stall-inside-character",
        title="silent inside a character of two or more bytes",
        layer="tcp",
        schedule=(Stall(at="inside_character", message=6, pings="swallowed", times=1),),
        expect=AFTER_SILENCE,
        text=BEYOND_ASCII,
    ),
    Trial(
        name="duplicate",
        title="one message comes twice, with the same id",
        layer="mixed",
        schedule=(Duplicate(message=6, times=1),),
    ),
    Trial(
        name="cut-then-503-then-stall",
        title="closed after 5 messages, then 503, then silent after 3 more",
        layer="mixed",
        schedule=(
            Cut(after_messages=5, connection=1),
            Refuse(status=503, connection=2),
            Stall(after_messages=3, pings="swallowed", connection=3),
        ),
        expect=Survive(ideal=SILENCE + backoff(3) - backoff(2)),
    ),
)
