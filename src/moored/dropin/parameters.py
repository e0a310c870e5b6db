"""What a transport is made with, checked: one clear error that names parameter and value."""

from __future__ import annotations

import random
from collections.abc import Callable

from .limiter import Limiter
from .policy import TransportPolicy

__all__ = ["check_parameters"]


def check_parameters(
    *,
    inner: object,
    transport: type[object],
    policy: TransportPolicy | None,
    limiter: Limiter | None,
    estimate: Callable[[bytes], int],
    rng: random.Random | None,
    wall_clock: Callable[[], float],
) -> None:
    """Check the parameters of a ``ResilientTransport``.

    :param transport: the HTTP library's own base of asynchronous transports.
    :raises TypeError: for the first that is wrong.
    """
    methods = ("reserve", "observe")
    limits = all(callable(getattr(limiter, method, None)) for method in methods)
    wanted = {
        "inner": (inner, inner is None or isinstance(inner, transport), transport.__name__),
        "policy": (
            policy,
            policy is None or isinstance(policy, TransportPolicy),
            "TransportPolicy",
        ),
        "limiter": (limiter, limiter is None or limits, "limiter, with reserve() and observe(),"),
        "rng": (rng, rng is None or isinstance(rng, random.Random), "random.Random"),
    }
    for name, (value, right, kind) in wanted.items():
        if isinstance(value, type) or not right:
            article = "an" if kind[0] in "aeiouAEIOU" else "a"
            raise TypeError(
                f"ResilientTransport.{name} must be {article} {kind} or None, not {value!r}"
            )
    for name, function in (("estimate", estimate), ("wall_clock", wall_clock)):
        if not callable(function):
            raise TypeError(f"ResilientTransport.{name} must be callable, not {function!r}")
