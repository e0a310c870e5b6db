"""What was seen of one trial: facts, from which everything that is told of it is computed."""

from __future__ import annotations

import attrs

from moored.faults.gauntlet.client import ClientRun
from moored.faults.gauntlet.trial import Transport, Trial
from moored.faults.record import ConnectionRecord, Injected

__all__ = ["TrialRecord"]


@attrs.frozen(kw_only=True)
class TrialRecord:
    """What was seen of one trial.  All times are by Trio's clock, in seconds.

    :ivar clock: what has to be added for seconds since the epoch.
    :ivar run: what the client program did.
    :ivar connections: what the proxy accepted.
    :ivar injected: the faults that took effect.
    :ivar sent_up_to: the highest number that the origin has sent; ``None`` where nobody knows.
    """

    trial: Trial
    transport: Transport
    run: ClientRun
    connections: tuple[ConnectionRecord, ...] = ()
    injected: tuple[Injected, ...] = ()
    clock: float = 0.0
    sent_up_to: int | None = None
