"""What an API call is refused with."""

from __future__ import annotations

__all__ = ["ApiError"]


class ApiError(Exception):
    """The call is answered with a status and words.

    :ivar status: the HTTP status.
    :ivar words: what is wrong.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
