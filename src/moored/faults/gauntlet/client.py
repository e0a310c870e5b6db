"""One client program, run as a process of its own: bounded in time and output, and always ended."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

import attrs
import trio

from moored.faults.gauntlet.contract import MAX_LINE_BYTES, MAX_OUTPUT_BYTES

__all__ = ["ClientRun", "End", "Line", "run_client"]

End: TypeAlias = Literal["exit", "time limit", "flood", "long line", "not started"]

MARK = "MOORED_GAUNTLET_CLIENT"
"""The environment variable by which the processes of one client are known."""

TERMINATE_SECONDS = 1.0
"""How long a client has to end itself when told to."""

DRAIN_SECONDS = 0.5
"""How long output is read after the client's end: a child of it may hold the pipe for ever."""

SWEEPS = 5
ERROR_BYTES = 4096
_READ_BYTES = 16 * 1024


@attrs.frozen
class Line:
    """One line of standard output.

    :ivar time: when it came, by Trio's clock, in seconds.
    """

    time: float
    text: str


@attrs.frozen
class ClientRun:
    """What a client program did.

    :ivar lines: what it printed.
    :ivar end: how it ended: by itself, or for what it was ended.
    :ivar status: its exit status where it ended by itself; negative: the signal that it died of.
    :ivar started: when, by Trio's clock, in seconds.
    :ivar ended: when.
    :ivar errors: the end of its standard error, or why it could not be started.
    """

    lines: tuple[Line, ...]
    end: End
    status: int | None
    started: float
    ended: float
    errors: str = ""


class _Lines:
    """Splits output into lines, within bounds.

    :ivar excess: which bound was passed, if one was.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.excess: Literal["flood", "long line"] | None = None
        self._rest = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        now = trio.current_time()
        self._size += len(data)
        if self._size > MAX_OUTPUT_BYTES:
            self.excess = "flood"
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > MAX_LINE_BYTES for line in (*lines, self._rest)):
            self.excess = "long line"
            return
        self.lines += [Line(now, line.decode("utf-8", "replace").strip()) for line in lines]

    def finish(self) -> None:
        """The output is over: what has no line end counts as a line too."""
        if self._rest and self.excess is None:
            self.feed(b"\n")


async def run_client(command: Sequence[str], *, limit: float) -> ClientRun:
    """Run a client program to its end, or to the end of what is allowed.

    It gets a process group of its own, which is ended in any case: told to terminate, and killed
    after :data:`TERMINATE_SECONDS`.  Where the system shows the environment of processes (Linux),
    children that left the group are found and killed too.

    :param command: the program and its arguments.
    :param limit: seconds that it may take.
    """
    started = trio.current_time()
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", MARK: mark}
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment,
        )
    except (OSError, ValueError) as exc:  # ValueError: a NUL in an argument
        return ClientRun((), "not started", None, started, trio.current_time(), str(exc))
    try:
        return await _follow(process, started, limit)
    finally:
        with trio.CancelScope(shield=True):
            await _end(process, mark)


class _Tail:
    """The end of what was written."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        self._data = (self._data + data)[-ERROR_BYTES:]

    def __str__(self) -> str:
        return self._data.decode("utf-8", "replace").strip()


async def _follow(process: trio.Process, started: float, limit: float) -> ClientRun:
    output, errors = _Lines(), _Tail()
    ended = math.nan
    with trio.CancelScope(deadline=started + limit) as running:

        def take(data: bytes) -> None:
            output.feed(data)
            if output.excess is not None:
                running.cancel()

        async with trio.open_nursery() as readers:
            readers.start_soon(_read, process.stdout, take)
            readers.start_soon(_read, process.stderr, errors.feed)
            await process.wait()
            running.deadline = math.inf
            ended = trio.current_time()
            readers.cancel_scope.deadline = ended + DRAIN_SECONDS
    if running.cancelled_caught:
        end: End = output.excess or "time limit"
        status, ended = None, trio.current_time()
    else:
        output.finish()
        end, status = output.excess or "exit", process.returncode
    return ClientRun(tuple(output.lines), end, status, started, ended, str(errors))


async def _read(pipe: trio.abc.ReceiveStream | None, take: Callable[[bytes], object]) -> None:
    assert pipe is not None
    with suppress(trio.BrokenResourceError):
        while data := await pipe.receive_some(_READ_BYTES):
            take(bytes(data))


async def _end(process: trio.Process, mark: str) -> None:
    """Leave nothing of the client behind."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with trio.move_on_after(TERMINATE_SECONDS):
            await process.wait()
    _kill(process)
    await process.wait()
    for _ in range(SWEEPS):  # What forks meanwhile is found by the next one.
        for pid in (pids := _marked(mark)):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        await trio.aclose_forcefully(pipe)


def _kill(process: trio.Process) -> None:
    if os.name == "posix":
        _signal(process, signal.SIGKILL)
    elif process.returncode is None:
        process.kill()


def _signal(process: trio.Process, number: signal.Signals) -> None:
    """Send a signal to the client's process group."""
    if os.name != "posix":
        process.send_signal(number)
        return
    # macOS answers EPERM where all that is left of the group has ended and was not waited for.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _marked(mark: str) -> list[int]:
    """The processes that have the mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # It has ended, or is another user's.
            if wanted in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found
