"""What happens to the request and to the head of its answer, on both transports."""

from __future__ import annotations

from moored.faults import Cut, Refuse, SlowHead, Stall
from moored.faults.gauntlet.contract import CONNECT_TIMEOUT, RETRY_AFTER_MAXIMUM, backoff
from moored.faults.gauntlet.trial import BOTH, GiveUp, Survive, Transport, Trial

__all__ = ["TRIALS"]

TRANSIENT = {
    408: "request timeout",
    425: "too early",
    429: "too many requests, no Retry-After",
    500: "internal server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timeout",
}
FINAL: dict[int, tuple[str, tuple[Transport, ...]]] = {
    204: ("no content: an event source is told to stop", ("sse",)),
    400: ("bad request", BOTH),
    401: ("unauthorized", BOTH),
    403: ("forbidden", BOTH),
    404: ("not found", BOTH),
    410: ("gone", BOTH),
}


def _once(status: int, words: str) -> Trial:
    return Trial(
        name=f"{status}-once",
        title=f"the first attempt is answered {status} ({words})",
        layer="http",
        schedule=(Refuse(status=status, times=1),),
        expect=Survive(ideal=backoff(1)),
    )


def _final(status: int, words: str, transports: tuple[Transport, ...]) -> Trial:
    return Trial(
        name=f"{status}-final",
        title=f"always {status} ({words})",
        layer="http",
        transports=transports,
        schedule=(Refuse(status=status),),
        expect=GiveUp(),
    )


UNANSWERED = Survive(ideal=CONNECT_TIMEOUT + backoff(1))

TRIALS = (
    Trial(
        name="never-answered",
        title="the first request is accepted and never answered",
        layer="http",
        schedule=(Stall(at="after_request", times=1),),
        expect=UNANSWERED,
    ),
    Trial(
        name="cut-before-head",
        title="the first connection is closed in place of an answer",
        layer="http",
        schedule=(Cut(at="before_head", times=1),),
        expect=Survive(ideal=backoff(1)),
    ),
    Trial(
        name="cut-inside-head",
        title="the first connection is closed inside the head of the answer",
        layer="http",
        schedule=(Cut(at="inside_head", times=1),),
        expect=Survive(ideal=backoff(1)),
    ),
    Trial(
        name="stall-inside-head",
        title="silent inside the head of the first answer",
        layer="http",
        schedule=(Stall(at="inside_head", pings="swallowed", times=1),),
        expect=UNANSWERED,
    ),
    Trial(
        name="slow-head",
        title="the head of the first answer dribbles, for 0.3 s",
        layer="http",
        schedule=(SlowHead(seconds=0.3, times=1),),
        expect=Survive(ideal=0.3),
    ),
    Trial(
        name="endless-head",
        title="the head of the first answer dribbles, for a minute",
        layer="http",
        schedule=(SlowHead(seconds=60, times=1),),
        expect=UNANSWERED,
    ),
    *(_once(status, words) for status, words in TRANSIENT.items()),
    Trial(
        name="503-eight-times",
        title="an outage: eight attempts in a row are answered 503",
        layer="http",
        schedule=(Refuse(status=503, times=8),),
        expect=Survive(ideal=backoff(8)),
        limit=20,
    ),
    Trial(
        name="cut-then-503",
        title="closed after 5 messages, then 503 three times",
        layer="http",
        schedule=(Cut(after_messages=5, connection=1), Refuse(status=503, connection=range(2, 5))),
        expect=Survive(ideal=backoff(4)),
    ),
    Trial(
        name="429-retry-after",
        title="429 with Retry-After: 2",
        layer="http",
        schedule=(Refuse(status=429, retry_after=2, times=1),),
        expect=Survive(ideal=2),
    ),
    Trial(
        name="503-retry-after",
        title="closed after 5 messages, then 503 with Retry-After: 1, twice",
        layer="http",
        schedule=(
            Cut(after_messages=5, connection=1),
            Refuse(status=503, retry_after=1, connection=(2, 3)),
        ),
        expect=Survive(ideal=2 + backoff(1)),
    ),
    Trial(
        name="429-retry-after-date",
        title="429 with the date that is one second away as Retry-After",
        layer="http",
        schedule=(Refuse(status=429, retry_after=1, retry_after_as="date", times=1),),
        expect=Survive(ideal=1.5),  # dates have whole seconds, rounded up
    ),
    Trial(
        name="429-retry-after-absurd",
        title="429 with Retry-After: 31536000, a year, then all is well",
        layer="http",
        schedule=(Refuse(status=429, retry_after=31_536_000, times=1),),
        expect=Survive(ideal=RETRY_AFTER_MAXIMUM),
    ),
    Trial(
        name="429-retry-after-unreadable",
        title="429 with Retry-After: soon",
        layer="http",
        schedule=(Refuse(status=429, retry_after="soon", times=1),),
        expect=Survive(ideal=backoff(1)),
    ),
    *(_final(status, *what) for status, what in FINAL.items()),
    Trial(
        name="cut-then-401",
        title="closed after 5 messages, and from then on always 401",
        layer="http",
        schedule=(
            Cut(after_messages=5, connection=1),
            Refuse(status=401, connection=range(2, 10_000)),
        ),
        expect=GiveUp(),
    ),
    Trial(
        name="503-then-404",
        title="503 once, and from then on always 404",
        layer="http",
        schedule=(
            Refuse(status=503, connection=1),
            Refuse(status=404, connection=range(2, 10_000)),
        ),
        expect=GiveUp(),
    ),
)
