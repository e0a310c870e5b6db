"""Trials with real client programs: good ones, bad ones, and Moored's own."""

import sys
from pathlib import Path

import pytest

from moored.faults import Refuse
from moored.faults.gauntlet import GiveUp, catalogue, run_gauntlet, run_trial, score, total
from moored.faults.gauntlet.runner import command_for

CLIENTS = Path(__file__).parents[2] / "peers" / "gauntlet" / "clients"


async def test_a_good_client(program, trial):
    record = await run_trial(trial(), "sse", program())
    got = score(record)
    assert (got.ok, got.verdict) == (True, "survived"), record.run.errors
    assert record.connections[0].outcome == "cut"
    assert len(record.injected) == 1
    assert got.recovery is not None
    assert got.recovery < 1


async def test_a_good_client_gives_up(program, trial):
    final = trial(schedule=(Refuse(status=404),), expect=GiveUp())
    got = score(await run_trial(final, "sse", program()))
    assert (got.ok, got.verdict, got.connections) == (True, "gave up", 1)


SSE_CLIENT = """
    import sys, urllib.request
    for _ in range({connections}):
        try:
            with urllib.request.urlopen(sys.argv[1], timeout=2) as body:
                for line in body:
                    if line.startswith(b"id: "):
                        print("\\n".join([line[4:].decode().strip()] * {copies}), flush=True)
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("import sys; sys.exit(1)", "never connected"),
        ("print('1\\n2\\n3\\n4\\n5')", "never connected"),  # ignores the URL
        ("import time; time.sleep(99)", "still running after 1 s"),
        ("while True: print(1)", "flooded its output"),
        ("print('x' * 999)", "printed an endless line"),
        ("print('hello')", "printed what is no id: 'hello'"),
        ("1 / 0", "never connected"),
        ("import os; os.abort()", "died of signal 6"),
        # Without a position: all from the start again, and any end is taken for the end.
        (SSE_CLIENT.format(connections=2, copies=1), "2 duplicated"),
        (SSE_CLIENT.format(connections=1, copies=1), "3 lost"),
        (SSE_CLIENT.format(connections=2, copies=2), "9 duplicated, 1 past the end"),
    ],
)
async def test_bad_clients_score_and_break_nothing(program, trial, code, verdict):
    record = await run_trial(trial(limit=1.0 if "sleep" in code else 10.0), "sse", program(code))
    got = score(record)
    assert not got.ok
    assert got.verdict == verdict
    assert got.points <= 30 * (1 - got.count.lost / 5)


async def test_a_program_that_is_not_there_scores_nothing(trial):
    got = score(await run_trial(trial(), "sse", ["no-such-program", "{url}"]))
    assert (got.ok, got.verdict, got.points) == (False, "could not be started", 0)


def test_the_command_is_filled_in():
    command = ["sh", "-c", "URL={url} x {transport} {other} {}", "{url}"]
    got = command_for(command, "http://h/?a=1", "sse")
    assert got == ["sh", "-c", "URL=http://h/?a=1 x sse {other} {}", "http://h/?a=1"]


async def test_several_at_a_time_come_back_in_order(program, trial):
    trials = [(trial(name=f"n{number}", schedule=()), "sse") for number in range(5)]
    running, most, finished = set(), [], []

    def on_start(trial, transport):
        running.add(trial.name)
        most.append(len(running))

    def on_score(score):
        running.remove(score.record.trial.name)
        finished.append(score.record.trial.name)

    scores = await run_gauntlet(trials, program(), jobs=2, on_start=on_start, on_score=on_score)
    assert [score.record.trial.name for score in scores] == [f"n{number}" for number in range(5)]
    assert sorted(finished) == [f"n{number}" for number in range(5)]
    assert max(most) == 2
    assert total(scores).ok


FAST = {
    "sse": ["calm", "cut-rst", "stall", "503-once", "401-final", "cut-inside-id"],
    "websocket": ["calm", "cut-fin", "stall-pings-answered", "404-final", "cut-inside-frame"],
}


@pytest.mark.parametrize("transport", FAST)
async def test_moored_survives(transport):
    """A few of the trials, of each kind; tests/peers/gauntlet/table.py runs all."""
    chosen = [(trial, transport) for trial in catalogue() if trial.name in FAST[transport]]
    client = [sys.executable, str(CLIENTS / f"moored_{transport}.py"), "{url}"]
    scores = await run_gauntlet(chosen, client, jobs=3)
    assert [(s.record.trial.name, s.verdict, s.record.run.errors) for s in scores if not s.ok] == []
    assert len(scores) == len(FAST[transport])
