"""The clocks that ask for content: time to first token, progress, and the wait for what is left."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from moored.core.policy import OpenerDefault
from moored.stream.timer import Timer, let_readers_go_first

from .answer import Answer
from .errors import FirstTokenTimeout, LivenessTimeout, ProgressTimeout, ReplyError
from .settings import Settings

__all__ = ["Clocks"]


class Clocks:
    """The clocks of an attempt that ask for content.  One task watches them for all attempts of a
    reply; to move a deadline away costs nothing.

    :param settings: the bounds.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timer = Timer()
        self._scope: trio.CancelScope | None = None  # of the attempt under way
        self._since = 0.0  # when content last came, or the attempt began
        self._connecting: Callable[[], bool] = lambda: False
        self._answer = Answer()
        self._begun = False
        self._draining = False
        self._paused = False
        #: What ran out, if anything did.
        self.expired: ReplyError | None = None

    def start(self, scope: trio.CancelScope, answer: Answer) -> None:
        """An attempt begins.

        :param scope: what to cancel when a clock runs out.
        """
        self.expired = None
        self._scope, self._answer = scope, answer
        self._since = trio.current_time()
        self._begun = self._draining = self._paused = False
        self._timer.hasten(self._deadline())

    def connecting(self, is_connecting: Callable[[], bool]) -> None:
        """How to know whether the server has not answered at all yet."""
        self._connecting = is_connecting
        self._timer.hasten(self._deadline())

    def stop(self) -> None:
        """The attempt is over."""
        self._scope = None
        self._connecting = lambda: False

    def progressed(self) -> None:
        """Content came."""
        self._since = trio.current_time()
        if not self._begun:
            self._begun = True  # the first bound is often the longer one
            self._timer.hasten(self._deadline())

    def drain(self) -> None:
        """The answer is complete; only the rest is waited for."""
        self._draining = True
        self._since = trio.current_time()
        self._timer.hasten(self._deadline())

    def pause(self) -> None:
        """The consumer holds things up: nothing that the peer can be blamed for."""
        self._paused = True

    def resume(self) -> None:
        """The consumer goes on."""
        self._paused = False
        self._since = trio.current_time()
        self._timer.hasten(self._deadline())

    async def watch(self) -> None:
        """The task."""
        while True:
            await self._timer.sleep_until(self._deadline())
            if trio.current_time() < self._deadline():
                continue
            await let_readers_go_first()
            if trio.current_time() >= self._deadline() and self._scope is not None:
                self.expired = self._error()
                self._scope.cancel()
                self._scope = None

    def _deadline(self) -> float:
        if self._scope is None or self._paused:
            return math.inf
        return min(self._since + self._bound(), self._liveness_deadline())

    def _bound(self) -> float:
        settings = self._settings
        if self._draining:
            return settings.drain_timeout
        bound = settings.progress_timeout if self._begun else settings.first_token_timeout
        return math.inf if bound is None else bound

    def _liveness_deadline(self) -> float:
        """Before the server's answer begins there is no connection whose heartbeat could be lost,
        and no byte has come either."""
        liveness = self._settings.liveness_timeout
        if self._begun or liveness is None or isinstance(liveness, OpenerDefault):
            return math.inf
        if not self._connecting():
            return math.inf
        return self._since + self._settings.connect_timeout + liveness

    def _error(self) -> ReplyError:
        settings, answer = self._settings, self._answer
        if trio.current_time() >= self._liveness_deadline():
            assert isinstance(settings.liveness_timeout, int | float)
            waited = settings.connect_timeout + settings.liveness_timeout
            words = f"not a single byte of an answer within {waited:g} s of asking"
            return LivenessTimeout(words, answer, settings.liveness_timeout)
        if self._draining:  # not seen by anybody: the answer is complete
            return ProgressTimeout("nothing more came", answer, settings.drain_timeout)
        bound = self._bound()
        if self._begun:
            return ProgressTimeout(f"no further content for {bound:g} s", answer, bound)
        return FirstTokenTimeout(f"no content within {bound:g} s", answer, bound)
