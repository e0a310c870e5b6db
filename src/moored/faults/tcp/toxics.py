"""The toxics: what can be wrong with the bytes of one direction, as plain frozen values.

The first eight are Toxiproxy's, with its semantics; the last three are Moored's own.  Times are
seconds as floats, sizes are bytes.  Each says what the *receiver* of its direction sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, TypeAlias

import attrs

from moored.faults.catalogue.checks import ScheduleError

__all__ = [
    "KINDS",
    "Bandwidth",
    "Corrupt",
    "Direction",
    "HalfOpen",
    "Latency",
    "LimitData",
    "NeverAnswer",
    "Noop",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
]

Direction: TypeAlias = Literal["upstream", "downstream"]
"""``"upstream"``: from client to server; ``"downstream"``: from server to client."""


def _number(*, maximum: float = math.inf) -> Callable[[Any, Any, object], None]:
    def check(_toxic: Any, field: Any, value: object) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= maximum or value == math.inf:  # type: ignore[operator]
            bound = "a finite number of at least 0"
            raise ScheduleError(
                field.name, value, bound if maximum == math.inf else f"a number from 0 to {maximum}"
            )

    return check


def _integer(_toxic: Any, field: Any, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ScheduleError(field.name, value, "an integer of at least 0")


def _offsets(value: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise ScheduleError("offsets", value, "several integers")
    return tuple(value)


def _each_offset(toxic: Any, field: Any, value: tuple[object, ...]) -> None:
    for offset in value:
        _integer(toxic, field, offset)


@attrs.frozen(kw_only=True)
class Latency:
    """Each chunk arrives later: after ``latency``, plus or minus a random part of ``jitter``.

    Chunks stay in order and overlap, so throughput is kept (up to 32 MiB on their way).  Two on one
    direction add up.  The end of the connection is not delayed by itself, only behind the bytes.
    Removed or changed, it lets go of what waits at once.

    :ivar latency: seconds.
    :ivar jitter: seconds; the delay of each chunk is drawn evenly between ``latency - jitter`` and
        ``latency + jitter``.
    """

    kind: ClassVar[str] = "latency"

    latency: float = attrs.field(default=0.0, validator=_number())
    jitter: float = attrs.field(default=0.0, validator=_number())


@attrs.frozen(kw_only=True)
class Bandwidth:
    """Bytes arrive no faster than ``rate``, in pieces of a tenth of a second.

    The first bytes wait too: 50,000 bytes at 100,000 a second take half a second.

    :ivar rate: bytes a second, of each connection; 0 (default) lets nothing through until the toxic
        is changed or removed.
    """

    kind: ClassVar[str] = "bandwidth"

    rate: float = attrs.field(default=0.0, validator=_number())


@attrs.frozen(kw_only=True)
class Slicer:
    """Each chunk arrives in small pieces: halved until they are small enough.

    :ivar average_size: bytes of a piece, about.
    :ivar size_variation: a piece has at most ``average_size + size_variation`` bytes, and the cuts
        are moved at random by as much.
    :ivar delay: seconds of pause after every piece.
    """

    kind: ClassVar[str] = "slicer"

    average_size: int = attrs.field(default=0, validator=_integer)
    size_variation: int = attrs.field(default=0, validator=_integer)
    delay: float = attrs.field(default=0.0, validator=_number())


@attrs.frozen(kw_only=True)
class LimitData:
    """The connection is closed, in order, as soon as so many bytes have passed.

    :ivar bytes: counted for each connection from when the toxic was added; a changed limit keeps
        the count.  0 (default) closes at the first byte.
    """

    kind: ClassVar[str] = "limit_data"

    bytes: int = attrs.field(default=0, validator=_integer)


@attrs.frozen(kw_only=True)
class SlowClose:
    """The end of the direction arrives late; bytes do not.

    :ivar delay: seconds.
    """

    kind: ClassVar[str] = "slow_close"

    delay: float = attrs.field(default=0.0, validator=_number())


@attrs.frozen(kw_only=True)
class ResetPeer:
    """Both ends see a reset (RST) after the first bytes, which are lost; an idle connection lives.

    Removed while the time runs, the reset comes at once: what was lost cannot be given back.

    :ivar timeout: seconds from the first bytes, or the end, to the reset.
    """

    kind: ClassVar[str] = "reset_peer"

    timeout: float = attrs.field(default=0.0, validator=_number())


@attrs.frozen(kw_only=True)
class Timeout:
    """A black hole: bytes are taken and lost, and after a time the connection is closed in order.

    Every chunk starts the time again.  An end of the sender closes the connection at once, and so
    does the removal of the toxic.

    :ivar timeout: seconds; 0 (default): for ever.
    """

    kind: ClassVar[str] = "timeout"

    timeout: float = attrs.field(default=0.0, validator=_number())


@attrs.frozen(kw_only=True)
class Noop:
    """Nothing is wrong."""

    kind: ClassVar[str] = "noop"


@attrs.frozen(kw_only=True)
class Corrupt:
    """Some bytes arrive with one bit flipped; their number and order stay.

    Which ones depends on the seeds and on the place of the byte, never on how the bytes were
    chunked.

    :ivar share: this share of the bytes, from 0 to 1.
    :ivar offsets: and the bytes at these places, counted from 0 where the toxic was added.
    :ivar seed: mixed with the proxy's; another one hits other bytes.
    """

    kind: ClassVar[str] = "corrupt"

    share: float = attrs.field(default=0.0, validator=_number(maximum=1))
    offsets: tuple[int, ...] = attrs.field(default=(), converter=_offsets, validator=_each_offset)
    seed: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))


@attrs.frozen(kw_only=True)
class HalfOpen:
    """The sender has vanished without a word: nothing is read from it, and nothing arrives.

    No end either, until the toxic is removed (then all that waited arrives) or the proxy ends the
    connection.  On both directions it is a peer whose cable was pulled.  The proxy itself still
    notices when the sender is gone, and lets go of its socket: after a reset at once, and of a
    client's ten seconds after it has ended its side.
    """

    kind: ClassVar[str] = "half_open"


@attrs.frozen(kw_only=True)
class NeverAnswer:
    """Silence: what is sent is read and thrown away.

    The sender's end in order is not answered either; ten seconds after it, the connection is
    closed.
    """

    kind: ClassVar[str] = "never_answer"


Toxic: TypeAlias = (
    Latency
    | Bandwidth
    | Slicer
    | LimitData
    | SlowClose
    | ResetPeer
    | Timeout
    | Noop
    | Corrupt
    | HalfOpen
    | NeverAnswer
)
"""Any of the toxics."""

KINDS: dict[str, type[Toxic]] = {
    kind.kind: kind
    for kind in (
        *(Latency, Bandwidth, Slicer, LimitData, SlowClose, ResetPeer, Timeout, Noop),
        *(Corrupt, HalfOpen, NeverAnswer),
    )
}
"""The toxics by the name that plain data uses."""
