"""Reading amounts of money from the command line."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import click

from moored import chat

__all__ = ["PRICE_HINT", "budget_of", "prices_of", "spending_options"]

PRICE_HINT = "give it with --price INPUT,OUTPUT, in US dollars for a million tokens"

F = TypeVar("F", bound=Any)


def spending_options(command: F) -> F:
    """Give ``command`` the options ``--budget`` and ``--price``."""
    budget = click.option(
        "--budget",
        metavar="USD",
        callback=_budget,
        help="Send nothing that may cost more than this in all; needs a known price.",
    )
    price = click.option(
        "--price",
        metavar="INPUT,OUTPUT",
        callback=_price,
        help="What the model costs, in US dollars for a million tokens; by default as "
        "genai-prices has it.",
    )
    decorated: F = budget(price(command))
    return decorated


def budget_of(limit: Decimal | None) -> tuple[chat.Budget, ...]:
    """The budget of that limit; none for ``None``.

    :raises ValueError: for a limit that is out of bounds.
    """
    return () if limit is None else (chat.Budget(limit),)


def prices_of(price: chat.Price | None, model: str) -> dict[str, chat.Price]:
    """The prices that the user gave."""
    return {} if price is None else {model: price}


def _budget(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    amount = _decimal(value)
    if amount is None or amount <= 0:
        raise click.BadParameter(f"must be US dollars, more than 0, not {value!r}")
    return amount


def _price(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    amounts = [_decimal(part) for part in value.split(",")]
    if len(amounts) == 2:
        given, made = amounts
        if given is not None and made is not None and given >= 0 and made >= 0:
            return chat.Price(given, made)
    raise click.BadParameter(
        "must be two amounts of US dollars for a million tokens, of input and of output, such as "
        f"1.25,10, not {value!r}"
    )


def _decimal(text: str) -> Decimal | None:
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
