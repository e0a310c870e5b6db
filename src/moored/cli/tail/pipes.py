"""Standard input and output, without ever holding up the streams.

Both may block for as long as somebody else likes, so they are used in threads, and as file
descriptors: a thread that is left behind must not hold the lock of a buffered file.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import AsyncGenerator

import trio

__all__ = ["OutputPipe", "input_lines"]

_READ_BYTES = 64 * 1024


class OutputPipe:
    """A file descriptor to write to.

    :ivar closed: whether its reader has gone.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.closed: bool = False

    async def write(self, data: bytes) -> bool:
        """Write all of ``data`` now; ``False`` when the reader has gone."""
        try:
            await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)
        except BrokenPipeError:
            self.closed = True
        return not self.closed

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    async def wait_closed(self) -> None:
        """Return when the reader of a pipe has gone.

        The write end of a pipe becomes "readable" with an error then, and at no other time.
        """
        if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            await trio.sleep(math.inf)
        await trio.lowlevel.wait_readable(self._descriptor)
        self.closed = True


async def input_lines(descriptor: int) -> AsyncGenerator[str, None]:
    """The lines that come, without their ends; the last one may lack its own."""
    rest = b""
    while chunk := await trio.to_thread.run_sync(
        os.read, descriptor, _READ_BYTES, abandon_on_cancel=True
    ):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
