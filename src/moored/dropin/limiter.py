"""What the transport asks of a limiter, and one reservation of it, held as long as an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import trio

from .answer import total_tokens

__all__ = ["Lease", "Limiter", "Reservation", "estimate_tokens", "tokens_of_json"]

_RELEASE_TIMEOUT = 5.0  # seconds: a reservation shared over a network is given back there
_CHARACTERS_PER_TOKEN = 4  # OpenAI's own rule of thumb for English text


class Reservation(Protocol):
    """What a limiter has granted."""

    def settle(self, *, tokens: int) -> object:
        """Say what was really used: the rest comes back."""
        ...


class Limiter(Protocol):
    """What the transport needs of a limiter, such as ``moored.limits.Limiter``."""

    def reserve(
        self, *, requests: int = 1, tokens: int = 0
    ) -> AbstractAsyncContextManager[Reservation]:
        """Wait until there is room, and hold it as long as the block runs.

        The block is left in another task than it was entered in, if the user closes the answer in
        another: it must not hold a cancel scope.
        """
        ...

    def observe(self, headers: Mapping[str, str], status: int) -> object:
        """Learn from an answer's head: a 429 pauses everyone, and headers tell what is left."""
        ...


class Lease:
    """One reservation, from before a request until its answer is over."""

    def __init__(self, limiter: Limiter | None, tokens: int) -> None:
        self._context = None if limiter is None else limiter.reserve(requests=1, tokens=tokens)
        self._reservation: Reservation | None = None

    async def take(self) -> None:
        """Wait for the limiter to grant it."""
        if self._context is not None:
            self._reservation = await self._context.__aenter__()

    async def release(
        self, tokens: int | None = None, failure: BaseException | None = None
    ) -> None:
        """Give back what was not used; a second time does nothing.

        :param tokens: what was used, or ``None`` where it is not known: the estimate stands then.
        :param failure: what went wrong, which tells an adaptive limiter something.
        """
        reservation, self._reservation = self._reservation, None
        if reservation is None or self._context is None:
            return
        if tokens is not None:
            reservation.settle(tokens=tokens)
        with trio.move_on_after(_RELEASE_TIMEOUT, shield=True):
            if failure is None:
                await self._context.__aexit__(None, None, None)
            else:
                await self._context.__aexit__(type(failure), failure, failure.__traceback__)


def estimate_tokens(body: bytes) -> int:
    """The tokens that a request may use: its characters divided by 4, and the bound on its answer.

    The bound is ``max_completion_tokens``, ``max_output_tokens`` or ``max_tokens``, for each of the
    ``n`` choices; 0 where there is none.

    :param body: of the request, as it is sent; empty where it is not known in advance.
    """
    asked = _object(body)
    names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
    bound = next((asked[name] for name in names if _is_count(asked.get(name))), 0)
    choices = asked["n"] if _is_count(asked.get("n")) else 1
    return -(-len(body.decode("utf-8", "replace")) // _CHARACTERS_PER_TOKEN) + bound * choices


def tokens_of_json(body: bytes) -> int | None:
    """The tokens that an answer in one piece says were used, or ``None``."""
    return total_tokens(_object(body).get("usage"))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
