"""What can go wrong with an answer: a small tree, each with its facts as fields."""

from __future__ import annotations

from moored.errors import MooredError

__all__ = ["ChatError"]


class ChatError(MooredError):
    """Base of all errors of :mod:`moored.chat`."""
