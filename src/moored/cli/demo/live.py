"""The demo on a terminal: a table of the streams as they are, and under it what happened lately."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from moored import State
from moored.cli.demo.stage import Stage
from moored.cli.demo.track import Happening, Track

__all__ = ["LiveDisplay"]

REDRAWS_PER_SECOND = 12
LOG_LINES = 14
BAR_WIDTH = 12
_STATE_STYLES = {
    State.CONNECTING: "yellow",
    State.OPEN: "green",
    State.HEARTBEATING: "cyan",
    State.BACKOFF: "red",
    State.CLOSED: "dim",
}
_KIND_STYLES = {
    "fault": "bold red",
    "down": "yellow",
    "up": "",
    "recovered": "bold green",
    "done": "green",
    "failed": "bold red",
}


class LiveDisplay:
    """Draws a stage while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: deque[Happening] = deque(maxlen=LOG_LINES)

    def note(self, happening: Happening) -> None:
        """Add a line to the log."""
        self._lines.append(happening)

    @asynccontextmanager
    async def showing(self, stage: Stage) -> AsyncIterator[None]:
        """Draw ``stage`` for as long as the block runs."""
        live = Live(self._draw(stage), console=self._console, auto_refresh=False, transient=True)
        with live:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._redraw, live, stage)
                yield
                nursery.cancel_scope.cancel()

    async def _redraw(self, live: Live, stage: Stage) -> None:
        while True:
            live.update(self._draw(stage), refresh=True)
            await trio.sleep(1 / REDRAWS_PER_SECOND)

    def _draw(self, stage: Stage) -> RenderableType:
        tracks = stage.tracks
        faults = sum(len(track.injected) for track in tracks)
        due = sum(track.part.faults for track in tracks)
        title = Text.assemble(
            ("moored demo", "bold"),
            f"  {len(tracks)} streams, {faults} of {due} faults injected, {stage.seconds:4.1f} s",
        )
        room = max(3, min(LOG_LINES, self._console.height - len(tracks) - 8))
        return Group(title, "", _table(tracks), "", *self._log(room))

    def _log(self, room: int) -> list[Text]:
        lines = [_line(happening) for happening in list(self._lines)[-room:]]
        return lines + [Text()] * (room - len(lines))


def _line(happening: Happening) -> Text:
    return Text.assemble(
        (f"{happening.time:6.2f} s  ", "dim"),
        f"{happening.stream:<8}",
        (happening.text, _KIND_STYLES[happening.kind]),
        no_wrap=True,
        overflow="ellipsis",
    )


def _table(tracks: Sequence[Track]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("stream", width=6)
    table.add_column("transport", width=9)
    table.add_column("state", width=13)
    table.add_column("messages", width=BAR_WIDTH)
    table.add_column("", width=5, justify="right")
    table.add_column("attempt", width=7, justify="right")
    table.add_column("faults", width=13, no_wrap=True)
    for track in tracks:
        received = len(track.received)
        table.add_row(
            track.part.name,
            track.part.kind,
            _state(track),
            ProgressBar(
                total=track.expected or 1,
                completed=received,
                width=BAR_WIDTH,
                complete_style="cyan",
                finished_style="green",
            ),
            f"{received}/{track.expected}",
            str(track.attempt),
            Text(_marks(track), style="red"),
        )
    return table


def _state(track: Track) -> Text:
    words, style = track.state.name.lower(), _STATE_STYLES[track.state]
    if track.state is State.CLOSED:
        words, style = ("complete", "bold green") if track.finished else ("failed", "bold red")
    elif track.retry_at is not None:
        left = max(0.0, track.retry_at - trio.current_time())
        words += f" {math.ceil(left * 10) / 10:.1f} s"
    return Text(words, style=style)


def _marks(track: Track) -> str:
    """What was injected, in a word each."""
    kinds = [
        str(getattr(injected.fault, "status", injected.fault.kind)) for injected in track.injected
    ]
    return " ".join(kinds)
