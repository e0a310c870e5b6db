"""How much may be used in how much time."""

from __future__ import annotations

import attrs

from moored.core.checks import number

__all__ = ["Rate"]

_FEWEST = 1e-9
_MOST = 1e15
_LONGEST = 1e9


@attrs.frozen(init=False)
class Rate:
    """``amount`` units per ``per`` seconds, and at most ``burst`` of them at once.

    Units come back evenly over time, as they do in the limits of OpenAI and Anthropic, and not all
    together at the end of a window.

    :param amount: units, such as requests or tokens; from 1e-9 to 1e15.
    :param per: seconds; by default a minute, as in most providers' limits; from 1e-6 to 1e9.
    :param burst: units that the full bucket holds; by default ``amount``, and at least 1, so that a
        single request can be made at all.  A bucket has to fill within 1e9 seconds.
    :raises ValueError: when a number is out of bounds.
    """

    amount: float = attrs.field(validator=number(minimum=_FEWEST, maximum=_MOST))
    per: float = attrs.field(validator=number(minimum=1e-6, maximum=_LONGEST))
    burst: float = attrs.field(validator=number(minimum=_FEWEST, maximum=_MOST))

    def __init__(self, amount: float, per: float = 60.0, burst: float | None = None) -> None:
        if burst is None:
            burst = max(amount, 1.0) if isinstance(amount, int | float) else amount
        self.__attrs_init__(amount, per, burst)  # pyright: ignore[reportAttributeAccessIssue]

    def __attrs_post_init__(self) -> None:
        if self.burst * self.seconds_per_unit > _LONGEST:
            raise ValueError(
                f"Rate.burst must fill within {_LONGEST:g} s, and {self.burst!r} at "
                f"{self.amount!r} per {self.per!r} s does not"
            )

    @classmethod
    def per_second(cls, amount: float, burst: float | None = None) -> Rate:
        """``amount`` units a second; at once at most ``burst``, by default as many or 1."""
        return cls(amount, 1.0, burst)

    @classmethod
    def per_minute(cls, amount: float, burst: float | None = None) -> Rate:
        """``amount`` units a minute; at once at most ``burst``, by default as many or 1."""
        return cls(amount, 60.0, burst)

    @property
    def seconds_per_unit(self) -> float:
        """How long one unit takes to come back."""
        return self.per / self.amount
