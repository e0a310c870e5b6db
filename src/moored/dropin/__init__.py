"""Streamed answers that keep their word, for code that is not Moored's: a transport for httpx.

Give it to an SDK that is left as it is::

    http_client = httpx.AsyncClient(transport=moored.dropin.ResilientTransport())
    client = openai.AsyncOpenAI(http_client=http_client, max_retries=0)

:mod:`moored.dropin.httpx2` has the same for httpx2.
"""

from moored.dropin.errors import (
    AnswerError,
    AnswerFailed,
    AnswerInterrupted,
    AnswerTimeout,
    AnswerTruncated,
    FirstTokenTimeout,
    LivenessTimeout,
    ProgressTimeout,
)
from moored.dropin.httpx import ResilientTransport
from moored.dropin.limiter import Limiter, Reservation, estimate_tokens
from moored.dropin.policy import RequiredEnd, Retry, TransportPolicy

__all__ = [
    "AnswerError",
    "AnswerFailed",
    "AnswerInterrupted",
    "AnswerTimeout",
    "AnswerTruncated",
    "FirstTokenTimeout",
    "Limiter",
    "LivenessTimeout",
    "ProgressTimeout",
    "RequiredEnd",
    "Reservation",
    "ResilientTransport",
    "Retry",
    "TransportPolicy",
    "estimate_tokens",
]
