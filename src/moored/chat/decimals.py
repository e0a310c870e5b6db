"""Decimal arithmetic that does not depend on the caller's context."""

from __future__ import annotations

import decimal
from contextlib import AbstractContextManager

__all__ = ["own_context"]

# Sixty digits hold any sum of money here exactly.  All is given, since what is left out comes from
# decimal.DefaultContext, which a program may have changed.
_CONTEXT = decimal.Context(
    prec=60,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)


def own_context() -> AbstractContextManager[decimal.Context]:
    """For a block, 60 digits and the usual traps, whatever precision, rounding and traps the caller
    has set."""
    return decimal.localcontext(_CONTEXT)
