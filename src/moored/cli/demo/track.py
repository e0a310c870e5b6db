"""What is seen of the streams while the demo runs: the facts that everything shown comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs
import trio

import moored
from moored.cli.demo.scenario import Part
from moored.cli.demo.tally import recovery_times
from moored.cli.wording import injected_words
from moored.faults import Injected

__all__ = ["Happening", "Journal", "Track"]


@attrs.frozen
class Happening:
    """One line of the log.

    :ivar time: seconds since the demo began.
    :ivar stream: the name of the stream.
    :ivar kind: for its colour.
    :ivar text: what happened, on one line.
    """

    time: float
    stream: str
    kind: Literal["fault", "down", "up", "recovered", "done", "failed"]
    text: str


class Journal:
    """The log of the demo.

    :param started: when it began, by Trio's clock.
    :param listener: called with each line as it comes.
    """

    def __init__(self, started: float, listener: Callable[[Happening], None]) -> None:
        self.started = started
        self._listener = listener

    def note(self, happening: Happening) -> None:
        """Add a line."""
        self._listener(happening)


@attrs.define
class Track:
    """What is seen of one stream.

    :ivar state: of the stream, now.
    :ivar attempt: its number.
    :ivar retry_at: when the next attempt is due; ``None`` outside of BACKOFF.
    :ivar received: the messages: when, and the number in the feed or the piece of text.
    :ivar opened: when connections were open.
    :ivar injected: the faults that took effect.
    :ivar finished: whether the stream came to its own end.
    :ivar error: what it failed with.
    :ivar dropped: repetitions that Moored left out.
    """

    part: Part
    journal: Journal
    state: moored.State = moored.State.CONNECTING
    attempt: int = 1
    retry_at: float | None = None
    received: list[tuple[float, int | str]] = attrs.field(factory=list)
    opened: list[float] = attrs.field(factory=list)
    injected: list[Injected] = attrs.field(factory=list)
    expected: int = 0
    finished: bool = False
    error: str = ""
    dropped: int = 0

    def recoveries(self) -> tuple[float | None, ...]:
        """For each injected fault the seconds until it was recovered from."""
        return recovery_times(
            [fault.time for fault in self.injected],
            self.opened,
            [time for time, _ in self.received],
        )

    def inject(self, injected: Injected) -> None:
        """A fault took effect."""
        self.injected.append(injected)
        words = injected_words(injected, pings=self.part.kind == "WebSocket")
        self._note("fault", f"injected: {words}", injected.time)

    def change(self, transition: moored.Transition) -> None:
        """The stream changed its state."""
        self.state, self.attempt = transition.target, transition.attempt
        self.retry_at = None
        match transition:
            case moored.Transition(target=moored.State.BACKOFF, delay=delay, cause=cause):
                self.retry_at = transition.time + (delay or 0.0)
                self._note("down", f"next try in {delay or 0:.1f} s: {cause}", transition.time)
            case moored.Transition(source=moored.State.CONNECTING, target=moored.State.OPEN):
                self.opened.append(transition.time)
                self._note("up", f"open (attempt {transition.attempt})", transition.time)

    def receive(self, item: int | str) -> None:
        """A message came."""
        now = trio.current_time()
        waiting = sum(time is None for time in self.recoveries())
        self.received.append((now, item))
        times = self.recoveries()
        if sum(time is None for time in times) < waiting:
            took = max(time for time in times[-waiting:] if time is not None)
            self._note("recovered", f"recovered {took:.2f} s after the fault", now)

    def end(self, *, error: str = "", closed_by_us: bool = False) -> None:
        """The stream is over."""
        self.error = error
        self.finished = not error and not closed_by_us
        if error:
            self._note("failed", f"failed: {error}")
        else:
            self._note("done", "stopped" if closed_by_us else "complete")

    def _note(
        self,
        kind: Literal["fault", "down", "up", "recovered", "done", "failed"],
        text: str,
        time: float | None = None,
    ) -> None:
        now = trio.current_time() if time is None else time
        self.journal.note(Happening(now - self.journal.started, self.part.name, kind, text))
