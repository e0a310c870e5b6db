"""Faults of TCP, below any protocol: toxics on the client's side of a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, get_args

import attrs

from moored.faults.catalogue.base import Fault, Towards
from moored.faults.catalogue.checks import ScheduleError, check_choice
from moored.faults.catalogue.validators import COUNT, SECONDS, Number, Schema, given
from moored.faults.tcp import toxics

__all__ = [
    "Bandwidth",
    "Corrupt",
    "Down",
    "HalfOpen",
    "Latency",
    "LimitData",
    "NeverAnswer",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "TcpFault",
    "Timeout",
]

_DIRECTIONS: dict[Towards, toxics.Direction] = {
    "to_client": "downstream",
    "to_server": "upstream",
}


@attrs.frozen(kw_only=True, repr=False)
class TcpFault(Fault):
    """What every fault of TCP has beside its aim.  Use one of its kinds.

    It is on the bytes as they go on the wire, the heads of requests and answers among them, and
    begins when the connection is accepted; with a ``path`` or an ``attempt``, when the request has
    been read: with the direction ``"to_server"`` the request is then the first that it strikes.
    It counts as injected, with the time at which it began, once it has made a difference.

    :ivar after_seconds: it begins so many seconds after the connection was accepted.
    :ivar for_seconds: it ends so many seconds after it began; ``None`` (default): it does not.
    """

    toxic_kind: ClassVar[type[toxics.Toxic]]
    directions: ClassVar[tuple[Towards, ...]] = ()
    """The directions it is on, where it does not say so itself."""

    after_seconds: float | None = attrs.field(default=None, validator=SECONDS)
    for_seconds: float | None = attrs.field(default=None, validator=SECONDS)

    def _check(self) -> None:
        _ = self.toxic  # which checks its fields

    @property
    def toxic(self) -> toxics.Toxic:
        """What is put on the stream."""
        names = [field.name for field in attrs.fields(self.toxic_kind)]
        return self.toxic_kind(**{name: getattr(self, name) for name in names})

    @property
    def on(self) -> tuple[toxics.Direction, ...]:
        """The directions that it is put on."""
        return tuple(_DIRECTIONS[direction] for direction in self.directions)

    @property
    def placed(self) -> tuple[tuple[toxics.Direction, toxics.Toxic], ...]:
        """What is put on the stream, and in which direction."""
        return tuple((direction, self.toxic) for direction in self.on)

    @property
    def strikes_request(self) -> bool:
        """Whether one that aims at a request strikes the bytes of that request."""
        return self.needs_request and self.on == ("upstream",)


@attrs.frozen(kw_only=True, repr=False)
class _OneWay(TcpFault):
    direction: Towards = "to_client"

    def _check(self) -> None:
        check_choice("direction", self.direction, get_args(Towards))
        super()._check()

    @property
    def on(self) -> tuple[toxics.Direction, ...]:
        return (_DIRECTIONS[self.direction],)


@attrs.frozen(kw_only=True, repr=False)
class Latency(_OneWay):
    """Bytes arrive late.

    What the client sees: each chunk ``latency`` seconds later, plus or minus ``jitter``, in order,
    and no slower in all.

    :ivar latency: seconds.
    :ivar jitter: seconds; each chunk's delay is drawn evenly from ``latency`` minus to plus it.
    :ivar direction: ``"to_client"`` (default) or ``"to_server"``.
    """

    kind: ClassVar[str] = "latency"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.Latency

    latency: float = attrs.field(default=0.0, validator=SECONDS)
    jitter: float = attrs.field(default=0.0, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class Bandwidth(_OneWay):
    """Bytes arrive no faster than a rate.

    What the client sees: pieces, every tenth of a second, of a tenth of ``rate``; with 0 nothing
    at all.

    :ivar rate: bytes a second.
    :ivar direction: ``"to_client"`` (default) or ``"to_server"``.
    """

    kind: ClassVar[str] = "bandwidth"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.Bandwidth

    rate: float = attrs.field(default=0.0, validator=Number())


@attrs.frozen(kw_only=True, repr=False)
class Slicer(_OneWay):
    """Bytes arrive in small pieces.

    What the client sees: the same bytes, ``average_size`` at a time, which ends in the middle of
    everything: of heads, of frames, of characters.

    :ivar average_size: bytes of a piece, about; 1 by default.
    :ivar size_variation: by how many bytes it varies.
    :ivar delay: seconds of pause behind each.
    :ivar direction: ``"to_client"`` (default) or ``"to_server"``.
    """

    kind: ClassVar[str] = "slicer"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.Slicer

    average_size: int = attrs.field(default=1, validator=COUNT)
    size_variation: int = attrs.field(default=0, validator=COUNT)
    delay: float = attrs.field(default=0.0, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class LimitData(_OneWay):
    """The connection ends once so many bytes of it have passed, heads among them.

    What the client sees: so many bytes, and the end of TCP, in order.

    :ivar bytes: how many; 0 (default) is at the first.
    :ivar direction: ``"to_client"`` (default) or ``"to_server"``.
    """

    kind: ClassVar[str] = "limit_data"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.LimitData

    bytes: int = attrs.field(default=0, validator=COUNT)


@attrs.frozen(kw_only=True, repr=False)
class SlowClose(_OneWay):
    """The end of TCP comes late.

    What the client sees: all bytes in time, and then nothing, for ``delay`` seconds, before the
    connection ends.

    :ivar delay: seconds.
    :ivar direction: ``"to_client"`` (default) or ``"to_server"``.
    """

    kind: ClassVar[str] = "slow_close"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.SlowClose

    delay: float = attrs.field(default=0.0, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class ResetPeer(_OneWay):
    """The connection is reset once bytes come, and they are lost.

    What the client sees: no answer, and a reset (``ECONNRESET``) ``timeout`` seconds after the
    first bytes of it would have come.

    :ivar timeout: seconds; 0 by default.
    :ivar direction: ``"to_client"`` (default); or ``"to_server"``: after the first bytes that the
        client sends.
    """

    kind: ClassVar[str] = "reset_peer"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.ResetPeer

    timeout: float = attrs.field(default=0.0, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class Timeout(_OneWay):
    """A black hole: bytes are taken and lost, and the connection ends after a time.

    What the client sees: nothing, and then the end of TCP, in order, ``timeout`` seconds after the
    last bytes that should have come; or as soon as the server (or with ``"to_server"`` the client)
    has ended what it sends.

    :ivar timeout: seconds; 0 (default): it never ends.
    :ivar direction: ``"to_client"`` (default), or ``"to_server"``: what the client sends is lost.
    """

    kind: ClassVar[str] = "timeout"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.Timeout

    timeout: float = attrs.field(default=0.0, validator=SECONDS)


def _offsets(value: Any) -> tuple[int, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
        raise ScheduleError("offsets", value, "several integers")
    return tuple(value)


@attrs.frozen(kw_only=True, repr=False)
class Corrupt(_OneWay):
    """Some bytes arrive with one bit flipped.

    What the client sees: as many bytes as were sent, some of them wrong, wherever they are: in the
    head, in the framing, in messages.

    :ivar share: the share of the bytes, from 0 to 1, that the proxy's seed and ``seed`` choose.
    :ivar offsets: and the bytes at these places, from 0 where the fault begins.
    :ivar seed: another one hits other bytes.
    :ivar direction: ``"to_client"`` (default) or ``"to_server"``.
    """

    kind: ClassVar[str] = "corrupt"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.Corrupt

    share: float = attrs.field(default=0.0, validator=Number(maximum=1))
    offsets: tuple[int, ...] = attrs.field(
        default=(),
        converter=_offsets,
        metadata={"schema": {"type": "array", "items": COUNT.schema}},
    )
    seed: int = attrs.field(default=0, validator=COUNT)


@attrs.frozen(kw_only=True, repr=False)
class HalfOpen(TcpFault):
    """The peer has vanished without a word, as when a cable is pulled.

    What the client sees: no byte and no end any more; what it sends fills the buffers of the
    kernels, and is never read.  When it ends the connection, nothing answers that either, and ten
    seconds later (after a reset at once) the proxy lets go of it.
    """

    kind: ClassVar[str] = "half_open"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.HalfOpen
    directions: ClassVar[tuple[Towards, ...]] = ("to_client", "to_server")


@attrs.frozen(kw_only=True, repr=False)
class NeverAnswer(TcpFault):
    """The connection is accepted, and never answered.

    What the client sees: all that it sends is taken, and nothing ever comes.  One that begins in
    the midst of an answer holds back the rest of it, and its end.  Ten seconds after the client
    has ended its side, the proxy lets go of it.  The server does not see it;
    :class:`~moored.faults.Stall` at ``"after_request"`` does the same, and can aim at a path.
    """

    kind: ClassVar[str] = "never_answer"
    toxic_kind: ClassVar[type[toxics.Toxic]] = toxics.NeverAnswer
    directions: ClassVar[tuple[Towards, ...]] = ("to_client", "to_server")
    rules: ClassVar[tuple[Schema, ...]] = (
        *TcpFault.rules,
        {"not": given("path")},
        {"not": given("attempt")},
    )

    @property
    def placed(self) -> tuple[tuple[toxics.Direction, toxics.Toxic], ...]:
        """Nothing passes in either direction, but only what the client sends is taken."""
        return (("downstream", toxics.HalfOpen()), ("upstream", self.toxic))

    def _check(self) -> None:
        super()._check()
        _check_before_the_request(self)


@attrs.frozen(kw_only=True, repr=False)
class Down(Fault):
    """The server is down: the connection ends as soon as it is accepted.

    What the client sees: a connection that is reset, or ended in order, before it could say or hear
    anything.

    :ivar how: ``"rst"`` (default) or ``"fin"``.
    """

    kind: ClassVar[str] = "down"
    rules: ClassVar[tuple[Schema, ...]] = ({"not": given("path")}, {"not": given("attempt")})

    how: Literal["fin", "rst"] = "rst"

    def _check(self) -> None:
        check_choice("how", self.how, ("fin", "rst"))
        _check_before_the_request(self)


def _check_before_the_request(fault: Fault) -> None:
    """What begins before a request is known cannot aim at one."""
    for name in ("path", "attempt"):
        if (value := getattr(fault, name)) is not None:
            raise ScheduleError(name, value, "left out: there is no request yet")
