"""The client: what an application makes once, and asks as often as it likes."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Literal

import attrs
import trio

from moored.errors import StreamClosed
from moored.stream.arguments import check_callables
from moored.stream.lifetime import background
from moored.transports.dialing import Dial

from .accounting import Accounting
from .answer import Answer
from .budget import Budget
from .endpoint import ApiKey, Endpoint, check_limits
from .endpoints import Endpoints
from .exchange import Exchange, Resources
from .failover import EndpointStatistics, Failover
from .opening import Network
from .prices import Price, Prices
from .reply import Reply
from .request import Message, Request
from .router import Explanation, Router
from .rules import RouteRequest
from .settings import OnInterrupt, Settings
from .tokens import TokenCounter

__all__ = ["Client"]


class Client:
    """Asks OpenAI-compatible endpoints, and streams what they answer.

    Use it as ``async with Client(...) as client``.  One client serves any number of replies at
    once; every request has a connection of its own.

    :param base_url: the URL before ``/chat/completions``.
    :param api_key: sent as ``Authorization: Bearer``; text, or a callable, also an async one, that
        is called before every attempt.
    :param transport: ``"sse"`` (default) or ``"websocket"``.
    :param endpoints: instead of ``base_url`` and the like: several, in order of preference, with
        failover between them; or a :class:`moored.chat.Failover` with settings of its own.
    :param limits: a :class:`moored.limits.Limiter` for endpoints that have none of their own.
    :param pool: a :class:`moored.pool.Pool` that bounds how many replies there are at once.
    :param budget: a :class:`moored.chat.Budget`, or several that all have to have room.
    :param prices: what models cost, for endpoints that have no prices of their own: a
        :class:`moored.chat.Prices`, or a mapping from the name of a model to its
        :class:`moored.chat.Price`.  By default those of ``genai-prices``, where that is installed
        (``moored[prices]``).
    :param counter: counts tokens where the provider has not said how many; by default
        :func:`moored.chat.default_counter`, made when it is first needed.
    :param router: chooses the model where a request asks for ``"auto"`` or for a class of models.
    :param settings: clocks and recovery.
    :param on_interrupt: short for the setting of that name.
    :param ssl_context: for ``https`` and ``wss``; by default one with the system's certificate
        authorities, shared by all connections.
    :param dial: opens the byte streams, ``(host, port) -> trio.abc.Stream``.  By default TCP.
    :param rng: where all randomness comes from.
    :param wall_clock: seconds since the epoch, which ``Retry-After`` dates are compared with.
    :param endpoint_options: more fields of the :class:`moored.chat.Endpoint`, such as ``end`` or
        ``capabilities``.
    :raises TypeError: when an argument is of a type that makes no sense.
    :raises ValueError: when one is out of bounds.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: ApiKey = None,
        *,
        transport: Literal["sse", "websocket"] = "sse",
        endpoints: Sequence[Endpoint] | Failover = (),
        limits: Any = None,
        pool: Any = None,
        budget: Budget | Sequence[Budget] = (),
        prices: Prices | Mapping[str, Price] | None = None,
        counter: TokenCounter | None = None,
        router: Router | None = None,
        settings: Settings | None = None,
        on_interrupt: OnInterrupt | None = None,
        ssl_context: ssl.SSLContext | None = None,
        dial: Dial | None = None,
        rng: random.Random | None = None,
        wall_clock: Callable[[], float] = time.time,
        **endpoint_options: Any,
    ) -> None:
        unknown = set(endpoint_options) - set(attrs.fields_dict(Endpoint))
        if unknown:
            raise TypeError(f"Client has no parameter {sorted(unknown)[0]!r}, nor has Endpoint")
        if isinstance(endpoints, Failover) or endpoints:
            if base_url is not None or api_key is not None or endpoint_options:
                raise TypeError("base_url and the like cannot be given together with endpoints")
        elif base_url is None:
            raise TypeError("base_url or endpoints must be given")
        else:
            options: dict[str, Any] = {"transport": transport, **endpoint_options}
            endpoints = [Endpoint(base_url, api_key, **options)]
        failover = endpoints if isinstance(endpoints, Failover) else Failover(endpoints)
        check_limits("limits", limits)
        check_callables(dial=dial)
        _check(pool=(pool, "slot"), counter=(counter, "count"), rng=(rng, "uniform"))
        if getattr(pool, "limiter", None) is not None:
            raise ValueError(
                "pool must have no limiter of its own: give it to the client as limits, which "
                "reserves the tokens too"
            )
        if not callable(wall_clock):
            raise TypeError(f"wall_clock must be callable, not {wall_clock!r}")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext or None, not {ssl_context!r}")
        self._settings = _settings(settings, on_interrupt)
        self._resources = Resources(
            Endpoints(failover),
            Network(ssl_context, dial, rng or random.Random(), wall_clock),
            Accounting(
                prices=_prices(prices, wall_clock),
                budgets=_budgets(budget),
                limits=limits,
                counter=counter,
            ),
            pool,
        )
        if router is not None and not isinstance(router, Router):
            raise TypeError(f"router must be a chat.Router or None, not {type(router).__name__}")
        self._router = router
        has_limits = limits is not None or any(each.limits for each in failover.endpoints)
        if has_limits or router is not None or self._resources.accounting.budgets:
            self._resources.accounting.prepare()
        self._closed = False

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self._resources.endpoints.all)
        return f"<moored.chat.Client of {names}>"

    @property
    def counter_name(self) -> str:
        """How tokens are counted where the provider has not said how many: see
        :func:`moored.chat.default_counter`."""
        return self._resources.accounting.counter.name

    def endpoint_statistics(self) -> dict[str, EndpointStatistics]:
        """How each endpoint is doing, by its name.  To be called under Trio."""
        return self._resources.endpoints.statistics()

    async def __aenter__(self) -> Client:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no more requests.  Replies that are under way end with their own blocks."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    def stream(
        self,
        *,
        model: str,
        messages: Iterable[Mapping[str, Any] | Message],
        settings: Settings | None = None,
        on_interrupt: OnInterrupt | None = None,
        budget: Budget | Sequence[Budget] = (),
        routing_tags: Iterable[str] = (),
        routing_key: str | None = None,
        **fields: Any,
    ) -> AbstractAsyncContextManager[Reply]:
        """Ask, and stream the answer while the ``async with`` body runs.

        Leaving the body early hangs up, so that the provider stops generating.

        :param model: the model.
        :param messages: the conversation so far: dicts as the API has them, or
            :class:`moored.chat.Message`.
        :param settings: instead of the client's.
        :param on_interrupt: instead of the settings'.
        :param budget: what this request may cost, beside the client's budgets.
        :param routing_tags: your own words for the request, which rules of the router can ask for.
            Not sent.
        :param routing_key: the conversation that it belongs to: the router keeps to one model for
            it.  Not sent.
        :param fields: everything else goes into the request's body as it is: ``temperature``,
            ``tools``, ``n``, ``max_completion_tokens``, ...  ``None`` leaves a field out.
        :raises TypeError: when an argument is of a type that makes no sense.
        :raises ValueError: when one is out of bounds.
        """
        request = Request.of(model, messages, fields)
        settings = _settings(settings or self._settings, on_interrupt)
        budgets = _budgets(budget)
        return self._stream(
            self._routed(request, routing_tags, routing_key, budgets), settings, budgets
        )

    def explain(
        self,
        *,
        model: str,
        messages: Iterable[Mapping[str, Any] | Message],
        budget: Budget | Sequence[Budget] = (),
        routing_tags: Iterable[str] = (),
        routing_key: str | None = None,
        **fields: Any,
    ) -> Explanation:
        """Why the router would send a request where it would, rule by rule.  Nothing is sent.

        The parameters are those of :meth:`stream`.

        :raises ValueError: when the client has no router.
        """
        if self._router is None:
            raise ValueError("the client has no router: give it one with router=")
        request = Request.of(model, messages, fields)
        return self._router.explain(
            self._route_request(request, routing_tags, routing_key, _budgets(budget))
        )

    def _routed(
        self,
        request: Request,
        tags: Iterable[str],
        conversation: str | None,
        budgets: Sequence[Budget],
    ) -> list[Request]:
        """The same request of each model that may answer it, in order of preference."""
        if self._router is None:
            return [request]
        route = self._router.route(self._route_request(request, tags, conversation, budgets))
        return [attrs.evolve(request, model=model) for model in route.models]

    def _route_request(
        self,
        request: Request,
        tags: Iterable[str],
        conversation: str | None,
        budgets: Sequence[Budget],
    ) -> RouteRequest:
        accounting = self._resources.accounting
        given = accounting.estimate(request)
        left = [budget.remaining_usd for budget in (*accounting.budgets, *budgets)]
        return RouteRequest.of(
            {"model": request.model, "messages": request.messages, **request.fields},
            estimated_tokens=given + (request.max_tokens or 0),
            tags=tags,
            conversation=conversation,
            remaining_usd=min(left, default=None),
        )

    async def complete(
        self,
        *,
        model: str,
        messages: Iterable[Mapping[str, Any] | Message],
        settings: Settings | None = None,
        on_interrupt: OnInterrupt | None = None,
        budget: Budget | Sequence[Budget] = (),
        routing_tags: Iterable[str] = (),
        routing_key: str | None = None,
        **fields: Any,
    ) -> Answer:
        """Ask, and return the whole answer.  It is streamed all the same, under the same clocks.

        :raises ReplyError: when it cannot be completed.
        """
        async with self.stream(
            model=model,
            messages=messages,
            settings=settings,
            on_interrupt=on_interrupt,
            budget=budget,
            routing_tags=routing_tags,
            routing_key=routing_key,
            **fields,
        ) as reply:
            await reply.complete()
        return reply.answer

    @asynccontextmanager
    async def _stream(
        self, requests: Sequence[Request], settings: Settings, budgets: Sequence[Budget]
    ) -> AsyncIterator[Reply]:
        if self._closed:
            raise StreamClosed("the client is closed")
        exchange = Exchange(requests, settings, self._resources, budgets=budgets)

        async def close(body_error: BaseException | None) -> None:
            if body_error is None:
                await exchange.see_off()
            # Whatever still runs is cancelled then, and hangs up.

        async with background(exchange.start, close, of="the reply"):
            yield Reply(exchange)


