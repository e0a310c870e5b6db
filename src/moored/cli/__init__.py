"""The commands: ``moored demo | tail | chat | load | serve | proxy | toxiproxy | gauntlet``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_OF_THE_EXTRA = ("click", "jinja2", "rich")  # the rest comes with moored itself


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``moored`` and return its exit status.

    :param arguments: by default those of the process.
    """
    try:
        from moored.cli import program

        return program.run(sys.argv[1:] if arguments is None else list(arguments))
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _OF_THE_EXTRA:
            raise
        print("moored: the commands need more packages: install moored[cli]", file=sys.stderr)
        return 2
