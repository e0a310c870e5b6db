"""Checks of what callers ask for, and of what they say they used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moored.core.checks import is_finite, shown

from .errors import CostTooLarge
from .rate import Rate

__all__ = [
    "MOST_DEBT",
    "STANDARD",
    "checked_costs",
    "checked_rates",
    "checked_seconds",
    "checked_timeout",
    "settled_amounts",
    "within_debt",
]

STANDARD = ("requests", "tokens", "input_tokens", "output_tokens")
"""The dimensions that may always be named, whether the limiter limits them or not."""

MOST_DEBT = 10.0
"""Bursts that one reservation can be charged beyond what it reserved: a figure that is wrong by
orders of magnitude must not stop everybody for years."""


_PARAMETERS = {"self", "concurrency", "max_pause", "priority", "timeout"}


def checked_rates(owner: str, rates: Mapping[str, Any]) -> dict[str, Rate]:
    """``rates``, if each is one."""
    for name, rate in rates.items():
        if name in _PARAMETERS:
            raise ValueError(f"{owner}: a dimension cannot be named {name!r}, as a parameter is")
        if not isinstance(rate, Rate):
            raise TypeError(f"{owner}: {name} must be a Rate, not {rate!r}")
    return dict(rates)


def checked_seconds(name: str, seconds: float) -> float:
    """``seconds``, if they are finite and not negative."""
    return _amount(name, seconds)


def checked_timeout(name: str, seconds: float) -> float:
    """``seconds``, if they are finite and more than 0."""
    if _amount(name, seconds) == 0:
        raise ValueError(f"{name} must be more than 0, not {seconds!r}")
    return seconds


def checked_costs(rates: Mapping[str, Rate], amounts: Mapping[str, float]) -> dict[str, float]:
    """What of ``amounts`` is limited, in the order of ``rates``.

    :raises CostTooLarge: when one is more than a full bucket holds.
    :raises TypeError: for a dimension that is neither limited nor one of the usual.
    """
    known = _limited(rates, amounts)
    costs = {name: known.get(name, 0.0) for name in rates}
    for name, cost in costs.items():
        if cost > rates[name].burst:
            raise CostTooLarge(name, cost, rates[name].burst)
    return costs


def settled_amounts(
    rates: Mapping[str, Rate], used: float | None, amounts: Mapping[str, float]
) -> dict[str, float]:
    """What of ``amounts`` is limited, with ``used`` for the tokens."""
    if used is None:
        return _limited(rates, amounts)
    if "tokens" in amounts:
        raise TypeError("settle() got the tokens twice: by position and by name")
    return _limited(rates, {"tokens": used, **amounts})


def within_debt(rate: Rate, reserved: float, used: float) -> float:
    """``used``, but at most :data:`MOST_DEBT` bursts more than was reserved."""
    return min(used, reserved + MOST_DEBT * rate.burst)


def _limited(rates: Mapping[str, Rate], amounts: Mapping[str, float]) -> dict[str, float]:
    for name in amounts:
        if name not in rates and name not in STANDARD:
            known = ", ".join(dict.fromkeys((*rates, *STANDARD)))
            raise TypeError(f"the limiter has no dimension {name!r}; it knows {known}")
    checked = {name: _amount(name, value) for name, value in amounts.items()}
    return {name: value for name, value in checked.items() if name in rates}


def _amount(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not is_finite(value) or value < 0:
        raise ValueError(f"{name} must be finite and at least 0, not {shown(value)}")
    return value
