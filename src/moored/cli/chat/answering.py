"""One answer on the terminal: its text goes out as it comes, what happened is told after it."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractAsyncContextManager

import attrs
import click

from moored import chat
from moored.cli.chat.summary import facts, summary
from moored.cli.printable import printable
from moored.cli.running import CommandFailed, Stop
from moored.cli.spending import PRICE_HINT
from moored.cli.tail.pipes import OutputPipe
from moored.errors import MooredError

__all__ = ["Answering"]


@attrs.define
class Answering:
    """Streams one answer.

    :param asking: the reply.
    :param client: whose reply it is.
    :param as_json: whether to write one JSON object at the end instead of the text as it comes.
    :param quiet: whether to keep silent about what is neither the answer nor wrong.
    :param may_restart: whether what has come may have to be discarded.
    """

    asking: AbstractAsyncContextManager[chat.Reply]
    client: chat.Client
    as_json: bool = False
    quiet: bool = False
    may_restart: bool = False
    _on_terminal: bool = attrs.field(init=False, factory=lambda: sys.stdout.isatty())
    _output: OutputPipe = attrs.field(
        init=False, factory=lambda: OutputPipe(sys.stdout.fileno()), repr=False
    )
    _in_a_line: bool = attrs.field(init=False, default=False)
    _ways: dict[int, str] = attrs.field(init=False, factory=dict)

    async def run(self, stop: Stop) -> int:
        """Stream it, and return the exit status.

        :raises CommandFailed: when it cannot be completed.
        """
        error: MooredError | None = None
        complete = False
        async with self.asking as reply:
            with stop.scope:
                try:
                    complete = await self._follow(reply)
                except MooredError as exc:
                    error = exc
        if self.as_json:
            data = summary(reply, error, complete=complete)
            await self._output.write((json.dumps(data, indent=2) + "\n").encode())
        else:
            await self._finish_text(reply)
            self._tell_of(reply, error)
        if error is not None:
            raise CommandFailed(printable(_words(error)))
        return stop.status()

    async def _follow(self, reply: chat.Reply) -> bool:
        """Show it as it comes; whether it has come to its end."""
        async for event in reply:
            if not await self._show(event):
                return False  # whoever reads has gone
        return True

    @property
    def _holds_back(self) -> bool:
        return self.as_json or (self.may_restart and not self._on_terminal)

    async def _show(self, event: chat.ChatEvent) -> bool:
        match event:
            case chat.Text(text=text, choice=0) | chat.Refusal(text=text, choice=0):
                return self._holds_back or await self._write(text)
            case chat.Restarted(cause=cause):
                self._ways[id(cause)] = "the answer was given anew"
                if self._in_a_line:
                    self._in_a_line = False
                    await self._output.write(b"\n")
                if not self._holds_back:  # also where it is to be quiet: else two answers mingle
                    self._tell(f"DISCARD THE ABOVE, the answer begins anew: {cause}", always=True)
            case chat.Continued(cause=cause):
                self._ways[id(cause)] = "the model continued the answer"
            case chat.Resumed(cause=cause):
                self._ways[id(cause)] = "the server resumed the answer"
        return True

    async def _write(self, text: str) -> bool:
        self._in_a_line = not text.endswith("\n")
        shown = printable(text) if self._on_terminal else text
        return await self._output.write(shown.encode("utf-8", "replace"))

    async def _finish_text(self, reply: chat.Reply) -> None:
        answer = reply.answer
        if self._holds_back and (answer.text or answer.refusal):
            await self._write(answer.text + answer.refusal)
        if self._in_a_line:
            await self._output.write(b"\n")

    def _tell_of(self, reply: chat.Reply, error: MooredError | None) -> None:
        for failure in reply.failures:
            if failure is not error:
                way = self._ways.get(id(failure), "asked again")
                self._tell(f"{way} after: {failure.args[0]}")
        for words in facts(reply, self.client):
            self._tell(words)

    def _tell(self, words: str, *, always: bool = False) -> None:
        if always or not self.quiet:
            click.echo(f"moored: {' '.join(printable(words).split())}", err=True)


def _words(error: MooredError) -> str:
    if isinstance(error, chat.PriceUnknown):
        return f"{error}: {PRICE_HINT}, or leave out --budget"
    if isinstance(error, chat.ReplyError) and error.answer.begun:
        return f"the answer is not complete: {error}"
    return str(error)
