"""The API key: from the environment, or asked for at the terminal, never from an argument."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, TypeVar

import click

__all__ = ["api_key_options", "read_api_key"]

DEFAULT_VARIABLE = "OPENAI_API_KEY"

F = TypeVar("F", bound=Any)


def api_key_options(command: F) -> F:
    """Give ``command`` the options ``--api-key-env`` and ``--no-api-key``."""
    from_variable = click.option(
        "--api-key-env",
        default=DEFAULT_VARIABLE,
        show_default=True,
        metavar="NAME",
        help="The environment variable that holds the API key.",
    )
    without = click.option("--no-api-key", is_flag=True, help="Send no key, and ask for none.")
    decorated: F = from_variable(without(command))
    return decorated


def read_api_key(variable: str, *, no_api_key: bool) -> str | None:
    """The key, or ``None`` where there is to be none.

    The terminal is asked also where standard input is something else.

    :param variable: the environment variable that may hold it.
    :raises click.UsageError: when there is no key, and no terminal to ask at.
    """
    if no_api_key:
        return None
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    if not _has_terminal():
        raise click.UsageError(
            f"there is no API key: set {variable}, name another variable with --api-key-env, "
            "or give --no-api-key"
        )
    ask = partial(click.prompt, hide_input=True, show_default=False, err=True)
    entered: str = ask("API key (empty for none)", default="")
    return entered.strip() or None


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
