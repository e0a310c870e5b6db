"""``moored toxiproxy``: raw TCP proxies, controlled as Toxiproxy's are."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from moored.cli.running import CommandFailed, Stop, run
from moored.cli.serving import announce, enter_listening
from moored.faults.control import ApiError, open_control
from moored.faults.control.toxiproxy import VERSION

__all__ = ["toxiproxy"]


@click.command(short_help="Raw TCP proxies, for clients of Toxiproxy.")
@click.option("-host", "--host", default="localhost", show_default=True, help="Where to listen.")
@click.option(
    *("-port", "--port"),
    type=click.IntRange(0, 65535),
    default=8474,
    show_default=True,
    help="0: one that is free.",
)
@click.option(
    *("-config", "--config", "file"),
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON: a list of proxies to begin with, as for POST /populate.",
)
@click.option(
    *("-seed", "--seed"), type=int, default=0, show_default=True, help="Decides all that is random."
)
@click.option(
    *("-proxy-metrics", "--proxy-metrics", "metrics"),
    is_flag=True,
    help="Count bytes for Prometheus at /metrics.",
)
@click.option(
    "--token",
    envvar="MOORED_TOKEN",
    metavar="TEXT",
    help="What requests have to bear; required unless HOST is loopback.  [env: MOORED_TOKEN]",
)
@click.version_option(
    VERSION, "-version", "--version", message="moored toxiproxy, with the API of %(version)s"
)
def toxiproxy(
    *, host: str, port: int, file: Path | None, seed: int, metrics: bool, token: str | None
) -> int:
    """Run a server that any client of Toxiproxy can drive, with the proxies that it makes.

    Options, HTTP API and toxics are those of toxiproxy-server, and there are more toxics: corrupt,
    half_open and never_answer.  The URL is the first line of standard output.  SIGINT and SIGTERM
    close all connections in order, with exit status 0.
    """
    populate = [] if file is None else _proxies(file)

    async def command(stop: Stop) -> int:
        async with AsyncExitStack() as stack:
            opening = open_control(
                host, port, seed=seed, populate=populate, metrics=metrics, token=token
            )
            try:
                control = await enter_listening(stack, opening, host, port)
            except ApiError as exc:
                raise CommandFailed(f"--config {file}: {exc}") from exc
            announce(control.url)
            await stop.wait()
        return 0

    return run(command)


def _proxies(file: Path) -> list[Any]:
    try:
        data = json.loads(file.read_text("utf-8-sig"))
    except OSError as exc:
        raise click.UsageError(f"--config: cannot read {file}: {exc.strerror}") from exc
    except ValueError as exc:
        raise click.UsageError(f"--config: {file} is not JSON: {exc}") from exc
    if not isinstance(data, list):
        raise click.UsageError(f"--config {file}: it must hold a list of proxies")
    return data
