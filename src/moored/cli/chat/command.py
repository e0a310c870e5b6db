"""The command line of ``moored chat``."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import attrs
import click

from moored import chat
from moored.cli.api_key import api_key_options, read_api_key
from moored.cli.chat.answering import Answering
from moored.cli.request_fields import field_option
from moored.cli.running import run
from moored.cli.spending import budget_of, prices_of, spending_options

__all__ = ["chat_command"]


@click.command("chat", short_help="Ask a model, and stream its answer.")
@click.argument("prompt", required=False)
@click.option(
    "--base-url",
    required=True,
    envvar="OPENAI_BASE_URL",
    show_envvar=True,
    metavar="URL",
    help="What comes before /chat/completions.",
)
@click.option("--model", required=True, metavar="NAME")
@click.option(
    "--transport", type=click.Choice(["sse", "websocket"]), default="sse", show_default=True
)
@click.option("--system", metavar="TEXT", help="A system message before the prompt.")
@spending_options
@click.option(
    "--on-interrupt",
    type=click.Choice(["raise", "restart", "continue", "resume"]),
    default="raise",
    show_default=True,
    help="What to do when the answer is cut after it has begun.",
)
@click.option(
    "--prefill",
    type=click.Choice(["assistant", "prefix", "continue_final_message"]),
    help="How the endpoint can be told to continue an answer.",
)
@field_option
@api_key_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object, when the answer has ended.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the answer, and what is wrong.")
def chat_command(*, prompt: str | None, **given: Any) -> int:
    """Ask a model at an OpenAI-compatible endpoint, and stream its answer to standard output.

    PROMPT is read from standard input where it is missing or "-".  The API key comes from the
    environment, or else is asked for at the terminal; it is never an argument, which would be kept
    in the shell's history.  Usage, cost, and what was recovered from go to standard error.

    \b
    moored chat --base-url https://api.example.com/v1 --model gpt-5-mini "Why is the sea salt?"
    moored chat --base-url http://127.0.0.1:8000/v1 --model mock --no-api-key hello
    git diff | moored chat --base-url URL --model NAME --system "Review this." --budget 0.05

    With --on-interrupt restart an answer that was cut is given anew, and standard error says to
    discard what came before.  What went into a pipe or a file cannot be taken back: there, the text
    is written when it is complete.

    Exit status: 0 when the answer is complete, or the reader of the output has gone; 1 when it is
    not, and what came of it is there all the same; 2 for wrong usage; 130 and 143 after SIGINT and
    SIGTERM, which hang up.
    """
    options = Options(**given)
    try:
        client = options.client()
        # The key is asked for before the prompt is read: either may take a while.
        messages = [{"role": "user", "content": _prompt(prompt, quiet=options.quiet)}]
        if options.system is not None:
            messages.insert(0, {"role": "system", "content": _text(options.system)})
        asking = client.stream(model=options.model, messages=messages, **options.fields)
    except (TypeError, ValueError) as exc:
        raise click.UsageError(str(exc)) from None
    answering = Answering(
        asking,
        client,
        as_json=options.as_json,
        quiet=options.quiet,
        may_restart=options.on_interrupt == "restart",
    )
    return run(answering.run)


@attrs.frozen(kw_only=True)
class Options:
    """What was given; the fields are the options' names."""

    base_url: str
    model: str
    transport: Any
    system: str | None
    budget: Decimal | None
    price: chat.Price | None
    on_interrupt: Any
    prefill: Any
    fields: dict[str, Any]
    api_key_env: str
    no_api_key: bool
    as_json: bool
    quiet: bool

    def client(self) -> chat.Client:
        """The client.

        :raises click.UsageError: when there is no key.
        :raises ValueError: when the URL, the key or an amount is not fit to be used.
        """
        return chat.Client(
            self.base_url,
            read_api_key(self.api_key_env, no_api_key=self.no_api_key),
            transport=self.transport,
            budget=budget_of(self.budget),
            prices=prices_of(self.price, self.model),
            on_interrupt=self.on_interrupt,
            capabilities=chat.Capabilities(
                prefill=self.prefill, resume=self.on_interrupt == "resume"
            ),
        )


def _prompt(given: str | None, *, quiet: bool) -> str:
    """The prompt; without the argument, what standard input holds."""
    if given is not None and given != "-":
        text = _text(given)
    elif sys.stdin is None:  # as after ``<&-``
        text = ""
    else:
        if sys.stdin.isatty() and not quiet:
            click.echo("moored: type the prompt; Ctrl-D after its last line sends it", err=True)
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        raise click.UsageError("there is no prompt: give one, or send it to standard input")
    return text


def _text(argument: str) -> str:
    """An argument that was not UTF-8 would not fit into JSON."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
