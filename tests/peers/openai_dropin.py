"""openai-python, unmodified, on Trio: each fault without and with Moored's transport.

Prints a table; ``--write`` puts it into docs/howto/dropin.md.  Everything happens in memory and
under a virtual clock, with the SDK's own defaults, so that an hour takes no time::

    python tests/peers/openai_dropin.py --write
"""

from __future__ import annotations

import argparse
import logging
import platform
import random
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import openai
import trio
import trio.testing

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "dropin"))

from support import (  # type: ignore[import-not-found]  # noqa: E402
    ANSWER,
    COMMENT,
    DONE,
    LIBRARIES,
    ROLE,
    STOP,
    Script,
    chunk,
    event,
    memory_transport,
    says,
)

from moored import faults  # noqa: E402

PAGE = ROOT / "docs" / "howto" / "dropin.md"
BEGIN = "<!-- begin: faults (python tests/peers/openai_dropin.py --write) -->"
END = "<!-- end: faults -->"
LIMIT = 3600.0
"""Virtual seconds after which a case counts as hung."""

LIBRARY = LIBRARIES["httpx2"]
MESSAGES: Any = [{"role": "user", "content": "How do boats come home?"}]


class Faulty:
    """The mock server behind the proxy, in memory."""

    def __init__(self, schedule: Sequence[faults.Fault], nursery: trio.Nursery) -> None:
        self.server = faults.Server()

        async def connect() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(self.server.serve_connection, theirs)
            return ours

        self.proxy = faults.Proxy("http://server.test", schedule=schedule, connect_upstream=connect)
        self.serve_connection = self.proxy.serve_connection


