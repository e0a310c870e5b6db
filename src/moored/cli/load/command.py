"""The command line of ``moored load``."""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from decimal import Decimal
from typing import Any

import click
from rich.console import Console

import moored
from moored import chat, faults
from moored.cli.api_key import api_key_options, read_api_key
from moored.cli.fault_option import fault_from_text
from moored.cli.load.burst import Burst
from moored.cli.load.live import drawn, told
from moored.cli.load.plan import Plan
from moored.cli.load.report import print_result
from moored.cli.load.result import Result
from moored.cli.load.timing import MeasuredLimiter
from moored.cli.request_fields import field_option
from moored.cli.running import CommandFailed, Stop, run
from moored.cli.spending import PRICE_HINT, budget_of, prices_of, spending_options

__all__ = ["load"]


class _Finite(click.FloatRange):
    """A range that infinity and NaN, which compares as neither less nor more, are not in."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


_POSITIVE = _Finite(min=0, min_open=True)
_NOT_NEGATIVE = _Finite(min=0)
_MOST_REQUESTS = 1_000_000


@click.command(short_help="Simulate a burst of requests, and measure it.")
@click.option("--requests", type=click.IntRange(1, _MOST_REQUESTS), default=1000, show_default=True)
@click.option(
    "--rate", type=_POSITIVE, metavar="N", help="Arriving each second, at random; else all at once."
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=50, show_default=True, help="Pool's slots."
)
@click.option(
    "--max-queued",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Requests that may wait for a slot; more are refused.",
)
@click.option("--rpm", type=_POSITIVE, metavar="N", help="Limit: requests a minute.")
@click.option("--tpm", type=_POSITIVE, metavar="N", help="Limit: tokens a minute.")
@click.option(
    "--burst-seconds",
    type=_POSITIVE,
    default=60.0,
    show_default=True,
    help="So many seconds' worth of the limits may be used at once.",
)
@click.option("--base-url", metavar="URL", help="By default a mock server in this process.")
@click.option("--model", metavar="NAME", help="Needed with --base-url.")
@click.option(
    "--transport", type=click.Choice(["sse", "websocket"]), default="sse", show_default=True
)
@click.option(
    "--prompt",
    default="Request {n}: tell me about the sea.",
    show_default=True,
    metavar="TEXT",
    help="{n} stands for the request's number.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Of each answer; sent unless --field max_completion_tokens=N is.",
)
@field_option
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="For each request.",
)
@click.option(
    "--on-interrupt",
    type=click.Choice(["raise", "restart"]),
    default="raise",
    show_default=True,
    help="What to do when an answer is cut after it has begun.",
)
@click.option(
    "--timeout", type=_POSITIVE, metavar="SECONDS", help="For each request, from its slot on."
)
@click.option(
    "--drain-timeout",
    type=_NOT_NEGATIVE,
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="After a signal, for the answers under way.",
)
@click.option(
    "--fault",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="Put a fault proxy before the endpoint: see moored proxy --help.  Repeatable.",
)
@click.option(
    "--pace",
    type=_NOT_NEGATIVE,
    default=0.01,
    show_default=True,
    metavar="SECONDS",
    help="Between two tokens of the mock server.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Decides arrivals, faults and jitter."
)
@spending_options
@api_key_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def load(*, as_json: bool, **given: Any) -> int:
    """Simulate a burst of chat requests from many tasks, through a pool and a limiter.

    Each request waits for one of the pool's slots, then for the limiter, streams its answer, and is
    measured.  A 429 holds up all of them, as long as the server says, if there is a limit.

    \b
    moored load --requests 1000 --concurrency 50 --rpm 600 --tpm 100000
    moored load --rate 20 --requests 200 --fault refuse:status=429,retry_after=1,probability=0.1
    moored load --base-url http://127.0.0.1:8000/v1 --model NAME --no-api-key --requests 100

    On a terminal there is a live view, else a line each second on standard error; then tables.
    "Time to first token" runs from sending a request to its first content, and "time to the whole
    answer" from there to its end, over all attempts and what is between them.  "Allowed" is what a
    limit lets through in the time: its burst, and what came back since.

    Exit status: 0 only when all requests were completed; 1 when not; 2 for wrong usage; 130 and 143
    after SIGINT and SIGTERM, which give up what was not sent, let the answers under way end, and
    print the tables.
    """
    plan = _plan(**given)
    console = Console(highlight=False)

    async def command(stop: Stop) -> int:
        async with _prepared(plan) as (burst, proxy), _shown(burst, console, as_json):
            await burst.run(stop)
        result = Result.of(burst, {} if proxy is None else proxy.injected_counts)
        if as_json:
            click.echo(json.dumps(result.to_data(), indent=2))
        else:
            print_result(console, result)
        return stop.status(0 if result.ok else 1)

    return run(command)


def _plan(
    *,
    base_url: str | None,
    model: str | None,
    api_key_env: str,
    no_api_key: bool,
    max_tokens: int,
    fields: dict[str, Any],
    specs: Sequence[str],
    budget: Decimal | None,
    **given: Any,
) -> Plan:
    """The plan, checked as far as it can be before it is carried out."""
    if base_url is None:
        key, model = None, model or "mock"
    elif model is None:
        raise click.UsageError("--base-url needs --model")
    else:
        key = read_api_key(api_key_env, no_api_key=no_api_key)
    _refuse_unpriced(budget, given["price"], model, base_url)
    if not fields.keys() & {"max_tokens", "max_completion_tokens"}:
        fields = {"max_tokens": max_tokens, **fields}
    try:
        schedule = tuple(fault_from_text(spec) for spec in specs)
        if base_url is not None:
            chat.Endpoint(base_url, key)
        return Plan(
            base_url=base_url,
            api_key=key,
            model=model,
            fields=fields,
            faults=schedule,
            budget=budget_of(budget),
            **given,
        )
    except (TypeError, ValueError) as exc:
        raise click.UsageError(str(exc)) from None


def _refuse_unpriced(
    budget: Decimal | None, price: chat.Price | None, model: str, base_url: str | None
) -> None:
    """A budget needs a price; without one, every single request would say so.

    :raises click.UsageError: where there is none.
    """
    if budget is None or price is not None:
        return
    one = chat.Usage(1, 1)
    if base_url is None or chat.Prices().cost(one, model=model, provider_url=base_url) is None:
        raise click.UsageError(
            f"--budget needs a price, and none is known for {model!r}: {PRICE_HINT}"
        )


@asynccontextmanager
async def _prepared(plan: Plan) -> AsyncIterator[tuple[Burst, faults.Proxy | None]]:
    """The servers of the plan, and its client."""
    async with AsyncExitStack() as stack:
        proxy: faults.Proxy | None = None
        try:
            url = plan.base_url
            if url is None:
                server = await stack.enter_async_context(faults.open_server(pace=plan.pace))
                url = f"{server.url}/v1"
            if plan.faults:
                opening = faults.open_proxy(url, schedule=plan.faults, seed=plan.seed)
                proxy = await stack.enter_async_context(opening)
                url = proxy.url
            limiter = MeasuredLimiter(plan.limiter())
            client = await stack.enter_async_context(_client(plan, url, limiter))
            burst = Burst(plan, client, limiter)
            burst.ask(1)  # says what is wrong with the request, and sends nothing
        except (TypeError, ValueError) as exc:
            raise CommandFailed(str(exc), 2) from exc
        yield burst, proxy


def _client(plan: Plan, url: str, limiter: MeasuredLimiter) -> chat.Client:
    return chat.Client(
        url,
        plan.api_key,
        transport=plan.transport,
        limits=limiter,
        budget=plan.budget,
        prices=prices_of(plan.price, plan.model),
        settings=chat.Settings(
            reconnect=moored.Reconnect(initial=0.5, maximum=8.0, attempts=plan.attempts),
            on_interrupt=plan.on_interrupt,
            total_timeout=plan.timeout,
        ),
        rng=random.Random(plan.seed),
    )


def _shown(burst: Burst, console: Console, as_json: bool) -> AbstractAsyncContextManager[None]:
    if as_json:
        return nullcontext()
    return drawn(burst, console) if console.is_terminal else told(burst)
