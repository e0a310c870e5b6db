"""The command line of ``moored chat``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs
import click

from moored import chat
from moored.cli.chat.answering import Answering
from moored.cli.running import run

__all__ = ["chat_command"]

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"


def _dollars(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    try:
        amount = Decimal(value.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise click.BadParameter(f"must be US dollars, more than 0, not {value!r}")
    return amount


def _fields(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> Any:
    fields = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"must have the form NAME=JSON, not {value!r}")
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields


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
@click.option(
    "--budget", metavar="USD", callback=_dollars, help="Refuse to send what may cost more."
)
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
@click.option(
    "--field",
    "fields",
    multiple=True,
    callback=_fields,
    metavar="NAME=JSON",
    help="Any other field of the request, such as temperature=0.2; repeatable.",
)
@click.option(
    "--api-key-env",
    default=DEFAULT_KEY_VARIABLE,
    show_default=True,
    metavar="NAME",
    help="The environment variable that holds the API key.",
)
@click.option("--no-api-key", is_flag=True, help="Send no key, and ask for none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, when the answer has ended.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the answer.")
def chat_command(*, prompt: str | None, **given: Any) -> int:
    """Ask a model at an OpenAI-compatible endpoint, and stream its answer to standard output.

    PROMPT is read from standard input where it is missing or "-".  The API key comes from the
    environment, or else is asked for at the terminal; it is never an argument, which would be kept
    in the shell's history.  Usage, cost, and what was recovered from go to standard error.

    \b
    moored chat --base-url https://api.example.com/v1 --model gpt-5-mini "Why is the sea salt?"
    moored chat --base-url http://127.0.0.1:8000/v1 --model mock --no-api-key hello
    git diff | moored chat --base-url URL --model NAME --system "Review this." --budget 0.05

    Exit status: 0 when the answer is complete; 1 when it is not, and what came of it is there all
    the same; 2 for wrong usage; 130 and 143 after SIGINT and SIGTERM.
    """
    options = Options(**given)
    text = sys.stdin.read() if prompt in (None, "-") else prompt
    if not text or not text.strip():
        raise click.UsageError("there is no prompt: give one, or send it to standard input")
    messages = [{"role": "user", "content": text}]
    if options.system is not None:
        messages.insert(0, {"role": "system", "content": options.system})
    try:
        client = options.client()
        asking = client.stream(model=options.model, messages=messages, **options.fields)
    except (TypeError, ValueError) as exc:
        raise click.UsageError(str(exc)) from None
    return run(Answering(asking, as_json=options.as_json, quiet=options.quiet).run)


@attrs.frozen(kw_only=True)
class Options:
    """What was given; the fields are the options' names."""

    base_url: str
    model: str
    transport: Any
    system: str | None
    budget: Decimal | None
    on_interrupt: Any
    prefill: Any
    fields: dict[str, Any]
    api_key_env: str
    no_api_key: bool
    as_json: bool
    quiet: bool

    def client(self) -> chat.Client:
        """The client.

        :raises ValueError: when the URL or the key is not fit to be used.
        """
        return chat.Client(
            self.base_url,
            self._api_key(),
            transport=self.transport,
            on_interrupt=self.on_interrupt,
            capabilities=chat.Capabilities(
                prefill=self.prefill, resume=self.on_interrupt == "resume"
            ),
        )

    def _api_key(self) -> str | None:
        if self.no_api_key:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key and sys.stdin.isatty():
            key = click.prompt("API key", default="", hide_input=True, show_default=False, err=True)
        return key or None
