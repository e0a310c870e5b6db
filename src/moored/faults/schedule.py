"""The faults, as plain frozen values: what to do, when, and to which connections.

A schedule is a sequence of them.  For each connection the faults that aim at it are armed, in the
order of the schedule:

* the first :class:`Refuse` that aims at the request answers it, and the upstream never sees it;
* otherwise those that change the head, and those that edit messages, all do what they say, in the
  order of the schedule;
* and of what is then on its way, the first :class:`Cut`, :class:`Stall` or other fault of a moment
  whose moment comes takes effect.  After a stall only faults with ``after_seconds`` can still come,
  so "stall, and five seconds later cut" works.
"""

from __future__ import annotations

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.checks import ScheduleError
from moored.faults.catalogue.http import ContentType, GzipCut, Headers, Refuse, SlowHead
from moored.faults.catalogue.messages import (
    Drop,
    Duplicate,
    ErrorEvent,
    Insert,
    Oversized,
    RetryField,
    Spoil,
    Swap,
)
from moored.faults.catalogue.moments import CloseFrame, CommentsOnly, Cut, Stall
from moored.faults.catalogue.websocket import (
    Fragment,
    IgnoreClose,
    LatePongs,
    Masked,
    ReservedBits,
    SwallowPings,
    WrongAccept,
)

__all__ = ["KINDS", "Cut", "Fault", "Headers", "Refuse", "ScheduleError", "Stall"]

KINDS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        Cut,
        Stall,
        Refuse,
        SlowHead,
        ContentType,
        GzipCut,
        CommentsOnly,
        Duplicate,
        Drop,
        Swap,
        Spoil,
        Insert,
        ErrorEvent,
        RetryField,
        Oversized,
        WrongAccept,
        CloseFrame,
        IgnoreClose,
        SwallowPings,
        LatePongs,
        Masked,
        ReservedBits,
        Fragment,
    )
}
"""The faults by the name that a plain schedule uses."""
