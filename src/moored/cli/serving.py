"""What ``serve`` and ``proxy`` have in common: listening, and telling what happens."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

import click

from moored.cli.running import CommandFailed

__all__ = ["Reporter", "announce", "enter_listening"]

T = TypeVar("T")


class Reporter:
    """Tells what happens, one line each, on standard error.

    :param as_json: whether as JSON objects.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def tell(self, event: str, words: str, **facts: Any) -> None:
        """Tell one thing: as ``words``, or as JSON with the name of the event and its facts."""
        line = json.dumps({"event": event, **facts}) if self._as_json else words
        click.echo(line, err=True)


def announce(url: str) -> None:
    """Print the URL on standard output, at once: who started us may wait for it."""
    click.echo(url)


async def enter_listening(
    stack: AsyncExitStack, listening: AbstractAsyncContextManager[T], host: str, port: int
) -> T:
    """Enter a context that listens on an address.

    :raises CommandFailed: when the address cannot be had, or a setting is wrong.
    """
    try:
        return await stack.enter_async_context(listening)
    except OSError as exc:
        raise CommandFailed(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise CommandFailed(str(exc), 2) from exc
