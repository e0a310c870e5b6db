"""The tables of the docs, as Markdown, made from the code that they describe.

Each function returns one table.  docs/diagram.py puts them into the pages, and tests/test_docs.py
fails when a page differs.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import ssl
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

import attrs

import moored
from moored.core import causes, policy, transitions
from moored.core.backoff import RetryBudget
from moored.core.causes import Cause, Verdict
from moored.core.policy import Heartbeat, Policy, Reconnect
from moored.core.transitions import TRANSITIONS, State
from moored.faults.gauntlet import catalogue


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def summary(thing: object) -> str:
    """The first sentence of a docstring, on one line."""
    return as_markdown((inspect.getdoc(thing) or "").split("\n\n")[0]).split(".  ")[0].rstrip(".")


def as_markdown(text: str) -> str:
    """The code and the roles of a docstring as plain code, on one line."""
    text = " ".join(text.split()).replace("``", "`")
    return re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", text)


def home(name: str, thing: object) -> str:
    """The full name of ``thing`` where it is defined."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    for module_name, module in sorted(sys.modules.items()):
        if module_name.startswith("moored.") and vars(module).get(name) is thing:
            return f"{module_name}.{name}"
    return name


def attribute_docs(module: ModuleType, name: str = "") -> dict[str, str]:
    """The strings under the assignments in a module or its class: Python itself drops them."""
    body = ast.parse(inspect.getsource(module)).body
    if name:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == name)
    found = {}
    for node, after in itertools.pairwise(body):
        match node, after:
            case (
                ast.Assign(targets=[ast.Name(id=key)]) | ast.AnnAssign(target=ast.Name(id=key)),
                ast.Expr(ast.Constant(str() as text)),
            ):
                found[key] = as_markdown(text)
    return found


def names() -> str:
    """What ``import moored`` offers.  The roles lead to the page of each name's own module."""
    rows = []
    for name in getattr(moored, "__all__", ()):
        thing = getattr(moored, name)
        if not name.startswith("__"):
            rows.append((f"{{py:obj}}`moored.{name}`", summary_of(name, thing)))
    return table(("name", "what it is"), rows)


def summary_of(name: str, thing: object) -> str:
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return summary(thing)
    path = home(name, thing).rpartition(".")[0]
    return attribute_docs(sys.modules[path]).get(name, "").split(".  ")[0].rstrip(".")


def states() -> str:
    """Each state, what it means, and where it leads."""
    meanings = attribute_docs(transitions, "State")
    rows = []
    for state in State:
        leads = dict.fromkeys(
            then.name for (here, _), (then, _) in TRANSITIONS.items() if here is state is not then
        )
        rows.append((code(state.name), meanings[state.name], code(*leads) or "nothing"))
    return table(("state", "means", "leads to"), rows)


def moves() -> str:
    """The transition table, row by row."""
    return table(
        ("in state", "on input", "goes to", "and does"),
        (
            (
                code(here.name),
                code(event.__name__),
                code(then.name) if then is not here else "stays",
                code(*(action.__name__ for action in actions)),
            )
            for (here, event), (then, actions) in TRANSITIONS.items()
        ),
    )


def inputs() -> str:
    """Each input and what it stands for."""
    return table(
        ("input", "means"),
        ((code(each.__name__), summary(each)) for each in every(transitions.Input, transitions)),
    )


def actions() -> str:
    """Each action and what it asks of the driver."""
    return table(
        ("action", "means"),
        ((code(each.__name__), summary(each)) for each in every(transitions.Action, transitions)),
    )


UNTRUSTED = ssl.SSLCertVerificationError("untrusted")

CASES: tuple[tuple[Cause, str], ...] = (
    (causes.ConnectFailed("tcp"), ""),
    (causes.ConnectFailed("tls", UNTRUSTED), "the certificate failed verification"),
    (causes.HandshakeRejected(503), "by a status that is retried"),
    (causes.HandshakeRejected(404), "by any other status"),
    (causes.RateLimited(), ""),
    (causes.PeerClosed(1001), "with a code that is retried, or on SSE, which has none"),
    (causes.PeerClosed(1008), "with a code that stops"),
    (causes.PeerClosed(1000), "with code 1000"),
    (causes.AbnormalClosure(), ""),
    (causes.HeartbeatLost(0.0), ""),
    (causes.Stalled(0.0), ""),
    (causes.Incomplete("terminator"), ""),
    (causes.ProtocolViolation(""), ""),
    (causes.Completed(), ""),
    (causes.ClosedByUs(), ""),
)
"""One example of each cause, and of each of its forms that is judged differently."""