def _check(**given: tuple[Any, str]) -> None:
    """Each has the method that it is for, or is ``None``."""
    for name, (value, method) in given.items():
        if value is not None and not callable(getattr(value, method, None)):
            raise TypeError(f"{name} must have a method {method}() or be None, not {value!r}")


def _prices(prices: Prices | Mapping[str, Price] | None, wall_clock: Callable[[], float]) -> Prices:
    if isinstance(prices, Prices):
        return prices
    return Prices(prices or {}, wall_clock=wall_clock)


def _budgets(budget: Budget | Sequence[Budget]) -> tuple[Budget, ...]:
    if not isinstance(budget, Budget | Iterable):
        raise TypeError(f"budget must be a chat.Budget or several, not {type(budget).__name__}")
    budgets = (budget,) if isinstance(budget, Budget) else tuple(budget)
    for each in budgets:
        if not isinstance(each, Budget):
            raise TypeError(f"budget must be a chat.Budget or several, not {type(each).__name__}")
    return budgets


def _settings(settings: Settings | None, on_interrupt: OnInterrupt | None) -> Settings:
    if settings is None:
        settings = Settings()
    elif not isinstance(settings, Settings):
        raise TypeError(f"settings must be a chat.Settings, not {type(settings).__name__}")
    return settings if on_interrupt is None else attrs.evolve(settings, on_interrupt=on_interrupt)
