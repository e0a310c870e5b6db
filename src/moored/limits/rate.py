"""How much may be used in how much time."""

from __future__ import annotations

import attrs

from moored.core.checks import number

__all__ = ["Rate"]


@attrs.frozen(init=False)
class Rate:
    """``amount`` units per ``per`` seconds, and at most ``burst`` of them at once.

    Units come back evenly over time, as they do in the limits of OpenAI and Anthropic, and not all
    together at the end of a window.

    :param amount: units, such as requests or tokens.
    :param per: seconds; by default a minute, as in most providers' limits.
    :param burst: units that the full bucket holds; by default ``amount``.
    :raises ValueError: when a number is out of bounds.
    """

    amount: float = attrs.field(validator=number(above=0.0))
    per: float = attrs.field(validator=number(above=0.0))
    burst: float = attrs.field(validator=number(above=0.0))

    def __init__(self, amount: float, per: float = 60.0, burst: float | None = None) -> None:
        if burst is None:
            burst = amount
        self.__attrs_init__(amount, per, burst)  # pyright: ignore[reportAttributeAccessIssue]

    @classmethod
    def per_second(cls, amount: float, burst: float | None = None) -> Rate:
        """``amount`` units a second; at once at most ``burst``, by default as many."""
        return cls(amount, 1.0, burst)

    @classmethod
    def per_minute(cls, amount: float, burst: float | None = None) -> Rate:
        """``amount`` units a minute; at once at most ``burst``, by default as many."""
        return cls(amount, 60.0, burst)

    @property
    def seconds_per_unit(self) -> float:
        """How long one unit takes to come back."""
        return self.per / self.amount
