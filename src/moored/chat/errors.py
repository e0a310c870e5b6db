"""What can go wrong with an answer: a small tree, each with its facts as fields."""

from __future__ import annotations

from decimal import Decimal

from moored.errors import MooredError

__all__ = ["BudgetExceeded", "BudgetUnavailable", "ChatError"]


class ChatError(MooredError):
    """Base of all errors of :mod:`moored.chat`."""


def _budget(scope: str) -> str:
    return f'the budget "{scope}"' if scope else "the budget"


class BudgetExceeded(ChatError):
    """A request was not sent, since it might cost more than its budget has left.

    :ivar limit_usd: what the budget allows.
    :ivar spent_usd: what is spent of it.
    :ivar reserved_usd: what requests under way have reserved of it.
    :ivar requested_usd: what the request was expected to cost.
    :ivar window: the seconds over which the limit holds, or ``None``.
    :ivar scope: what the budget is for.
    :ivar retry_after: in how many seconds enough of what was spent leaves the window; ``None``
        where that alone does not make room.
    """

    def __init__(
        self,
        *,
        limit_usd: Decimal,
        spent_usd: Decimal,
        reserved_usd: Decimal,
        requested_usd: Decimal,
        window: float | None,
        scope: str,
        retry_after: float | None,
    ) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.requested_usd = requested_usd
        self.window = window
        self.scope = scope
        self.retry_after = retry_after
        over = "" if window is None else f" in {window:g} s"
        retry = "" if retry_after is None else f"; there is room in {retry_after:g} s"
        super().__init__(
            f"{_budget(scope)} of ${limit_usd:f}{over} has no room for ${requested_usd:f}: "
            f"${spent_usd:f} spent, ${reserved_usd:f} reserved{retry}"
        )


class BudgetUnavailable(ChatError):
    """A request was not sent, since its budget's store cannot be used.

    What went wrong is the ``__cause__``.

    :ivar scope: what the budget is for.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"{_budget(scope)} cannot be used: its store is lost")
