"""What every fault has: its aim."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import attrs

from moored.faults.catalogue.checks import Numbers, attempts, connections, contains
from moored.faults.catalogue.validators import NUMBER, NUMBERS, PATH, Number, Schema

__all__ = ["Fault", "Payload", "Towards"]

Towards: TypeAlias = Literal["to_client", "to_server"]
"""Which way the bytes go that a fault is about."""

Payload: TypeAlias = Literal["websocket", "sse", "http"]
"""What is passed on one connection: frames, events, or another body."""


@attrs.frozen(kw_only=True, repr=False)
class Fault:
    """What every fault has: its aim.  Use one of its kinds.

    :ivar connection: which connections it aims at, counted from 1 as the proxy accepts them: a
        number, several numbers, a :class:`range` (of step 1; its end excluded, as in Python), or
        ``None`` for every one.
    :ivar attempt: which requests it aims at, counted from 1 for each path by itself: the k-th
        request for that path.  As ``connection``: a number, several, a range, or ``None``.
    :ivar times: take effect at most so many times, over all connections; ``None``: no bound.
    :ivar path: aim only at requests whose path begins so (the query does not count).
    :ivar probability: take effect on this share of the connections aimed at, from 0 to 1.  Which
        ones depends only on the proxy's seed, the place in the schedule, and the connection number.
    """

    kind: ClassVar[str] = ""
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket", "sse", "http")
    """On what it can take effect; anything else passes as it is."""

    rules: ClassVar[tuple[Schema, ...]] = ()
    """What JSON Schema says of fields together, for the kinds below this class as well."""

    connection: Numbers = attrs.field(
        default=None, converter=connections, metadata={"schema": NUMBERS}
    )
    attempt: Numbers = attrs.field(default=None, converter=attempts, metadata={"schema": NUMBERS})
    times: int | None = attrs.field(default=None, validator=NUMBER)
    path: str | None = attrs.field(default=None, validator=PATH)
    probability: float = attrs.field(default=1.0, validator=Number(maximum=1))

    def __attrs_post_init__(self) -> None:
        if not self.kind:
            raise TypeError("Fault is what the kinds have in common: use one of them")
        self._check()

    def _check(self) -> None:
        """Raise :class:`~moored.faults.ScheduleError` if the fields do not go together."""

    def __repr__(self) -> str:
        # Only what was set: a fault has many fields, and most of them say nothing.
        fields = ((field, getattr(self, field.name)) for field in attrs.fields(type(self)))
        shown = [f"{field.name}={value!r}" for field, value in fields if value != field.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def aims_at(self, connection: int) -> bool:
        """Whether connection number ``connection`` is one of those aimed at."""
        return contains(self.connection, connection)

    def aims_at_request(self, path: str, attempt: int) -> bool:
        """Whether the ``attempt``-th request for ``path`` is one of those aimed at."""
        return contains(self.attempt, attempt) and path.startswith(self.path or "")

    @property
    def needs_request(self) -> bool:
        """Whether only the request tells if it is aimed at."""
        return self.path is not None or self.attempt is not None
