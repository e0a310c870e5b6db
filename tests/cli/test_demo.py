"""``moored demo`` as a whole: it passes because of the recovery, and says so in every form."""

import json
import os
import pty
import signal
import subprocess
import sys

import trio

FAST = ("--speed", "5")


async def test_nothing_is_lost_and_every_fault_happened(moored):
    result = await moored("demo", "--json", *FAST)
    verdict = json.loads(result.out)
    assert result.status == 0, result.out
    assert result.err == ""
    assert verdict["ok"] is True
    assert verdict["verdict"].startswith("PASSED: 265 messages on 5 streams, 12 faults")
    totals = verdict["totals"]
    assert (totals["lost"], totals["duplicated"], totals["disordered"]) == (0, 0, 0)
    assert totals["received"] == totals["expected"] == 265
    assert (totals["injected"], totals["not_injected"], totals["recovered"]) == (12, 0, 12)
    assert 0 < totals["recovery_seconds"]["median"] <= totals["recovery_seconds"]["worst"]
    assert all(stream["ok"] and stream["finished"] for stream in verdict["streams"])


async def test_every_kind_of_fault_strikes_each_transport(moored):
    verdict = json.loads((await moored("demo", "--json", *FAST, "--seed", "7")).out)
    assert verdict["ok"]
    struck = {
        (
            stream["transport"].split()[0],
            fault["fault"],
            fault.get("how", fault.get("pings", fault.get("status", ""))),
        )
        for stream in verdict["streams"]
        for fault in stream["faults"]
    }
    # What is left out of a fault is its default: fin, answered, 429.
    assert struck == {
        (transport, fault, detail)
        for transport in ("SSE", "WebSocket")
        for fault, detail in [("cut", ""), ("cut", "rst"), ("stall", ""), ("refuse", "")]
    } | {("WebSocket", "stall", "swallowed")}
    refusals = [
        fault
        for stream in verdict["streams"]
        for fault in stream["faults"]
        if fault["fault"] == "refuse"
    ]
    assert [fault["retry_after"] for fault in refusals] == [1] * 4
    assert all(fault["recovered_after"] >= 1 for fault in refusals)


async def test_without_recovery_the_same_demo_shows_losses(moored):
    result = await moored("demo", "--json", "--no-recovery", *FAST)
    verdict = json.loads(result.out)
    assert result.status == 1
    assert verdict["ok"] is False
    assert verdict["recovery"] is False
    for stream in verdict["streams"]:
        assert stream["injected"] == 1
        assert stream["recovered"] == 0
        assert stream["lost"] == stream["expected"] - stream["received"] > 0
        assert stream["duplicated"] == 0
        assert stream["error"].startswith("reconnecting is off: ")
    assert verdict["totals"]["not_injected"] == 7


async def test_on_a_pipe_there_are_plain_lines_and_a_table(moored):
    result = await moored("demo", "--no-recovery", *FAST)
    assert result.status == 1
    assert "\x1b" not in result.out
    assert " s  orders  injected: status 429, Retry-After: 1" in result.out
    assert " s  news    failed: reconnecting is off: the connection vanished" in result.out
    assert result.lines[-1].startswith("FAILED: ")
    assert "5 of 5 faults not recovered from, 7 faults never came about" in result.lines[-1]
    table = [line.split() for line in result.lines if line.startswith(" ")]
    assert ["orders", "429", "0", "of", "1", "0/60", "60", "0", "-", "-"] in table


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how a terminal tells of its end on Linux
        return b""


async def test_on_a_terminal_it_is_live(tmp_path):
    main, terminal = pty.openpty()
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "moored", "demo", "--no-recovery", *FAST],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(terminal)
    shown = b""
    with trio.fail_after(30):
        while data := await trio.to_thread.run_sync(read_terminal, main):
            shown += data
        assert await process.wait() == 1
    os.close(main)
    text = shown.decode()
    assert "5 streams, 0 of 12 faults injected" in text
    assert "connecting" in text
    assert "\x1b[?25l" in text  # the cursor is hidden,
    assert "\x1b[?25h" in text  # and comes back
    assert "FAILED: " in text.rsplit("\x1b[?25h", 1)[1]


async def test_an_interrupt_closes_the_streams(started):
    async with started("demo") as demo:
        while "open" not in await demo.line():
            pass
        demo.interrupt(signal.SIGINT)
        rest = await demo.rest()
        assert await demo.wait() == 130
        assert sum(line.endswith(" stopped") for line in rest) == 5
        assert not any(line.startswith(("PASSED", "FAILED")) for line in rest)
        assert await demo.rest_of_errors() == []
