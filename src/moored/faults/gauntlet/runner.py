"""Running the trials: for each an origin, a fault proxy before it, and the client program."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import trio

from moored.faults.gauntlet.client import run_client
from moored.faults.gauntlet.contract import KEEPALIVE
from moored.faults.gauntlet.record import TrialRecord
from moored.faults.gauntlet.score import Score, score
from moored.faults.gauntlet.trial import Transport, Trial, feed_path
from moored.faults.proxy import open_proxy
from moored.faults.server import open_server

__all__ = ["command_for", "run_gauntlet", "run_trial"]


def command_for(command: Sequence[str], url: str, transport: Transport) -> list[str]:
    """The command with ``{url}`` and ``{transport}`` filled in, wherever they stand in a word."""
    return [word.replace("{url}", url).replace("{transport}", transport) for word in command]


async def run_trial(
    trial: Trial, transport: Transport, command: Sequence[str], *, seed: int = 0
) -> TrialRecord:
    """Put one client program through one trial.

    :param command: the program and its arguments, with ``{url}`` where the URL belongs.
    :param seed: decides all that is random in the proxy.
    """
    async with open_server(keepalive=KEEPALIVE) as server:
        origin = server.ws_url if transport == "websocket" else server.url
        url = origin + feed_path(trial, transport)
        async with open_proxy(url, schedule=trial.schedule, seed=seed) as proxy:
            run = await run_client(command_for(command, proxy.url, transport), limit=trial.limit)
            return TrialRecord(
                trial=trial,
                transport=transport,
                run=run,
                connections=proxy.connections,
                injected=proxy.injected,
                clock=time.time() - trio.current_time(),
                sent_up_to=max(
                    ((each.resumed_after or 0) + each.sent for each in server.requests), default=0
                ),
            )


async def run_gauntlet(
    trials: Sequence[tuple[Trial, Transport]],
    command: Sequence[str],
    *,
    jobs: int = 4,
    seed: int = 0,
    on_start: Callable[[Trial, Transport], object] = lambda trial, transport: None,
    on_score: Callable[[Score], object] = lambda score: None,
) -> tuple[Score, ...]:
    """Put one client program through ``trials``, ``jobs`` of them at a time.

    :param on_start: called when a trial begins.
    :param on_score: called when it is over.
    :returns: the scores in the order of ``trials``.
    """
    scores: dict[int, Score] = {}
    waiting = iter(enumerate(trials))

    async def run_one_by_one() -> None:
        for place, (trial, transport) in waiting:
            on_start(trial, transport)
            record = await run_trial(trial, transport, command, seed=seed)
            scores[place] = score(record)
            on_score(scores[place])

    async with trio.open_nursery() as nursery:
        for _ in range(jobs):
            nursery.start_soon(run_one_by_one)
    return tuple(scores[place] for place in sorted(scores))
