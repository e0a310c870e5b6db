"""A client program: bounded in time and output, and never left behind."""

import contextlib
import os
import signal
import sys
import time

import pytest
import trio

from moored.faults.gauntlet.client import run_client
from moored.faults.gauntlet.contract import MAX_LINE_BYTES, MAX_OUTPUT_BYTES

LIMIT = 10.0

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody waits for a killed orphan in some containers: it is not running either.
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
    return True


async def until_gone(pid):
    with trio.fail_after(5):
        while alive(pid):  # noqa: ASYNC110
            await trio.sleep(0.01)


def texts(run):
    return [line.text for line in run.lines]


async def test_what_it_prints_and_how_it_ends(program):
    began = trio.current_time()
    run = await run_client(
        program("import sys; print(1); print(' 2 '); sys.stderr.write('why\\n'); sys.exit(7)"),
        limit=LIMIT,
    )
    assert (texts(run), run.end, run.status, run.errors) == (["1", "2"], "exit", 7, "why")
    assert began <= run.started <= run.lines[0].time <= run.ended <= trio.current_time()


async def test_a_line_without_an_end_counts(program):
    assert texts(await run_client(program("print(1, end='')"), limit=LIMIT)) == ["1"]


async def test_lines_have_the_time_at_which_they_came(program):
    code = "import time; print(1); time.sleep(0.3); print(2)"
    first, second = (await run_client(program(code), limit=LIMIT)).lines
    assert second.time - first.time == pytest.approx(0.3, abs=0.15)


async def test_a_crash(program):
    run = await run_client(program("import os; os.kill(os.getpid(), 9)"), limit=LIMIT)
    assert (run.end, run.status) == ("exit", -9)


@pytest.mark.parametrize("command", [["no-such-program"], ["/"], ["a\0b"]])
async def test_what_cannot_be_started(command):
    run = await run_client(command, limit=LIMIT)
    assert (run.end, run.status, run.lines) == ("not started", None, ())
    assert run.errors


async def test_a_client_that_hangs_is_ended(program):
    code = "import os, time; print(os.getpid()); time.sleep(99)"
    with trio.fail_after(5):
        run = await run_client(program(code), limit=0.3)
    assert (run.end, run.status) == ("time limit", None)
    await until_gone(int(texts(run)[0]))


async def test_one_that_will_not_listen_is_killed(program, monkeypatch):
    monkeypatch.setattr("moored.faults.gauntlet.client.TERMINATE_SECONDS", 0.1)
    code = """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid())
        time.sleep(99)
    """
    run = await run_client(program(code), limit=0.5)
    assert run.end == "time limit"
    await until_gone(int(texts(run)[0]))


async def test_one_that_stops_itself_is_killed(program, monkeypatch):
    monkeypatch.setattr("moored.faults.gauntlet.client.TERMINATE_SECONDS", 0.1)
    code = "import os, signal; print(os.getpid()); os.kill(os.getpid(), signal.SIGSTOP)"
    run = await run_client(program(code), limit=0.5)
    assert run.end == "time limit"
    await until_gone(int(texts(run)[0]))


async def test_a_flood_ends_it(program):
    with trio.fail_after(5):
        run = await run_client(program("while True: print(1)"), limit=LIMIT)
    assert run.end == "flood"
    assert sum(len(line.text) + 1 for line in run.lines) <= MAX_OUTPUT_BYTES


async def test_a_flood_of_errors_is_let_go_by(program):
    code = "import sys; [sys.stderr.write('x' * 9999) for _ in range(500)]; sys.stderr.write('end')"
    run = await run_client(program(code), limit=LIMIT)
    assert run.end == "exit"
    assert run.errors.endswith("xend")
    assert len(run.errors) <= 4096


@pytest.mark.parametrize("end", ["", "\\n"])
async def test_an_endless_line_ends_it(program, end):
    code = f"import time; print('1' * {MAX_LINE_BYTES + 1}, end='{end}'); time.sleep(99)"
    with trio.fail_after(5):
        run = await run_client(program(code), limit=LIMIT)
    assert (run.end, run.lines) == ("long line", ())


@pytest.mark.parametrize("how", ["pass", pytest.param("os.setsid()", marks=linux)])
async def test_its_children_are_ended_too(program, how):
    """One in its group; one in a session of its own, whose parent has ended."""
    code = f"""
        import os, time
        if os.fork() == 0:
            {how}
            print(os.getpid(), flush=True)
            time.sleep(99)
        time.sleep(0.3)
    """
    began = time.monotonic()
    run = await run_client(program(code), limit=LIMIT)
    assert run.end == "exit"
    assert time.monotonic() - began < 5  # though the child holds the pipe
    await until_gone(int(texts(run)[0]))


async def test_cancelling_leaves_nothing_behind(program, tmp_path):
    file = tmp_path / "pid"
    code = f"""
        import os, time
        open({str(file)!r} + "~", "w").write(str(os.getpid()))
        os.rename({str(file)!r} + "~", {str(file)!r})
        time.sleep(99)
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_client(program(code), limit=LIMIT))
        with trio.fail_after(5):
            while not file.exists():  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert not alive(int(file.read_text()))


async def test_it_has_no_input_and_its_own_group(program):
    code = "import os, sys; print(repr(sys.stdin.read())); print(os.getpgid(0) == os.getpid())"
    assert texts(await run_client(program(code), limit=LIMIT)) == ["''", "True"]


async def test_signals_are_told(program):
    run = await run_client(program("import os; os.kill(os.getpid(), 15)"), limit=LIMIT)
    assert run.status == -signal.SIGTERM
