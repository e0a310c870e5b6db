"""One answer on the terminal: its text goes out as it comes, what happened is told after it."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import click

from moored import chat
from moored.cli.running import CommandFailed, Stop
from moored.cli.tail.pipes import OutputPipe
from moored.errors import MooredError

__all__ = ["Answering"]


@attrs.define
class Answering:
    """Streams one answer.

    :param asking: the reply.
    :param as_json: whether to write one JSON object at the end instead of the text as it comes.
    :param quiet: whether to keep silent about everything else.
    """

    asking: AbstractAsyncContextManager[chat.Reply]
    as_json: bool = False
    quiet: bool = False
    _in_a_line: bool = attrs.field(init=False, default=False)

    async def run(self, stop: Stop) -> int:
        """Stream it, and return the exit status.

        :raises CommandFailed: when it cannot be completed.
        """
        output = OutputPipe(sys.stdout.fileno())
        error: MooredError | None = None
        async with self.asking as reply:
            with stop.scope:
                try:
                    async for event in reply:
                        if not await self._show(event, output):
                            return 0  # whoever reads has gone
                except MooredError as exc:
                    error = exc
        if self._in_a_line and not self.as_json:
            await output.write(b"\n")
        if self.as_json:
            await output.write((json.dumps(_summary(reply, error), indent=2) + "\n").encode())
        else:
            self._tell_of(reply, error)
        if error is not None:
            raise CommandFailed(_words(error))
        return stop.status()

    async def _show(self, event: chat.ChatEvent, output: OutputPipe) -> bool:
        match event:
            case chat.Text(text=text, choice=0) | chat.Refusal(text=text, choice=0):
                if self.as_json:
                    return True
                self._in_a_line = not text.endswith("\n")
                return await output.write(text.encode("utf-8", "replace"))
            case chat.Restarted():
                if self._in_a_line and not self.as_json:
                    self._in_a_line = False
                    await output.write(b"\n")
                self._tell(f"the answer is given anew, discard the above: {event.cause}")
        return True

    def _tell_of(self, reply: chat.Reply, error: MooredError | None) -> None:
        for failure in reply.failures:
            if failure is not error:
                self._tell(f"recovered from: {failure.args[0]}")
        facts = []
        if reply.usage is not None:
            facts.append(f"{reply.usage.input_tokens} input tokens")
            facts.append(f"{reply.usage.output_tokens} output tokens")
        else:
            facts.append("no usage reported")
        facts.append(f"finish reason {reply.finish_reason or 'none'}")
        if reply.attempts > 1:
            facts.append(f"{reply.attempts} attempts")
        self._tell(", ".join(facts))

    def _tell(self, words: str) -> None:
        if not self.quiet:
            click.echo(f"moored: {words}", err=True)


def _words(error: MooredError) -> str:
    if isinstance(error, chat.ReplyError) and error.answer.text:
        return f"the answer is not complete: {error}"
    return str(error)


def _summary(reply: chat.Reply, error: MooredError | None) -> dict[str, Any]:
    answer = reply.answer
    return {
        "text": answer.text,
        "reasoning": answer.reasoning,
        "refusal": answer.refusal,
        "tool_calls": [call.message() for call in answer.tool_calls],
        "finish_reason": answer.finish_reason,
        "complete": error is None,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "usage": None if answer.usage is None else attrs.asdict(answer.usage),
        "model": answer.model,
        "endpoint": None if reply.endpoint is None else reply.endpoint.name,
        "attempts": reply.attempts,
        "failures": [
            {"type": type(each).__name__, "message": str(each.args[0])} for each in reply.failures
        ],
    }
