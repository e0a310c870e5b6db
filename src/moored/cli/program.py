"""The command line: what there is, and how errors are told."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from moored.cli.running import CommandFailed

__all__ = ["moored", "run"]

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


_COMMANDS = {
    "chat": ("moored.cli.chat.command", "chat_command"),
    "demo": ("moored.cli.demo.command", "demo"),
    "gauntlet": ("moored.cli.gauntlet.command", "gauntlet"),
    "load": ("moored.cli.load.command", "load"),
    "proxy": ("moored.cli.proxy.command", "proxy"),
    "serve": ("moored.cli.serve", "serve"),
    "tail": ("moored.cli.tail.command", "tail"),
    "toxiproxy": ("moored.cli.toxiproxy", "toxiproxy"),
}


class _Commands(click.Group):
    """The commands, each loaded when it is asked for: together they take most of a second.

    As Click's own documentation has it, "Lazily Loading Subcommands".
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings=_SETTINGS, invoke_without_command=True)
@click.version_option(version("moored"), prog_name="moored", message="%(prog)s %(version)s")
@click.pass_context
def moored(context: click.Context) -> None:
    """Streaming connections that stay alive: WebSocket and Server-Sent Events.

    \b
    moored demo                              watch streams live through faults
    moored tail wss://example.com/feed       follow a stream, through drops
    moored chat --base-url URL --model NAME  ask a model, and stream its answer
    moored load --requests 1000 --rpm 600    a burst of requests, limited and measured
    moored serve                             a mock AI server and a numbered feed
    moored proxy --upstream URL --fault ...  break connections on purpose
    moored gauntlet -- COMMAND {url}         score any client against faults
    moored toxiproxy                         raw TCP proxies, for clients of Toxiproxy

    Exit statuses: 0 when what was asked for was done, 1 when not, 2 for wrong usage, 130 and 143
    after SIGINT and SIGTERM.  A second signal stops at once.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def run(arguments: Sequence[str]) -> int:
    """Run the command with ``arguments`` and return its exit status."""
    if sys.stdout is None:  # as after ``>&-``
        return _fail("standard output is closed", 1)
    try:
        # Not standalone: click's own words for an error take four lines.
        status = moored.main(list(arguments), prog_name="moored", standalone_mode=False)
    except click.UsageError as exc:
        path = exc.ctx.command_path if exc.ctx is not None else "moored"
        return _fail(f"{exc.format_message()} (see {path} --help)", 2)
    except click.ClickException as exc:
        return _fail(exc.format_message(), 2)
    except CommandFailed as exc:
        return _fail(str(exc), exc.status)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as exc:
        # The interpreter would fail again over flushing what could not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):  # whoever read our output has gone
            return 0
        return _fail(exc.strerror or str(exc), 1)
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    click.echo("moored: " + " ".join(message.split()), err=True)
    return status
