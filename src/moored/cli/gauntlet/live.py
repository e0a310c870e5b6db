"""The gauntlet on a terminal while it runs: a bar, what is running, and the last results."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from moored.cli.gauntlet.table import result_line
from moored.faults.gauntlet import Score, Trial
from moored.faults.gauntlet.trial import Transport

__all__ = ["LiveDisplay"]

REDRAWS_PER_SECOND = 8
RESULT_LINES = 20
BAR_WIDTH = 40


class LiveDisplay:
    """Draws a run.

    :param trials: how many trials there are.
    """

    def __init__(self, console: Console, trials: int) -> None:
        self._console = console
        self._trials = trials
        self._running: dict[tuple[str, Transport], float] = {}
        self._results: deque[Score] = deque(maxlen=RESULT_LINES)
        self._finished = 0
        self._ok = 0

    def start(self, trial: Trial, transport: Transport) -> None:
        """A trial begins."""
        self._running[trial.name, transport] = trio.current_time()

    def finish(self, score: Score) -> None:
        """A trial is over."""
        del self._running[score.record.trial.name, score.record.transport]
        self._results.append(score)
        self._finished += 1
        self._ok += score.ok

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Draw for as long as the block runs."""
        live = Live(self._draw(), console=self._console, auto_refresh=False, transient=True)
        with live:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._redraw, live)
                yield
                nursery.cancel_scope.cancel()

    async def _redraw(self, live: Live) -> None:
        while True:
            live.update(self._draw(), refresh=True)
            await trio.sleep(1 / REDRAWS_PER_SECOND)

    def _draw(self) -> RenderableType:
        title = Table.grid(padding=(0, 1))
        title.add_row(
            Text("moored gauntlet", "bold"),
            ProgressBar(
                total=self._trials,
                completed=self._finished,
                width=BAR_WIDTH,
                complete_style="cyan",
                finished_style="green",
            ),
            f"{self._finished}/{self._trials} trials, {self._ok} passed",
        )
        now = trio.current_time()
        running = [
            Text(f"{now - since:5.1f} s  {transport:<9}  {name}", "cyan")
            for (name, transport), since in self._running.items()
        ]
        room = max(3, min(RESULT_LINES, self._console.height - len(running) - 5))
        results = [result_line(score) for score in list(self._results)[-room:]]
        return Group(title, "", *results, "", *running)
