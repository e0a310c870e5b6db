"""Calls of the limiter's script on Redis: bounded in time, never sent twice, aware of a loss."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeAlias

import attrs
import trio

try:
    import coredis
    from anyio import BrokenResourceError, ClosedResourceError
    from coredis.exceptions import RedisError
    from coredis.retry import NoRetryPolicy
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"moored.limits.redis needs {_missing.name}: pip install 'moored[redis]'",
        name=_missing.name,
    ) from _missing

from moored.errors import HookFailed

from .events import RedisEvent, RedisLost, RedisRecovered
from .outage import Outage
from .rate import Rate

__all__ = ["Answer", "Calls", "Client"]

Client: TypeAlias = coredis.Redis[Any] | coredis.RedisCluster[Any]
"""An open client, also of a cluster: all of a limiter is in one slot."""

_SCRIPT = files("moored.limits").joinpath("redis.lua").read_text("utf-8")

logger: logging.Logger = logging.getLogger("moored.limits")


@attrs.frozen
class Answer:
    """What the script answered.

    :param identity: of the hash; it changes when Redis has forgotten the old one.
    :param ticket: of what was taken; 0 for nothing.
    :param granted: for how many of those who wait it was taken.
    :param wait: seconds after which to ask for the next.
    :param paused_for: seconds of the pause that is left.
    :param available: units in each bucket.
    """

    identity: str
    ticket: int
    granted: int
    wait: float
    paused_for: float
    available: tuple[float, ...]

    @classmethod
    def parse(cls, raw: Any) -> Answer:
        """Make one of the script's strings."""
        identity, ticket, granted, wait, paused_for, *available = (
            each.decode() if isinstance(each, bytes) else str(each) for each in raw
        )
        return cls(
            identity,
            int(ticket),
            int(granted),
            float(wait),
            float(paused_for),
            tuple(map(float, available)),
        )

    def left_after(self, seconds: float, rates: Mapping[str, Rate]) -> dict[str, float]:
        """The units in each bucket so long after, if nobody took any."""
        return {
            name: min(rate.burst, units + seconds / rate.seconds_per_unit)
            for (name, rate), units in zip(rates.items(), self.available, strict=True)
        }


class Calls:
    """The script on one server, for one limiter.

    While Redis is lost, most calls give up at once.  Now and then one tries: after a quarter of a
    second at first, then after twice as long each time, up to 5 seconds.

    :param client: an open client.
    :param name: the limiter's.
    :param fail: what the limiter does meanwhile, for the event.
    :param timeout: seconds for one call.
    :param on_event: called when Redis is lost, and when it is back.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        fail: str,
        timeout: float,
        on_event: Callable[[RedisEvent], object] | None,
    ) -> None:
        # A view of the client, on the same connections, that never sends a command twice: nobody
        # knows whether the first was carried out, and what is given back must come back once.
        client = copy.copy(client)
        client.retry_policy = NoRetryPolicy()
        # By its digest, and loaded again where the server does not know it (any more).
        self._script = client.register_script(_SCRIPT)
        self._key = f"{{moored:limits:{name}}}"
        self._name = name
        self._fail = fail
        self._timeout = timeout
        self._on_event = on_event
        self._outage = Outage()
        self._lost_at = 0.0  # when it was noticed, if it is
        self.reason: str = ""
        self.count: int = 0

    @property
    def lost(self) -> bool:
        """Whether Redis is lost, as far as is known."""
        return self._outage.lost

    @property
    def retry_at(self) -> float:
        """When a lost Redis may be asked again, on Trio's clock."""
        return self._outage.retry_at

    async def call(self, request: Mapping[str, Any]) -> Answer | None:
        """Run the script; ``None`` where Redis cannot be used.

        It is not cancelled half-way, since what the script does would be done all the same and
        nobody would know.  So a cancellation waits for the answer, at most ``timeout``.
        """
        begun_lost = self.lost
        if not self._outage.admits(trio.current_time()):
            return None
        self.count += 1
        # Cancelled together with the client's own tasks, it tells nothing about Redis.
        cancelled = trio.current_effective_deadline() == -math.inf
        answer = None
        failure: Exception = TimeoutError(f"no answer within {self._timeout:g} s")
        reason = str(failure)
        with trio.move_on_after(self._timeout, shield=True):
            try:
                request_text = json.dumps(request, allow_nan=False)
                raw: Any = await self._script([self._key], [request_text])
                answer = Answer.parse(raw)
            except (RedisError, OSError, ClosedResourceError, BrokenResourceError) as error:
                failure, reason = error, f"{type(error).__name__}: {error}"
            except RuntimeError:  # the client is not open (any more)
                if not cancelled:
                    raise
        if answer is not None:
            self._note_success()
        elif not cancelled:
            self._note_failure(failure, reason, begun_lost)
        return answer

    def _note_failure(self, failure: Exception, reason: str, begun_lost: bool) -> None:
        now = trio.current_time()
        self.reason = reason
        if self._outage.failed(failure, now, looked=begun_lost):
            self._lost_at = now
            logger.warning("limiter %r has lost Redis (%s): %s", self._name, self._fail, reason)
            self._tell(RedisLost(self._name, reason, self._fail))

    def _note_success(self) -> None:
        if not self._outage.answered():
            return
        lost_for = trio.current_time() - self._lost_at
        logger.warning("limiter %r has Redis again, after %.1f s", self._name, lost_for)
        self._tell(RedisRecovered(self._name, lost_for))

    def _tell(self, event: RedisEvent) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as exc:
            raise HookFailed("on_event") from exc
