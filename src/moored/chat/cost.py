"""What an answer cost, and how far that figure can be trusted."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import attrs

from moored.core.checks import flag

from .decimals import own_context

__all__ = ["Cost"]


def _joined(one: str, other: str) -> str:
    """Both names, each once, in the order in which they came."""
    return " + ".join(dict.fromkeys([*one.split(" + "), *other.split(" + ")]))


def _oldest(*dates: date | None) -> date | None:
    return min((day for day in dates if day is not None), default=None)


@attrs.frozen
class Cost:
    """US dollars for one answer, or for several together: exact decimals, never floats.

    Costs add up, by ``+`` and by ``sum()``.

    :param usd: all of it.  More than ``input_usd`` and ``output_usd`` where the provider also
        charges for each request.
    :param input_usd: for the tokens of the request.
    :param output_usd: for the tokens of the answer.
    :param estimated: whether the tokens were counted by us, as where an answer was cancelled:
        providers report no usage then.
    :param source: where the prices came from: ``"user"``, or the package and its version, such as
        ``"genai-prices 0.2.3"``.
    :param as_of: the date of the prices; ``None`` where nothing says it.  Of several costs the
        oldest.
    :param model: the model that was paid for.
    """

    usd: Decimal = attrs.field(validator=attrs.validators.instance_of(Decimal))
    input_usd: Decimal = attrs.field(validator=attrs.validators.instance_of(Decimal))
    output_usd: Decimal = attrs.field(validator=attrs.validators.instance_of(Decimal))
    estimated: bool = attrs.field(validator=flag)
    source: str
    as_of: date | None
    model: str

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        with own_context():
            usd = self.usd + other.usd
            input_usd = self.input_usd + other.input_usd
            output_usd = self.output_usd + other.output_usd
        return Cost(
            usd,
            input_usd,
            output_usd,
            self.estimated or other.estimated,
            _joined(self.source, other.source),
            _oldest(self.as_of, other.as_of),
            _joined(self.model, other.model),
        )

    def __radd__(self, other: int) -> Cost:
        # sum() begins with a 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __str__(self) -> str:
        # Millionths are enough to read, unless they would show as nothing.
        digits = 6 if self.usd >= Decimal("0.000001") or not self.usd else 9
        notes = ["estimated"] * self.estimated + [self.source]
        if self.as_of is not None:
            notes.append(self.as_of.isoformat())
        with own_context():
            return f"${self.usd:.{digits}f} ({', '.join(notes)})"