class Counting(LIBRARY.module.AsyncBaseTransport):
    """Counts what is sent."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.requests = 0

    async def handle_async_request(self, request: Any) -> Any:
        self.requests += 1
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


Make = Callable[[trio.Nursery], Any]


@attrs.frozen
class Case:
    """One fault.

    :ivar text: the whole answer, or ``None`` for the mock server's.
    """

    name: str
    make: Make
    text: str | None = None


def proxied(name: str, *schedule: faults.Fault) -> Case:
    return Case(name, lambda nursery: Faulty(schedule, nursery))


def scripted(name: str, *steps: object, **options: object) -> Case:
    return Case(name, lambda nursery: Script(says(*steps, **options)), "Hello")


CHOICE_ERROR = event(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [
            {
                "index": 0,
                "delta": {"content": ""},
                "finish_reason": "error",
                "error": {"code": 502, "message": "the model is down"},
            }
        ],
    }
)
THOUGHT = (15, COMMENT) * 39
CASES = (
    proxied("nothing goes wrong"),
    proxied("429 with `Retry-After: 2`, four times", faults.Refuse(times=4, retry_after=2)),
    proxied("503, four times", faults.Refuse(status=503, times=4)),
    proxied("401", faults.Refuse(status=401)),
    proxied(
        "the connection cut before the head, four times", faults.Cut(at="before_head", times=4)
    ),
    proxied("cut behind the head, once", faults.Cut(at="after_head", attempt=1)),
    proxied("an empty body, once", faults.Drop(message=range(1, 99), attempt=1)),
    proxied("never answered, once", faults.Stall(at="after_request", attempt=1)),
    proxied(
        "nothing but comments, once",
        faults.CommentsOnly(after_messages=0, interval=15, attempt=1),
    ),
    scripted("ten minutes of comments, then the answer", ROLE, *THOUGHT, 14, *ANSWER[1:]),
    proxied("cut in the middle", faults.Cut(after_messages=10)),
    proxied("the body ends in the middle, in good order", faults.Drop(message=range(11, 99))),
    proxied("silence in the middle", faults.Stall(after_messages=10)),
    proxied(
        "comments in the middle, and nothing else",
        faults.CommentsOnly(after_messages=10, interval=15),
    ),
    proxied("an error event in the middle", faults.ErrorEvent(message=10)),
    scripted("an error inside a choice, then `[DONE]`", *ANSWER[:2], CHOICE_ERROR, DONE),
    proxied("bad JSON in the middle", faults.Spoil(message=10)),
    scripted("no `[DONE]`, but a finish reason", ROLE, chunk("Hel"), chunk("lo"), STOP),
    scripted("a byte order mark before the first event", "\ufeff", *ANSWER[1:]),
    scripted(
        "as `text/plain`, the body ends in the middle", *ANSWER[:2], content_type="text/plain"
    ),
    scripted(
        "as `text/plain`, comments in the middle, and nothing else",
        *ANSWER[:2],
        *THOUGHT * 7,
        content_type="text/plain",
    ),
    proxied("cut behind `[DONE]`", faults.Cut(at="after_done", how="rst")),
    proxied("silence behind `[DONE]`", faults.Stall(at="after_done")),
)


async def answer(client: openai.AsyncOpenAI, pieces: list[str]) -> None:
    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    async for part in stream:
        if part.choices:
            pieces.append(part.choices[0].delta.content or "")


@attrs.frozen
class Outcome:
    """What the user saw."""

    text: str
    error: BaseException | None
    hung: bool
    seconds: float
    requests: int

    def words(self, whole: str) -> str:
        took = f", {self.seconds:.0f} s" if self.seconds >= 0.5 else ""
        sent = f", {self.requests} requests" if self.requests > 1 else ""
        if self.hung:
            return f"**hangs** (an hour, then given up{sent})"
        if self.error is None:
            if self.text == whole:
                return f"complete{took}{sent}"
            return f"**truncated, and reported as success**{took}{sent}"
        said = f"`{type(self.error).__name__}`"
        cause = self.error.__cause__
        if cause is not None and type(cause).__module__.startswith("moored."):
            said += f" from `{type(cause).__name__.removeprefix('_')}`"
            if getattr(cause, "text", ""):
                said += ", with the text"
        return f"{said}{took}{sent}"


async def ask(case: Case, nursery: trio.Nursery, *, transport: bool) -> Outcome:
    """Put ``case`` to the SDK, as it comes or on the transport."""
    server = case.make(nursery)
    wire = Counting(memory_transport(LIBRARY, server.serve_connection, nursery))
    used = LIBRARY.transport(wire, rng=random.Random(1)) if transport else wire
    http_client = LIBRARY.module.AsyncClient(transport=used)
    options: dict[str, Any] = {"max_retries": 0} if transport else {}
    async with openai.AsyncOpenAI(
        base_url="http://server.test/v1", api_key="sk-x", http_client=http_client, **options
    ) as client:
        # It asks for this in a thread, for which a virtual clock does not wait.
        client._platform = "Linux"
        pieces: list[str] = []
        error: Exception | None = None
        began = trio.current_time()
        with trio.move_on_after(LIMIT) as scope:
            try:
                await answer(client, pieces)
            except Exception as exc:  # noqa: BLE001  # whatever reaches a user is the finding
                error = exc
        seconds = trio.current_time() - began
    return Outcome("".join(pieces), error, scope.cancelled_caught, seconds, wire.requests)


def run(case: Case, *, transport: bool) -> Outcome:
    """The same, in a loop and a time of its own."""

    async def main() -> Outcome:
        async with trio.open_nursery() as nursery:
            outcome = await ask(case, nursery, transport=transport)
            nursery.cancel_scope.cancel()
        return outcome

    random.seed(1)  # the SDK's jitter
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def table() -> str:
    """All cases, in Markdown."""
    whole = run(CASES[0], transport=False).text
    lines = ["| fault | openai alone | through the transport |", "| --- | --- | --- |"]
    for case in CASES:
        outcomes = (run(case, transport=transport) for transport in (False, True))
        cells = [outcome.words(case.text or whole) for outcome in outcomes]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    names = ("openai", "httpx2", "trio")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"Python {platform.python_version()}, {versions}.\n\n" + "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args(arguments)
    # The SDK leaves its generators to the garbage collector.
    warnings.simplefilter("ignore", ResourceWarning)
    logging.disable(logging.WARNING)
    made = table()
    print(made)
    if options.write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
