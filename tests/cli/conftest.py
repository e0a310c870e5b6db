"""The real program, run as a user runs it: another process, its pipes, its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager

import attrs
import pytest
import trio
from anyio.from_thread import start_blocking_portal

from moored.cli import main

LIMIT = 30.0  # seconds: far more than any of these needs
# A leaked socket or a coroutine that was never awaited would show on standard error.
COMMAND = [sys.executable, "-W", "error", "-m", "moored"]


def environment(extra):
    kept = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    return {**kept, "PYTHONUNBUFFERED": "", "COLUMNS": "100", **extra}


@attrs.frozen
class Result:
    status: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def errors(self):
        return self.err.splitlines()


@pytest.fixture
def moored():
    """Run a command to its end."""

    async def run(*arguments, stdin=b"", **env):
        with trio.fail_after(LIMIT):
            done = await trio.run_process(
                [*COMMAND, *arguments],
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment(env),
            )
        return Result(
            done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode()
        )

    return run


@pytest.fixture
def moored_here(capfd):
    """Run a command in this process: where no signal or terminal is the point, it is faster."""

    def run(*arguments):
        return Result(main(arguments), *capfd.readouterr())

    return run


@pytest.fixture
def serving():
    """Enter async context managers, such as servers, in a Trio loop in a thread of its own."""
    with start_blocking_portal("trio") as portal, ExitStack() as stack:

        def enter(context):
            return stack.enter_context(portal.wrap_async_context_manager(context))

        yield enter


class Running:
    """A command that runs; its output is read line by line."""

    def __init__(self, process):
        self.process = process
        self._rest = {process.stdout: b"", process.stderr: b""}

    async def line(self):
        """The next line of standard output; ``""`` at its end."""
        return await self._line(self.process.stdout)

    async def error_line(self):
        return await self._line(self.process.stderr)

    async def error_until(self, words):
        """Read standard error up to a line with ``words``."""
        while words not in (line := await self.error_line()):
            assert line, f"standard error ended without {words!r}"
        return line

    async def _line(self, pipe):
        with trio.fail_after(LIMIT):
            while b"\n" not in self._rest[pipe]:
                data = await pipe.receive_some()
                if not data:
                    break
                self._rest[pipe] += data
        line, _, self._rest[pipe] = self._rest[pipe].partition(b"\n")
        return line.decode()

    async def rest(self):
        """All further lines of standard output."""
        return [line async for line in self._lines(self.line)]

    async def rest_of_errors(self):
        return [line async for line in self._lines(self.error_line)]

    async def _lines(self, read):
        while line := await read():
            yield line

    async def send(self, data):
        await self.process.stdin.send_all(data)

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    async def wait(self):
        with trio.fail_after(LIMIT):
            return await self.process.wait()


@pytest.fixture
def started():
    """Start a command; it is killed where the block ends, if it still runs."""

    @asynccontextmanager
    async def start(*arguments, **env):
        process = await trio.lowlevel.open_process(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
        )
        try:
            yield Running(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    await pipe.aclose()

    return start
