"""How many tokens an answer took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from moored.core.checks import count, flag

__all__ = ["Usage"]

_MAX_TOKENS = 10**9
"""More is not believed: a thousand times the longest context there is, and it would be charged."""


@attrs.frozen
class Usage:
    """Tokens of one answer, or of several together.

    :param input_tokens: of the request, those from a cache included.
    :param output_tokens: of the answer, those of its reasoning included.
    :param cached_input_tokens: those of ``input_tokens`` that the provider read from its cache.
    :param cache_write_tokens: those of ``input_tokens`` that it wrote to its cache.
    :param reasoning_tokens: those of ``output_tokens`` that were reasoning.
    :param estimated: whether any of it was counted by us, since the provider did not say.
    :raises ValueError: for a negative number.
    """

    input_tokens: int = attrs.field(validator=count(minimum=0))
    output_tokens: int = attrs.field(validator=count(minimum=0))
    cached_input_tokens: int = attrs.field(default=0, validator=count(minimum=0))
    cache_write_tokens: int = attrs.field(default=0, validator=count(minimum=0))
    reasoning_tokens: int = attrs.field(default=0, validator=count(minimum=0))
    estimated: bool = attrs.field(default=False, validator=flag)

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )

    @classmethod
    def parse(cls, body: Any) -> Usage | None:
        """The usage as providers report it, or ``None`` where it makes no sense.

        Both spellings: ``prompt_tokens`` and ``completion_tokens`` (Chat Completions), and
        ``input_tokens`` and ``output_tokens`` (Responses).  Where only one of the two is there,
        the other follows from ``total_tokens``; without that it is unknown, which is not 0, and
        so is the whole.  Some servers write counts as ``12.0``.  More than a thousand million is
        not believed.
        """
        if not isinstance(body, Mapping):
            return None
        given = _tokens(body, "prompt_tokens", "input_tokens")
        made = _tokens(body, "completion_tokens", "output_tokens")
        total = _tokens(body, "total_tokens")
        if given is None and made is not None and total is not None:
            given = total - made
        elif made is None and given is not None and total is not None:
            made = total - given
        if given is None or made is None or given < 0 or made < 0:
            return None
        input_details = _details(body, "prompt_tokens_details", "input_tokens_details")
        output_details = _details(body, "completion_tokens_details", "output_tokens_details")
        return cls(
            given,
            made,
            # DeepSeek says it beside, not inside of, the details.
            _tokens(input_details, "cached_tokens")
            or _tokens(body, "prompt_cache_hit_tokens")
            or 0,
            _tokens(input_details, "cache_write_tokens", "cache_creation_tokens") or 0,
            _tokens(output_details, "reasoning_tokens") or 0,
        )


def _details(body: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(body.get(name), Mapping):
            return body[name]  # type: ignore[no-any-return]
    return {}


def _tokens(body: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = body.get(name)
        if isinstance(value, float) and value.is_integer() and value <= _MAX_TOKENS:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS:
            return value
    return None
