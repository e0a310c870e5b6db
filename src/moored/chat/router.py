"""A router: which model a request goes to, by ordered local rules that explain themselves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from moored.core.checks import count

from .endpoint import Capabilities
from .errors import NoSuitableModel
from .needs import lacking
from .rules import RouteRequest, Rule, names

__all__ = ["Explanation", "Route", "Router", "RuleOutcome"]

_AUTO = "auto"
_DEFAULT = "default"


@attrs.frozen
class Route:
    """Where a request goes.

    :param models: the models in order of preference; at least one.
    :param rule: the name of the rule that chose them, ``"default"`` where none applied, or ``None``
        where the user asked for them.
    :param reason: why, in words.
    :param kept: whether the conversation keeps what was chosen for it before.
    :param moved_from: the model that the conversation had until now and could not keep, or
        ``None``.
    """

    models: tuple[str, ...]
    rule: str | None
    reason: str
    kept: bool = False
    moved_from: str | None = None

    @property
    def model(self) -> str:
        """The one to try first."""
        return self.models[0]


@attrs.frozen
class RuleOutcome:
    """What one rule says to a request.

    :param name: the rule's name.
    :param models: the models that it leads to and that suit the request.
    :param matched: whether its conditions hold.
    :param chosen: whether it decides.  None does where the user asks for a model or a class, or
        where the conversation keeps its model.
    :param reason: why, or why not, in words.
    """

    name: str
    models: tuple[str, ...]
    matched: bool
    chosen: bool
    reason: str


@attrs.frozen
class Explanation:
    """Why a request goes where it goes.  As text, one line for each rule.

    :param rules: what each says, in their order; the last is the default.
    :param route: where the request goes, as :meth:`moored.chat.Router.route` has it; ``None`` where
        no model suits it.
    """

    rules: tuple[RuleOutcome, ...]
    route: Route | None

    def __str__(self) -> str:
        width = max(len(outcome.name) for outcome in self.rules)
        lines = []
        for outcome in self.rules:
            mark = "->" if outcome.chosen else "  "
            matched = "yes" if outcome.matched else "no "
            lines.append(f"{mark} {outcome.name:<{width}}  {matched}  {outcome.reason}")
        if self.route is None:
            return "\n".join(["no model suits the request", *lines])
        return "\n".join([f"{', '.join(self.route.models)}: {self.route.reason}", *lines])


@attrs.frozen
class _Kept:
    """What a conversation goes to: which class was asked for, if any, and what that led to."""

    asked: str | None
    models: tuple[str, ...]
    rule: str | None


def _rules(value: Iterable[Rule]) -> tuple[Rule, ...]:
    given = tuple(value)
    seen = set()
    for rule in given:
        if not isinstance(rule, Rule):
            raise TypeError(f"Router.rules must hold Rules, not {rule!r}")
        if rule.name in seen:
            raise ValueError(f"Router.rules: two are named {rule.name!r}")
        seen.add(rule.name)
    return given


def _classes(value: Mapping[str, str | Iterable[str]]) -> dict[str, tuple[str, ...]]:
    classes = {name: names(models, f"Router.models[{name!r}]") for name, models in value.items()}
    for name, models in classes.items():
        if name == _AUTO:
            raise ValueError(f"Router.models: {_AUTO!r} is no name for a class of models")
        for model in models:
            if model in classes and model != name:
                raise ValueError(
                    f"Router.models[{name!r}] must hold models, not the class {model!r}"
                )
    return classes


def _default(value: str | Iterable[str]) -> tuple[str, ...]:
    return names(value, "Router.default")


def _contexts(router: Any, field: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
    for model, tokens in value.items():
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
            raise ValueError(
                f"Router.context_tokens[{model!r}] must be a whole number of at least 1, "
                f"not {tokens!r}"
            )


def _abilities(router: Any, field: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
    for model, capabilities in value.items():
        if not isinstance(capabilities, Capabilities):
            raise TypeError(
                f"Router.capabilities[{model!r}] must be Capabilities, not {capabilities!r}"
            )


@attrs.define(eq=False)
class Router:
    """Chooses the model of a request: the first rule that applies, else the default.

    A rule applies when its conditions hold and at least one of its models suits the request: takes
    as many tokens, and what else it needs.  No network and no randomness: the same rules and the
    same history give the same model.

    A conversation keeps its model, also where another rule would apply by now, until the model does
    not suit it any more; :attr:`moored.chat.Route.moved_from` then says so.  :meth:`forget` lets
    the rules decide anew.  A model that the user asked for by name wins without being checked, and
    is not kept.

    :param rules: the first that applies decides.
    :param default: the model, or the class of models, or several of them, where none applies.
    :param models: classes of models: a name, and its models in order of preference.  What has no
        entry here is taken for a model.
    :param context_tokens: the most tokens that a model takes; without an entry, any number.
    :param capabilities: what a model can do; without an entry, everything.
    :param conversations: how many conversations are remembered; then the one not heard of for the
        longest is forgotten.
    :raises TypeError: for a field of the wrong type.
    :raises ValueError: for a value out of bounds, or names that are not unique.
    """

    rules: tuple[Rule, ...] = attrs.field(converter=_rules)
    default: tuple[str, ...] = attrs.field(converter=_default, kw_only=True)
    models: dict[str, tuple[str, ...]] = attrs.field(factory=dict, converter=_classes, kw_only=True)
    context_tokens: Mapping[str, int] = attrs.field(factory=dict, validator=_contexts, kw_only=True)
    capabilities: Mapping[str, Capabilities] = attrs.field(
        factory=dict, validator=_abilities, kw_only=True
    )
    conversations: int = attrs.field(default=10_000, validator=count(minimum=1), kw_only=True)
    _kept: OrderedDict[str, _Kept] = attrs.field(init=False, repr=False, factory=OrderedDict)

    def route(self, request: RouteRequest) -> Route:
        """Where ``request`` goes; remembered for its conversation.

        :raises NoSuitableModel: when no model that its rules lead to suits it.
        """
        route, kept = self._decide(request)
        if route is None:
            raise NoSuitableModel(self._unsuitable(request))
        conversation = request.conversation
        if conversation is not None and kept is not None:
            self._kept[conversation] = kept
            self._kept.move_to_end(conversation)
            while len(self._kept) > self.conversations:
                self._kept.popitem(last=False)
        return route

    def explain(self, request: RouteRequest) -> Explanation:
        """Why ``request`` goes where :meth:`route` would send it.  Nothing is remembered."""
        route, _ = self._decide(request)
        rules = []
        for outcome in self._outcomes(request):
            chosen = route is not None and not route.kept and route.rule == outcome.name
            rules.append(attrs.evolve(outcome, chosen=chosen))
        return Explanation(tuple(rules), route)

    def forget(self, conversation: str) -> None:
        """Let the rules decide anew over a conversation."""
        self._kept.pop(conversation, None)

    def _decide(self, request: RouteRequest) -> tuple[Route | None, _Kept | None]:
        """The route, and what its conversation should keep."""
        asked = None if request.model == _AUTO else request.model
        if asked is not None and asked not in self.models:
            return Route((asked,), None, "the user asks for this model"), None
        kept = None if request.conversation is None else self._kept.get(request.conversation)
        moved_from, moved = None, ""
        if kept is not None and kept.asked == asked:
            unsuited = self._unsuited(kept.models[0], request)
            if not unsuited:
                reason = f"the conversation {request.conversation!r} keeps its model"
                suited = self._suited(kept.models, request)
                return Route(suited, kept.rule, reason, kept=True), kept
            moved_from = kept.models[0]
            moved = f"; the conversation {request.conversation!r} leaves {moved_from}, {unsuited}"
        found = self._class(asked, request) if asked is not None else self._by_rules(request)
        if found is None:
            return None, None
        route = attrs.evolve(found, reason=found.reason + moved, moved_from=moved_from)
        return route, _Kept(asked, route.models, route.rule)

    def _class(self, name: str, request: RouteRequest) -> Route | None:
        """The route to a class of models that the user asks for."""
        models = self.models[name]
        suited = self._suited(models, request)
        reason = f"the user asks for {name!r}" + self._without(models, request)
        return Route(suited, None, reason) if suited else None

    def _by_rules(self, request: RouteRequest) -> Route | None:
        """The route by the first rule that applies; later ones are not looked at."""
        for outcome in self._outcomes(request):
            if outcome.matched and outcome.models:
                return Route(
                    outcome.models, outcome.name, f"rule {outcome.name!r}: {outcome.reason}"
                )
        return None

    def _outcomes(self, request: RouteRequest) -> Iterator[RuleOutcome]:
        for rule in self.rules:
            matched, reason = rule.when.check(request)
            yield self._outcome(rule.name, rule.use, matched, reason, request)
        yield self._outcome(_DEFAULT, self.default, True, "where no rule decides", request)

    def _outcome(
        self, name: str, use: tuple[str, ...], matched: bool, reason: str, request: RouteRequest
    ) -> RuleOutcome:
        models = self._expanded(use)
        if matched:
            reason += self._without(models, request)
        return RuleOutcome(name, self._suited(models, request), matched, False, reason)

    def _expanded(self, use: tuple[str, ...]) -> tuple[str, ...]:
        """The models that are meant, each once."""
        return tuple(
            dict.fromkeys(model for name in use for model in self.models.get(name, (name,)))
        )

    def _suited(self, models: tuple[str, ...], request: RouteRequest) -> tuple[str, ...]:
        return tuple(model for model in models if not self._unsuited(model, request))

    def _without(self, models: tuple[str, ...], request: RouteRequest) -> str:
        """Which of ``models`` do not suit the request, as the rest of a sentence."""
        unsuited = [f"; not {m}, {why}" for m in models if (why := self._unsuited(m, request))]
        return "".join(unsuited)

    def _unsuited(self, model: str, request: RouteRequest) -> str:
        """Why ``model`` does not suit the request, in words that follow its name; ``""`` if so."""
        context, tokens = self.context_tokens.get(model), request.estimated_tokens
        reasons = []
        if context is not None and tokens is not None and tokens > context:
            reasons.append(f"takes {context:,} tokens of about {tokens:,}")
        if model in self.capabilities and (words := lacking(request, self.capabilities[model])):
            reasons.append(words)
        return f"which {' and '.join(reasons)}" if reasons else ""

    def _unsuitable(self, request: RouteRequest) -> dict[str, str]:
        """Why no model suits, for each that the request could have gone to."""
        if request.model is not None and request.model in self.models:
            models: Iterable[str] = self.models[request.model]
        else:
            uses = [rule.use for rule in self.rules if rule.when.check(request)[0]]
            models = [model for use in (*uses, self.default) for model in self._expanded(use)]
        return {model: self._unsuited(model, request).removeprefix("which ") for model in models}
