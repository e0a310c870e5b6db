"""What only an event stream can suffer."""

from __future__ import annotations

from moored.faults import (
    CommentsOnly,
    ContentType,
    Cut,
    ErrorEvent,
    Fault,
    GzipCut,
    Insert,
    Refuse,
    RetryField,
    Spoil,
    Stall,
)
from moored.faults.gauntlet.contract import SILENCE, backoff
from moored.faults.gauntlet.trial import GiveUp, Survive, Trial, feed_path
from moored.faults.gauntlet.trials.places import event, sse_bytes

__all__ = ["TRIALS"]

CUT = Survive(ideal=backoff(1))
STALL = Survive(ideal=SILENCE + backoff(1))

_NEXT = sse_bytes(11)  # where message 12 begins: its id has two digits


def _trial(name: str, title: str, *schedule: Fault, expect: Survive = CUT) -> Trial:
    return Trial(
        name=name,
        title=title,
        layer="sse",
        transports=("sse",),
        schedule=schedule,
        expect=expect,
    )


def _final(name: str, title: str, *schedule: Fault, count: int = 20) -> Trial:
    return Trial(
        name=name,
        title=title,
        layer="sse",
        transports=("sse",),
        schedule=schedule,
        # A redirect that leads to itself can only be noticed by following it a few times.
        expect=GiveUp(attempts=25 if name == "redirect-loop" else 1),
        count=count,
    )


def _redirect(times: int | None = None) -> Refuse:
    here = feed_path(Trial(name="", title="", layer="none", schedule=()), "sse")
    return Refuse(status=307, headers={"Location": here}, times=times)


TRIALS = (
    _trial(
        "cut-inside-id",
        "closed between the two digits of an id",
        Cut(after_bytes=_NEXT + len("id: 1"), times=1),
    ),
    _trial(
        "cut-after-id",
        "closed after the line of an id, before its data",
        Cut(after_bytes=_NEXT + len("id: 12\n"), times=1),
    ),
    _trial(
        "cut-inside-data",
        "closed inside the data of an event",
        Cut(after_bytes=_NEXT + len(event(12)) // 2, times=1),
    ),
    _trial(
        "cut-before-blank-line",
        "closed before the blank line that ends an event",
        Cut(after_bytes=_NEXT + len(event(12)) - 1, times=1),
    ),
    _trial(
        "reset-inside-data",
        "reset inside the data of an event",
        Cut(after_bytes=_NEXT + len(event(12)) // 2, how="rst", times=1),
    ),
    _trial(
        "stall-inside-event",
        "silent inside the data of an event",
        Stall(after_bytes=_NEXT + len(event(12)) // 2, times=1),
        expect=STALL,
    ),
    _trial(
        "cut-before-body-end",
        "closed after the end message, before the end of the body",
        Cut(after_messages=21, times=1),
        expect=Survive(),
    ),
    _trial(
        "cut-inside-chunk",
        "closed inside a chunk of the body that says how long it is",
        Cut(at="inside_chunk", message=6, times=1),
    ),
    _trial(
        "stall-inside-chunk",
        "silent inside a chunk of the body",
        Stall(at="inside_chunk", message=6, times=1),
        expect=STALL,
    ),
    _trial(
        "comments-only",
        "nothing but comments after 5 messages",
        CommentsOnly(after_messages=5, interval=0.3, times=1),
        expect=STALL,
    ),
    _trial(
        "comments-from-the-start",
        "nothing but comments at all",
        CommentsOnly(at="after_head", interval=0.3, times=1),
        expect=STALL,
    ),
    _trial(
        "gzip-cut",
        "the body is compressed, and its compressed form ends inside an event",
        GzipCut(message=6, times=1),
    ),
    _trial(
        "gzip-without-end",
        "the body is compressed, and lacks the end of the compressed form",
        GzipCut(times=1),
        expect=Survive(),
    ),
    _trial(
        "media-type-in-capitals",
        "the answer is Text/Event-Stream; Charset=UTF-8",
        ContentType(content_type="Text/Event-Stream; Charset=UTF-8", times=1),
        expect=Survive(),
    ),
    _trial(
        "json-cut",
        "the JSON in the data of one event lacks its end; its id is right",
        Spoil(message=6, how="cut", times=1),
        expect=Survive(),
    ),
    _trial(
        "not-utf-8",
        "the data of one event has a byte that is not UTF-8",
        Spoil(message=6, how="utf8", times=1),
        expect=Survive(),
    ),
    _trial(
        "other-event-type",
        "an event of another type, without an id, comes between two messages",
        Insert(message=6, event="ping", data="{}", times=1),
        expect=Survive(),
    ),
    _trial(
        "error-event",
        "an error in band (event: error), and the connection is closed behind it",
        ErrorEvent(message=6, connection=1),
        Cut(after_bytes=sse_bytes(5) + 30, connection=1),
    ),
    _trial(
        "retry-zero",
        "retry: 0, on eight connections in turn that are closed after one message",
        RetryField(message=1, retry=0, times=8),
        Cut(after_messages=1, times=8),
        expect=Survive(ideal=backoff(8) - backoff(7)),
    ),
    _trial(
        "retry-unreadable",
        "retry: soon, and then the connection is closed",
        RetryField(message=3, retry="soon", times=1),
        Cut(after_messages=5, times=1),
    ),
    _trial(
        "redirect",
        "the first request is sent on, with 307",
        _redirect(times=1),
        expect=Survive(),
    ),
    _final("redirect-loop", "always sent on to the same place, with 307", _redirect()),
    _final("html-page", "always text/html", ContentType(content_type="text/html"), count=5),
    _final(
        "endless-html-page",
        "always text/html, and the page comes slowly",
        ContentType(content_type="text/html"),
        count=200,
    ),
    _final("no-media-type", "always without a Content-Type", ContentType(content_type=""), count=5),
)
