"""What goes wrong with a streamed answer, whichever HTTP library carries it.

Each class here has a subclass for each library that is also one of that library's own exceptions,
so that an SDK treats it as it treats those; catch these.
"""

from __future__ import annotations

from moored.errors import MooredError

__all__ = [
    "AnswerError",
    "AnswerFailed",
    "AnswerInterrupted",
    "AnswerTimeout",
    "AnswerTruncated",
    "FirstTokenTimeout",
    "LivenessTimeout",
    "ProgressTimeout",
]


class AnswerError(MooredError):
    """A streamed answer did not come to its end.

    :ivar received_events: events that came, comments not counted.
    :ivar text: the text of the answer (of its first choice) so far.  Not in the message.
    :ivar attempts: how many times the request had been sent.
    """

    def __init__(
        self, message: str, *, received_events: int = 0, text: str = "", attempts: int = 1
    ) -> None:
        super().__init__(message)
        self.received_events = received_events
        self.text = text
        self.attempts = attempts


class AnswerTimeout(AnswerError):
    """One of the clocks of :class:`~moored.dropin.TransportPolicy` ran out.

    :ivar seconds: what it was set to.
    """

    def __init__(
        self,
        message: str,
        *,
        seconds: float,
        received_events: int = 0,
        text: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(message, received_events=received_events, text=text, attempts=attempts)
        self.seconds = seconds


class FirstTokenTimeout(AnswerTimeout):
    """No content came within ``first_token_timeout``.  Comments and pings may have."""


class LivenessTimeout(AnswerTimeout):
    """Not a single byte came: within ``liveness_timeout``, or the HTTP library's read timeout."""


class ProgressTimeout(AnswerTimeout):
    """Content had begun, and then none came within ``progress_timeout``.

    Or within ``first_token_timeout``, where the model thought or a tool ran at the provider.
    Comments and pings may have: the server, or a proxy before it, is alive and says nothing.
    """


class AnswerTruncated(AnswerError):
    """The body ended in good order, as far as HTTP goes, and the answer had not.

    :ivar missing: what did not come.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: str,
        received_events: int = 0,
        text: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(message, received_events=received_events, text=text, attempts=attempts)
        self.missing = missing


class AnswerFailed(AnswerError):
    """The provider reported an error inside a choice, where an SDK does not look for one.

    OpenRouter has ``choices[].error`` and the finish reason ``"error"``.  An error event of the
    stream's own is left to the SDK.

    :ivar body: the value of ``error``, or ``None`` where there was but the finish reason.
    """

    def __init__(
        self,
        message: str,
        *,
        body: object,
        received_events: int = 0,
        text: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(message, received_events=received_events, text=text, attempts=attempts)
        self.body = body


class AnswerInterrupted(AnswerError):
    """The connection was lost, or what came could not be read, before the answer's end.

    What was raised below is the ``__cause__``.
    """
