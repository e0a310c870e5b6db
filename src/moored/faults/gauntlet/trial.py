"""One trial of the gauntlet, as data: what is done to a client, and what it should do then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias
from urllib.parse import urlencode

import attrs

from moored.faults import Fault
from moored.faults.gauntlet.contract import GRACE, RETRY_MILLISECONDS

__all__ = [
    "BOTH",
    "Expectation",
    "GiveUp",
    "Layer",
    "Survive",
    "Transport",
    "Trial",
    "for_transport",
]

Transport: TypeAlias = Literal["sse", "websocket"]
Layer: TypeAlias = Literal["none", "tcp", "http", "sse", "websocket", "mixed"]

BOTH: tuple[Transport, ...] = ("sse", "websocket")


@attrs.frozen
class Survive:
    """Every message comes once and in order, up to the end message, and the client exits with 0.

    :ivar ideal: seconds from the fault to the next new message, for a client with the settings that
        the contract advises; of the longest outage, where there are several.
    """

    ideal: float = 0.0


@attrs.frozen
class GiveUp:
    """What the server says is final: the client exits with another status than 0.

    :ivar attempts: how often at most the client may be told so.
    :ivar within: seconds from the first time to the exit.
    """

    attempts: int = 1
    within: float = 5.0


Expectation: TypeAlias = Survive | GiveUp


@attrs.frozen(kw_only=True)
class Trial:
    """What is done to a client, and what it should do then.

    :ivar name: unique, for the command line.
    :ivar title: what happens, in words.
    :ivar layer: where it happens.
    :ivar transports: what it is made for.
    :ivar schedule: the faults.
    :ivar expect: what a good client does.
    :ivar count: messages in the feed.
    :ivar pace: seconds between two of them.
    :ivar text: what each message's text ends with.
    :ivar limit: seconds after which the client is ended.
    """

    name: str
    title: str
    layer: Layer
    transports: tuple[Transport, ...] = BOTH
    schedule: tuple[Fault, ...] = attrs.field(converter=tuple[Fault, ...])
    expect: Expectation = Survive()
    count: int = 20
    pace: float = 0.05
    text: str = ""
    limit: float = 12.0

    @property
    def survivable(self) -> bool:
        """Whether the client should come to the end message."""
        return isinstance(self.expect, Survive)


def feed_path(trial: Trial, transport: Transport) -> str:
    """The path and query of the feed."""
    query: dict[str, object] = {"count": trial.count, "pace": f"{trial.pace:g}"}
    if transport == "websocket":
        query["grace"] = f"{GRACE:g}"
    else:
        query["retry"] = RETRY_MILLISECONDS
    if trial.text:
        query["text"] = trial.text
    return f"/feed?{urlencode(query)}"


def for_transport(trials: Sequence[Trial], transport: Transport) -> tuple[Trial, ...]:
    """Those of ``trials`` that are made for ``transport``."""
    return tuple(trial for trial in trials if transport in trial.transports)
