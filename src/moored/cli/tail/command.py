"""The command line of ``moored tail``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import click

import moored
from moored.cli.running import run
from moored.cli.tail.follow import Follower
from moored.cli.tail.lines import json_line, plain_line
from moored.cli.tail.options import attempts, body, cursor_reader, headers, resume_writer

__all__ = ["tail"]

_SSE_ONLY = ("data", "last_event_id", "terminator")
_WEBSOCKET_ONLY = ("sends", "sends_input", "subprotocols", "cursor", "resume")


@click.command(short_help="Follow a stream, through drops.")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each message.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing about connections coming and going.")
@click.option("--header", "raw_headers", multiple=True, metavar="'NAME: VALUE'", help="Repeatable.")
@click.option(
    "--data", metavar="JSON|@FILE|-", help="SSE: a body, which makes it a POST; - is stdin."
)
@click.option("--last-event-id", metavar="ID", help="SSE: where to begin.")
@click.option(
    "--terminator", metavar="DATA", help="SSE: data of the event that ends it, such as [DONE]."
)
@click.option(
    "--send", "sends", multiple=True, metavar="TEXT", help="WebSocket: send this first; repeatable."
)
@click.option(
    "--stdin", "sends_input", is_flag=True, help="WebSocket: send standard input's lines."
)
@click.option(
    "--subprotocol", "subprotocols", multiple=True, metavar="NAME", help="WebSocket; repeatable."
)
@click.option(
    "--cursor",
    metavar="KEY",
    help="WebSocket: where JSON messages have their position (id, meta.id); drops repetitions.",
)
@click.option(
    "--resume",
    metavar="TEXT",
    help="WebSocket: sent first on every further connection; {cursor} stands for the position.",
)
@click.option(
    "--max-attempts",
    default="5",
    show_default=True,
    callback=attempts,
    metavar="N|unlimited",
    help="Attempts in a row that may fail; 0 never reconnects.",
)
@click.option(
    "--max-messages", type=click.IntRange(min=1), metavar="N", help="End after so many messages."
)
@click.option(
    "--idle-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Reconnect after so long without a message, however alive the peer seems.",
)
def tail(*, url: str, **given: Any) -> int:
    """Follow a stream of Server-Sent Events (http, https) or a WebSocket (ws, wss), through drops.

    Messages go to standard output, one each line; an SSE event that has several lines of data takes
    several, unless --json is given.  With --json, an event is {"event", "data", "id", "retry"}; a
    WebSocket message is {"text"} or {"bytes"}, in base64.  What happens to the connection goes to
    standard error.

    \b
    moored tail https://example.com/events
    moored tail -q --json wss://example.com/feed --send '{"subscribe": "prices"}'
    moored tail ws://127.0.0.1:8000/feed --cursor id --resume '{"resume": {cursor}}'
    moored tail https://example.com/v1/chat/completions --terminator '[DONE]' \\
        --header "Authorization: Bearer $KEY" --data @request.json

    Exit status: 0 when the stream is complete, --max-messages have come or the reader of the output
    has gone; 1 when the stream failed; 2 for wrong usage; 130 after SIGINT and 143 after SIGTERM,
    which close the stream in order: what is still to be sent goes out first.
    """
    options = Options(url, **given)
    try:
        opening = options.open()
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    follower = Follower(
        opening,
        json_line if options.as_json else plain_line,
        maximum=options.max_messages,
        sends=options.sends,
        sends_input=options.sends_input,
        quiet=options.quiet,
    )
    return run(follower.run)


@attrs.frozen(kw_only=True)
class Options:
    """What was given; the fields are the options' names."""

    url: str = attrs.field(kw_only=False)
    as_json: bool
    quiet: bool
    raw_headers: Sequence[str]
    data: str | None
    last_event_id: str | None
    terminator: str | None
    sends: Sequence[str]
    sends_input: bool
    subprotocols: Sequence[str]
    cursor: str | None
    resume: str | None
    max_attempts: int | None
    max_messages: int | None
    idle_timeout: float | None

    def open(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        """The stream.

        :raises ValueError: when the URL or a header is not fit to be sent.
        :raises click.UsageError: when an option does not go with the URL.
        """
        scheme = self.url.partition(":")[0].lower()
        if scheme in ("http", "https"):
            self._refuse(_WEBSOCKET_ONLY, "ws:// and wss://")
            return self._open_sse()
        if scheme in ("ws", "wss"):
            self._refuse(_SSE_ONLY, "http:// and https://")
            return self._open_websocket()
        raise click.UsageError("the URL must begin with http://, https://, ws:// or wss://")

    def _refuse(self, fields: Sequence[str], scheme: str) -> None:
        names = {"sends": "send", "sends_input": "stdin", "subprotocols": "subprotocol"}
        for field in fields:
            if getattr(self, field) not in (None, (), False):
                option = names.get(field, field).replace("_", "-")
                raise click.UsageError(f"--{option} is for {scheme} only")

    @property
    def _policy(self) -> moored.Policy:
        ordinary = moored.Policy()
        policy = moored.Policy(
            reconnect=moored.Reconnect(attempts=self.max_attempts),
            outbox_messages=ordinary.outbox_messages + len(self.sends),
            outbox_bytes=ordinary.outbox_bytes + sum(len(each.encode()) for each in self.sends),
        )
        if self.idle_timeout is None:
            return policy
        return attrs.evolve(policy, idle_timeout=self.idle_timeout)

    def _open_sse(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        pairs = headers(self.raw_headers)
        content = None if self.data is None else body(self.data, pairs)
        return moored.open_sse(
            self.url,
            content=content,
            headers=pairs,
            last_event_id=self.last_event_id or "",
            terminator=self.terminator,
            policy=self._policy,
            on_gap=self._tell_gap,
        )

    def _open_websocket(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        return moored.open_websocket(
            self.url,
            headers=headers(self.raw_headers),
            subprotocols=self.subprotocols,
            cursor=None if self.cursor is None else cursor_reader(self.cursor),
            resume=None if self.resume is None else resume_writer(self.resume),
            policy=self._policy,
            on_gap=self._tell_gap,
        )

    def _tell_gap(self, gap: moored.Gap) -> None:
        if not self.quiet:
            click.echo(f"moored: messages may have been lost here: {gap.reason}", err=True)
