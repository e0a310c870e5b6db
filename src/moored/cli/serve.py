"""``moored serve``: the mock AI server and numbered feed, as a program."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import attrs
import click
import trio

from moored.cli.running import Stop, run
from moored.cli.serving import Reporter, announce, enter_listening
from moored.faults import ServedRequest, Server, open_server
from moored.faults.duration import duration

__all__ = ["serve"]


@click.command(short_help="Run a mock AI server and a numbered feed.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="0, the default: one that is free."
)
@click.option(
    "--pace",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="Between two tokens or messages.",
)
@click.option(
    "--api-key-env",
    metavar="NAME",
    help="Environment variable with the API key that the chat asks for; by default it asks none.",
)
@click.option(
    "--keepalive",
    type=click.FloatRange(min=0, min_open=True),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Quiet after which the SSE feed sends a comment.",
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON, one object a line.")
def serve(
    *,
    host: str,
    port: int,
    pace: float,
    api_key_env: str | None,
    keepalive: float,
    as_json: bool,
) -> int:
    """Run a mock AI server and a numbered feed.

    Its URL is the first line of standard output; requests are told on standard error.  SIGINT and
    SIGTERM stop it, with exit status 0.

    \b
    GET  /feed                  SSE, resumed by Last-Event-ID
    ws:  /feed                  the same as text messages, resumed by {"resume": n}
    POST /v1/chat/completions   OpenAI's, streamed where "stream" is true
    ws:  /v1/chat/stream        the same request as first message

    The feed takes the parameters count (20), start (1), pace, follow=1 (no end) and resume=n.
    """
    api_key: str | None = None
    if api_key_env is not None:
        api_key = os.environ.get(api_key_env)
        if not api_key:
            raise click.UsageError(f"--api-key-env: {api_key_env} is not set, or empty")

    async def command(stop: Stop) -> int:
        async with AsyncExitStack() as stack:
            opening = open_server(host, port, pace=pace, api_key=api_key, keepalive=keepalive)
            server = await enter_listening(stack, opening, host, port)
            announce(server.url)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_report, server, Reporter(as_json=as_json))
                await stop.wait()
                nursery.cancel_scope.cancel()
        return 0

    return run(command)


async def _report(server: Server, reporter: Reporter) -> None:
    """Tell of each request when its transport and status are known, that is, when it is over."""
    told = 0  # all requests up to this number
    later: set[int] = set()  # and these after it

    def ended() -> list[ServedRequest]:
        found = []
        for request in reversed(server.requests):
            if request.number <= told:
                break
            if request.ended is not None and request.number not in later:
                found.append(request)
        return found[::-1]

    while True:
        await server.wait_until(lambda: bool(ended()))
        for request in ended():
            reporter.tell("request", _words(request), **attrs.asdict(request))
            later.add(request.number)
        while told + 1 in later:
            told += 1
            later.remove(told)


def _words(request: ServedRequest) -> str:
    after = "" if request.resumed_after is None else f", after {request.resumed_after}"
    seconds = (request.ended or request.started) - request.started
    return (
        f"{request.number} {request.method} {request.path} ({request.transport}{after}): "
        f"status {request.status}, {request.sent} messages in {duration(seconds)}, "
        f"{'complete' if request.complete else 'the client left'}"
    )
