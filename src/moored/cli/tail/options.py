"""Reading what was given to ``moored tail``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["attempts", "body", "cursor_reader", "headers", "resume_writer"]


def attempts(context: click.Context, option: click.Parameter, value: str) -> int | None:
    """The number that ``--max-attempts`` gives, or ``None`` for ``unlimited``.

    :raises click.BadParameter: when it is neither.
    """
    if value == "unlimited":
        return None
    if value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise click.BadParameter(
        f"must be an integer of at least 0, or 'unlimited', not {value!r}", context, option
    )


def headers(given: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs from ``Name: value``.

    :raises click.UsageError: without showing the value, which may be secret.
    """
    pairs = []
    for number, text in enumerate(given, 1):
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"--header number {number} must have the form 'Name: value'")
        pairs.append((name.strip(), value.strip()))
    return pairs


def body(given: str, pairs: list[tuple[str, str]]) -> bytes:
    """The body that ``--data`` gives; its content type is added to the headers.

    :raises click.UsageError: when it cannot be read, or is not JSON and nothing says what it is.
    """
    if given == "-":
        data = sys.stdin.buffer.read()
    elif given.startswith("@"):
        try:
            data = Path(given[1:]).read_bytes()
        except OSError as exc:
            raise click.UsageError(f"--data: cannot read {given[1:]}: {exc.strerror}") from exc
    else:
        data = given.encode()
    if not any(name.lower() == "content-type" for name, _ in pairs):
        try:
            json.loads(data)
        except ValueError:
            message = "--data must be JSON, unless --header 'Content-Type: ...' says otherwise"
            raise click.UsageError(message) from None
        pairs.append(("Content-Type", "application/json"))
    return data


def cursor_reader(key: str) -> Callable[[Any], Any]:
    """A function that finds the position under ``key``, such as ``meta.id``, of a JSON message."""

    def cursor(message: str | bytes) -> str | int | None:
        try:
            found: Any = json.loads(message)
        except ValueError:
            return None
        for step in key.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return found if isinstance(found, str | int) else None

    return cursor


def resume_writer(template: str) -> Callable[[Any], str]:
    """A function that puts a position, as JSON, in the place of ``{cursor}``."""
    return lambda position: template.replace("{cursor}", json.dumps(position))
