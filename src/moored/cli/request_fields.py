"""Fields of a chat request that have no option of their own: ``--field temperature=0.2``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import click

__all__ = ["field_option"]

F = TypeVar("F", bound=Any)

_GIVEN_OTHERWISE = {
    "model": "--model gives it",
    "messages": "the prompt gives them",
    "stream": "an answer is always streamed",
    # What the client takes for itself, and does not send.
    **dict.fromkeys(
        ("settings", "on_interrupt", "budget", "tags", "conversation"), "it is no field"
    ),
}


def field_option(command: F) -> F:
    """Give ``command`` the option ``--field``, as a mapping ``fields``."""
    decorated: F = click.option(
        "--field",
        "fields",
        multiple=True,
        callback=_fields,
        metavar="NAME=JSON",
        help="Any other field of the request, such as temperature=0.2; repeatable.  What is no "
        "JSON is text.",
    )(command)
    return decorated


def _fields(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> Any:
    fields: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"must have the form NAME=JSON, not {value!r}")
        if name in _GIVEN_OTHERWISE:
            raise click.BadParameter(f"{name} cannot be given: {_GIVEN_OTHERWISE[name]}")
        if name in fields:
            raise click.BadParameter(f"{name} is given twice")
        try:
            fields[name] = json.loads(text)
        except (ValueError, RecursionError):
            fields[name] = text
    return fields
