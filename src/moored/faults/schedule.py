"""The faults, as plain frozen values: what to do, when, and to which connections.

A schedule is a sequence of them.  For each connection the faults that aim at it are armed, in the
order of the schedule:

* the first :class:`Refuse` that aims at the request answers it, and the upstream never sees it;
* otherwise those that change the head, and those that edit messages, all do what they say, in the
  order of the schedule;
* those of TCP lie under all that;
* and of what is then on its way, the first :class:`Cut`, :class:`Stall` or other fault of a moment
  whose moment comes takes effect.  After a stall only faults with ``after_seconds`` can still come,
  so "stall, and five seconds later cut" works.
"""

from __future__ import annotations

from moored.faults.catalogue import http, messages, moments, tcp, websocket
from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.checks import ScheduleError
from moored.faults.catalogue.http import Headers, Refuse
from moored.faults.catalogue.moments import Cut, Stall

__all__ = ["KINDS", "Cut", "Fault", "Headers", "Refuse", "ScheduleError", "Stall"]

KINDS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        moments.Cut,
        moments.Stall,
        http.Refuse,
        http.SlowHead,
        http.ContentType,
        http.GzipCut,
        moments.CommentsOnly,
        messages.Duplicate,
        messages.Drop,
        messages.Swap,
        messages.Spoil,
        messages.Insert,
        messages.ErrorEvent,
        messages.RetryField,
        messages.Oversized,
        websocket.WrongAccept,
        moments.CloseFrame,
        websocket.IgnoreClose,
        websocket.SwallowPings,
        websocket.LatePongs,
        websocket.Masked,
        websocket.ReservedBits,
        websocket.Fragment,
        tcp.Down,
        tcp.NeverAnswer,
        tcp.HalfOpen,
        tcp.Latency,
        tcp.Bandwidth,
        tcp.Slicer,
        tcp.LimitData,
        tcp.SlowClose,
        tcp.ResetPeer,
        tcp.Timeout,
        tcp.Corrupt,
    )
}
"""The faults by the name that a plain schedule uses."""
