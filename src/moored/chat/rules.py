"""The rules by which a request gets its model: conditions as data, each explained in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from moored.core.checks import callable_or_none, count, flag, instance

from .budget import Usd
from .ledger import dollars, nanodollars
from .needs import Needs

__all__ = ["RouteRequest", "Rule", "When", "names"]


def names(value: str | Iterable[str], field: str) -> tuple[str, ...]:
    """One name, or several, as a tuple.

    :param field: what an error calls them.
    :raises TypeError: for what is not text.
    :raises ValueError: for an empty one, and for none.
    """
    given = (value,) if isinstance(value, str) else tuple(value)
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"{field} must hold names, not {name!r}")
        if not name:
            raise ValueError(f"{field} must not hold an empty name")
    if not given:
        raise ValueError(f"{field} must hold at least one name")
    return given


def _tags(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError(f"tags must be a set of names, not {value!r}")
    return frozenset(value)


def _usd(value: Usd | None, field: str) -> Decimal | None:
    return None if value is None else dollars(nanodollars(value, field))


# Each with its name, since a converter is not told which field it is for.


def _remaining(value: Usd | None) -> Decimal | None:
    return _usd(value, "RouteRequest.remaining_usd")


def _below(value: Usd | None) -> Decimal | None:
    return _usd(value, "When.remaining_below_usd")


def _above(value: Usd | None) -> Decimal | None:
    return _usd(value, "When.remaining_above_usd")


def _money(usd: Decimal) -> str:
    """``"$1.50"``, with more digits only where there are more."""
    return f"${max(f'{usd:.2f}', f'{usd:f}', key=len)}"


@attrs.frozen
class RouteRequest:
    """What a router knows of a request.

    :param model: what the user asks for: a model, which always wins; a class of models; or
        ``"auto"`` or ``None`` (default), which leaves it to the rules.
    :param messages: the conversation, for predicates; no rule of data reads it.
    :param estimated_tokens: about how many tokens it takes, room for the answer included where that
        matters; ``None`` for unknown, which no rule about tokens matches.
    :param tools: whether it offers tools.
    :param vision: whether it holds images.
    :param structured: whether it asks for JSON.
    :param reasoning: whether it sets how much the model reasons.
    :param tags: the application's own words, such as ``{"batch"}``.
    :param conversation: what it belongs to; requests with the same key get the same model.
    :param remaining_usd: what is left of the budget, in US dollars; ``None`` where there is no
        budget, which is never below anything and above everything.
    :raises TypeError: for a field of the wrong type.
    :raises ValueError: for a number out of bounds.
    """

    model: str | None = attrs.field(default=None, validator=instance(str, optional=True))
    messages: Sequence[Mapping[str, Any]] = attrs.field(default=(), repr=False, kw_only=True)
    estimated_tokens: int | None = attrs.field(
        default=None, validator=count(minimum=0, optional=True), kw_only=True
    )
    tools: bool = attrs.field(default=False, validator=flag, kw_only=True)
    vision: bool = attrs.field(default=False, validator=flag, kw_only=True)
    structured: bool = attrs.field(default=False, validator=flag, kw_only=True)
    reasoning: bool = attrs.field(default=False, validator=flag, kw_only=True)
    tags: frozenset[str] = attrs.field(default=frozenset(), converter=_tags, kw_only=True)
    conversation: str | None = attrs.field(
        default=None, validator=instance(str, optional=True), kw_only=True
    )
    remaining_usd: Decimal | None = attrs.field(default=None, converter=_remaining, kw_only=True)

    @classmethod
    def of(
        cls,
        body: Mapping[str, Any],
        *,
        estimated_tokens: int | None = None,
        tags: Iterable[str] = (),
        conversation: str | None = None,
        remaining_usd: Usd | None = None,
    ) -> RouteRequest:
        """What the body of a request needs, with what the body does not say."""
        needs = Needs.of(body)
        return cls(
            needs.model or None,
            messages=body.get("messages") or body.get("input") or (),
            estimated_tokens=estimated_tokens,
            tools=needs.tools,
            vision=needs.vision,
            structured=needs.structured,
            reasoning=needs.reasoning,
            tags=tags,
            conversation=conversation,
            remaining_usd=remaining_usd,
        )


_ABILITIES = {
    "tools": "tools",
    "vision": "images",
    "structured": "structured output",
    "reasoning": "reasoning",
}


def _optional_flag(when: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"When.{field.name} must be True, False or None, not {value!r}")


def _ability() -> Any:
    return attrs.field(default=None, validator=_optional_flag)


@attrs.frozen(kw_only=True)
class When:
    """When a rule applies: every condition that is given has to hold; without any, always.

    :param min_tokens: at least so many estimated tokens.
    :param max_tokens: at most so many.
    :param tools: whether the request has to have tools (``True``) or must not (``False``).
    :param vision: the same for images.
    :param structured: the same for structured output.
    :param reasoning: the same for a setting of how much to reason.
    :param tags: tags that the request has to have, all of them.
    :param remaining_below_usd: less than so many US dollars are left of the budget.
    :param remaining_above_usd: more than so many are left, or there is no budget.
    :param predicate: anything else: called with the :class:`moored.chat.RouteRequest`, it says
        whether.  What it raises is not caught.
    :raises TypeError: for a field of the wrong type.
    :raises ValueError: for a number out of bounds, or bounds that nothing can meet.
    """

    min_tokens: int | None = attrs.field(default=None, validator=count(minimum=0, optional=True))
    max_tokens: int | None = attrs.field(default=None, validator=count(minimum=0, optional=True))
    tools: bool | None = _ability()
    vision: bool | None = _ability()
    structured: bool | None = _ability()
    reasoning: bool | None = _ability()
    tags: frozenset[str] = attrs.field(default=frozenset(), converter=_tags)
    remaining_below_usd: Decimal | None = attrs.field(default=None, converter=_below)
    remaining_above_usd: Decimal | None = attrs.field(default=None, converter=_above)
    predicate: Callable[[RouteRequest], bool] | None = attrs.field(
        default=None, validator=callable_or_none
    )

    def __attrs_post_init__(self) -> None:
        least, most = self.min_tokens, self.max_tokens
        if least is not None and most is not None and least > most:
            raise ValueError(f"When.max_tokens must be at least min_tokens, {least}, not {most}")

    def check(self, request: RouteRequest) -> tuple[bool, str]:
        """Whether it holds for ``request``, and why, with the figures.

        Where it does not, the words are about what does not hold.
        """
        results = list(self._results(request))
        holds = all(result for result, _ in results)
        words = [words for result, words in results if result == holds]
        return holds, ", ".join(words) or "no conditions"

    def _results(self, request: RouteRequest) -> Iterator[tuple[bool, str]]:
        """For each condition that is given, whether it holds, and why."""
        yield from self._tokens(request.estimated_tokens)
        for name, words in _ABILITIES.items():
            wanted, has = getattr(self, name), getattr(request, name)
            if wanted is not None:
                yield has == wanted, f"{'has' if has else 'has no'} {words}"
        if self.tags:
            missing = sorted(self.tags - request.tags)
            tagged = ", ".join(missing or sorted(self.tags))
            yield not missing, f"{'not ' if missing else ''}tagged {tagged}"
        yield from self._remaining(request.remaining_usd)
        if self.predicate is not None:
            holds = bool(self.predicate(request))
            called = getattr(self.predicate, "__name__", type(self.predicate).__name__)
            yield holds, f"{called} says {'yes' if holds else 'no'}"

    def _tokens(self, tokens: int | None) -> Iterator[tuple[bool, str]]:
        least, most = self.min_tokens, self.max_tokens
        if tokens is None:
            if least is not None or most is not None:
                yield False, "tokens not estimated"
            return
        about = f"about {tokens:,} tokens"
        if least is not None:
            holds = tokens >= least
            yield holds, f"{about}, {'at least' if holds else 'fewer than'} {least:,}"
        if most is not None:
            holds = tokens <= most
            yield holds, f"{about}, {'at most' if holds else 'more than'} {most:,}"

    def _remaining(self, left: Decimal | None) -> Iterator[tuple[bool, str]]:
        below, above = self.remaining_below_usd, self.remaining_above_usd
        words = "no budget" if left is None else f"{_money(left)} left"
        for bound, holds, name in (
            (below, left is not None and below is not None and left < below, "below"),
            (above, left is None or (above is not None and left > above), "above"),
        ):
            if bound is not None:
                figure = f", {'' if holds else 'not '}{name} {_money(bound)}"
                yield holds, words if left is None else words + figure


def _use(value: str | Iterable[str]) -> tuple[str, ...]:
    return names(value, "Rule.use")


def _name(rule: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"Rule.name must be text, not {value!r}")
    if not value or value == "default":
        raise ValueError(f"Rule.name must be a name of its own, not {value!r}")


@attrs.frozen
class Rule:
    """One rule of a :class:`~moored.chat.router.Router`.

    :param name: what explanations call it.
    :param use: the model, or the class of models, or several of them in order of preference.
    :param when: when it applies; by default always.
    """

    name: str = attrs.field(validator=_name)
    use: tuple[str, ...] = attrs.field(converter=_use)
    when: When = attrs.field(factory=When, validator=instance(When))
