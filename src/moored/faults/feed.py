"""The numbered feed: message n is always the same, so what a client missed is still to be had."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import attrs

from moored.faults.replies import BadRequest, compact

__all__ = ["END", "FeedRequest", "message", "resume_position"]

DEFAULT_COUNT = 20
END = '{"end":true}'
"""The message after the last one, on both transports."""


@attrs.frozen
class FeedRequest:
    """Which part of the feed is wanted, and how fast.

    :ivar next: the number of the first message to send.
    :ivar last: the number of the last one, or ``None`` for a feed without end.
    :ivar pace: seconds between messages.
    :ivar resumed_after: the position that the client gave, if it gave one.
    :ivar wait: WebSocket: send nothing before the client's first message.
    :ivar grace: WebSocket: wait so many seconds for the client's first message, then begin at the
        start; ``None``: ask with a ping whether one comes.
    :ivar text: what each message's text ends with.
    :ivar retry: SSE: the reconnection time that is sent first, in milliseconds; ``None``: none is.
    """

    next: int
    last: int | None
    pace: float
    resumed_after: int | None = None
    wait: bool = False
    grace: float | None = None
    retry: int | None = None
    text: str = ""

    @classmethod
    def parse(
        cls, query: Mapping[str, str], last_event_id: str | None, default_pace: float
    ) -> FeedRequest:
        """Read a query such as ``count=20&pace=0.1&start=1&follow=1&resume=7&retry=200``.

        :param last_event_id: the ``Last-Event-ID`` header, which wins over ``resume``.
        :raises BadRequest: naming the parameter that is wrong.
        """
        count = _integer(query, "count", DEFAULT_COUNT, minimum=0)
        start = _integer(query, "start", 1, minimum=1)
        follow = _flag(query, "follow")
        if last_event_id is not None and last_event_id != "":
            query = {**query, "resume": last_event_id}
        resume = _integer(query, "resume", -1, minimum=0)
        request = cls(
            next=start,
            last=None if follow else start + count - 1,
            pace=_seconds(query, "pace", default_pace),
            wait=_flag(query, "wait"),
            grace=_seconds(query, "grace", 0.0) if "grace" in query else None,
            text=query.get("text", ""),
            retry=_integer(query, "retry", 0, minimum=0) if "retry" in query else None,
        )
        return request if resume < 0 else request.resumed(resume)

    @property
    def end_number(self) -> int | None:
        """The id of the end event: one more than the last message's."""
        return None if self.last is None else self.last + 1

    @property
    def past_the_end(self) -> bool:
        """Whether the client has said that it has seen the end event."""
        return self.last is not None and self.next > self.last + 1

    def resumed(self, position: int) -> FeedRequest:
        """The same feed, continued after message ``position``."""
        return attrs.evolve(self, next=position + 1, resumed_after=position)


def message(number: int, text: str = "") -> str:
    """Message ``number`` of the feed, as JSON.

    :param text: what its text ends with.
    """
    return compact({"id": number, "text": f"message {number}{text}"})


def resume_position(text: str) -> int | None:
    """The n of a ``{"resume": n}`` message, or ``None`` if ``text`` is not one.

    ``{"resume": null}`` is the position before the first message, 0.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or "resume" not in data:
        return None
    position = data["resume"] if data["resume"] is not None else 0
    if not isinstance(position, int) or isinstance(position, bool) or position < 0:
        return None
    return position


def _integer(query: Mapping[str, str], name: str, default: int, *, minimum: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) >= minimum):
        raise BadRequest(f"{name} must be an integer of at least {minimum}, not {text!r}", name)
    return int(text)


def _seconds(query: Mapping[str, str], name: str, default: float) -> float:
    text = query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadRequest(f"{name} must be seconds of at least 0, not {text!r}", name)
    return value


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "0")
    if text not in ("0", "1"):
        raise BadRequest(f"{name} must be 0 or 1, not {text!r}", name)
    return text == "1"