def every(kind: type, module: object) -> Iterator[type]:
    """The classes of ``module`` under ``kind``, in the order of the file.

    Not ``__subclasses__()``: attrs makes each class twice, and the first may linger there.
    """
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, kind) and each is not kind:
            yield each


def causes_and_verdicts() -> str:
    """Each cause and what it calls for."""
    missing = set(every(Cause, causes)) - {type(cause) for cause, _ in CASES}
    if missing:
        raise LookupError(f"docs/tables.py has no example of {missing}")
    return table(
        ("cause", "means", "verdict"),
        (
            (
                code(type(cause).__name__),
                "; ".join(filter(None, (summary(type(cause)), form))),
                causes.verdict(cause).value,
            )
            for cause, form in CASES
        ),
    )


def close_codes() -> str:
    """The WebSocket close codes and what each calls for."""
    rows = [
        (str(number), name, decision.value)
        for number, (name, decision) in sorted(causes.CLOSE_CODES.items())
    ]
    rows.append(("any other from 3000 to 4999", "not registered", unregistered(3000, 5000).value))
    rows.append(("any other", "outside of RFC 6455's ranges", unregistered(0, 3000).value))
    return table(("code", "name", "verdict"), rows)


def unregistered(first: int, end: int) -> Verdict:
    """The one verdict on the codes from ``first`` up to ``end`` that have no name."""
    numbers = set(range(first, end)) - set(causes.CLOSE_CODES)
    (decision,) = {causes.close_code_verdict(number) for number in numbers}
    return decision


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Rising numbers as (first, last) of each unbroken run."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def statuses() -> str:
    """The HTTP statuses and what each calls for, when they are not the stream itself."""
    retried = [n for n in range(100, 600) if causes.status_verdict(n) is Verdict.RETRY]
    spans = (str(a) if a == b else f"{a}-{b}" for a, b in runs(retried))
    return table(("status", "verdict"), ((", ".join(spans), "retry"), ("any other", "stop")))


def openers() -> str:
    """What each opener puts in where the policy leaves a setting to it."""
    columns = [
        Policy().resolved(defaults)
        for defaults in (policy.WEBSOCKET, policy.SSE_GET, policy.SSE_POST)
    ]
    return table(
        ("setting", "WebSocket", "SSE by GET", "SSE by POST"),
        (
            (code(name), *(seconds(getattr(column, name)) for column in columns))
            for name in ("heartbeat", "idle_timeout", "first_message_timeout")
        ),
    )


def seconds(value: object) -> str:
    if value is None:
        return "off"
    if isinstance(value, Heartbeat):
        return f"probe after {value.interval:g} s of quiet, {value.timeout:g} s for an answer"
    return f"{value:g} s"


def settings() -> str:
    """Every setting with its default."""
    rows = []
    for kind in (Policy, Heartbeat, Reconnect, RetryBudget):
        for field in attrs.fields(kind):
            if field.init:
                rows.append((code(f"{kind.__name__}.{field.name}"), default(field)))
    return table(("setting", "default"), rows)


def default(field: attrs.Attribute[object]) -> str:
    value = field.default
    if value is policy.OPENER:
        return "the opener's"
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return code(f"{value.factory.__name__}()")
    if isinstance(value, int) and value >= policy.MIB and value % policy.MIB == 0:
        return f"{value // policy.MIB} MiB"
    return code(f"{value:g}" if isinstance(value, float) else repr(value))


def trials() -> str:
    """The gauntlet's catalogue."""
    names = {"sse": "SSE", "websocket": "WebSocket"}
    rows = [
        (
            code(trial.name),
            "both" if len(trial.transports) > 1 else names[trial.transports[0]],
            trial.title,
            "survive" if trial.survivable else "give up",
        )
        for trial in catalogue()
    ]
    head = ("trial", "over", "what happens", "a good client should")
    return f"{len(rows)} trials.\n\n{table(head, rows)}"
