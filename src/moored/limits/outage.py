"""When a server that was lost may be asked again, so that not everybody waits for it in vain."""

from __future__ import annotations

__all__ = ["FIRST_RETRY", "LAST_RETRY", "Outage"]

FIRST_RETRY: float = 0.25
"""Seconds after which a server that was lost is asked again."""

LAST_RETRY: float = 5.0
"""The longest time between two such attempts; each takes twice as long to come as the last."""


class Outage:
    """Whether a server is lost.  While it is, one asks now and then, and the others do not wait.

    Times are seconds of any clock, the same for all calls.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        """What went wrong; ``None`` while the server is there."""
        self.retry_at: float = 0.0
        """When it may be asked again."""
        self._delay = FIRST_RETRY
        self._one_asks = False
        self._answers = False

    @property
    def lost(self) -> bool:
        """Whether the server is lost, as far as is known."""
        return self.error is not None

    def admits(self, now: float) -> bool:
        """Whether to ask it now: where it is lost, one at a time and not before its time.

        A server that answers with errors keeps nobody waiting, so that everybody may.
        """
        if not self.lost or self._answers:
            return True
        return now >= self.retry_at and not self._one_asks

    def asked(self) -> bool:
        """Note that it is being asked; whether by the one that looks for it while it is lost."""
        self._one_asks = self.lost and not self._answers
        return self._one_asks

    def gave_up(self) -> None:
        """The one that looked for it was cancelled, and nobody is the wiser."""
        self._one_asks = False

    def failed(self, error: Exception, now: float, *, looked: bool, answers: bool = False) -> bool:
        """It did not answer, or not as it should.

        :param looked: whether this one looked for it.  Others that failed together count once.
        :param answers: whether it did answer, with an error.
        :return: whether that is news.
        """
        news = not self.lost
        if news or self._answers:
            self._delay = FIRST_RETRY
        elif looked:
            self._delay = min(2 * self._delay, LAST_RETRY)
        else:
            return news
        self.error, self._answers, self._one_asks = error, answers, False
        self.retry_at = now if answers else now + self._delay
        return news

    def answered(self) -> bool:
        """It did; whether that is news."""
        news = self.lost
        self.error, self._one_asks, self._answers = None, False, False
        return news
