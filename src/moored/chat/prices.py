"""What models cost: the user's own prices, or those of the package ``genai-prices``."""

from __future__ import annotations

import importlib.metadata
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from .cost import Cost
from .decimals import own_context
from .usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

__all__ = ["Price", "Prices"]

_MILLION = Decimal(1_000_000)


def _decimal(value: Any) -> Any:
    """As written: ``0.1`` is a tenth, not the binary fraction next to it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    with own_context():
        try:
            return Decimal(value if isinstance(value, int) else str(value))
        except InvalidOperation:
            return value


def _dollars(optional: bool) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(price: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if not isinstance(value, Decimal):
            raise TypeError(f"Price.{field.name} must be a number, not {value!r}")
        if not value.is_finite() or value < 0:
            raise ValueError(f"Price.{field.name} must be finite and at least 0, not {value}")

    return check


@attrs.frozen
class Price:
    """What one model costs, in US dollars for a million tokens.

    Numbers may be given as ``int``, ``float``, ``str`` or ``Decimal``.

    :param input: for tokens of the request.
    :param output: for tokens of the answer, reasoning included.
    :param cached_input: for those that the provider read from its cache; by default as ``input``.
    :param cache_write: for those that it wrote to its cache; by default as ``input``.
    :param as_of: when these prices were looked up, to be shown with every cost.
    :raises TypeError: for what is not a number.
    :raises ValueError: for a negative one.
    """

    input: Decimal = attrs.field(converter=_decimal, validator=_dollars(False))
    output: Decimal = attrs.field(converter=_decimal, validator=_dollars(False))
    cached_input: Decimal | None = attrs.field(
        default=None, converter=_decimal, validator=_dollars(True)
    )
    cache_write: Decimal | None = attrs.field(
        default=None, converter=_decimal, validator=_dollars(True)
    )
    as_of: date | None = None


def _overrides(value: Any) -> dict[str, Price]:
    if not isinstance(value, Mapping):
        raise TypeError(f"Prices.overrides must map names of models to Price, not {value!r}")
    for model, price in value.items():
        if not isinstance(model, str) or not isinstance(price, Price):
            raise TypeError(f"Prices.overrides[{model!r}] must be a Price, not {price!r}")
    return dict(value)


@attrs.frozen
class Prices:
    """Looks up what an answer cost.  Reads no network, ever.

    The user's own prices win.  Others come from the package ``genai-prices``
    (``pip install moored[prices]``), if it is installed, and as it was installed: there is no
    update by itself.  It is imported when it is first needed, which takes about a quarter of a
    second.

    :param overrides: prices by the name of the model, exactly as it is asked for.
    :param provider: whose prices to take, as ``genai-prices`` spells it, such as ``"openai"`` or
        ``"azure"``: for a gateway whose URL says nothing.  By default the URL decides.
    :param wall_clock: seconds since the epoch, for prices that change with the day or the hour.
    """

    overrides: Mapping[str, Price] = attrs.field(factory=dict, converter=_overrides)
    provider: str | None = attrs.field(
        default=None,
        kw_only=True,
        validator=attrs.validators.optional(attrs.validators.instance_of(str)),
    )
    wall_clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True, repr=False)

    def cost(
        self,
        usage: Usage,
        *,
        model: str,
        provider_url: str | None = None,
        at: datetime | None = None,
        service_tier: str | None = None,
    ) -> Cost | None:
        """What ``usage`` cost, or ``None`` where nothing tells: never a guess of 0.

        That is where the model is unknown, where ``provider_url`` belongs to no provider that is
        known (the same name may cost anything elsewhere), where tokens were used that have no
        price, and where ``genai-prices`` is not installed.

        More cached tokens than tokens in all make no sense; they are then taken as all of the
        input, and the cost is marked as estimated.

        :param usage: the tokens.
        :param model: as it was asked for.
        :param provider_url: the endpoint's URL; without it the model's name decides.
        :param at: when it was asked for; now by default.
        :param service_tier: as the answer names it, such as ``"flex"`` or ``"priority"``.
        """
        usage = _sensible(usage)
        if (price := self.overrides.get(model)) is not None:
            return _own_cost(usage, price, model)
        if (package := _package()) is None:
            return None
        if at is None:
            at = datetime.fromtimestamp(self.wall_clock(), UTC)
        return package.cost(usage, model, self.provider, provider_url, at, service_tier)


def _sensible(usage: Usage) -> Usage:
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    if (cached, written) == (usage.cached_input_tokens, usage.cache_write_tokens):
        return usage
    return attrs.evolve(
        usage, cached_input_tokens=cached, cache_write_tokens=written, estimated=True
    )


def _own_cost(usage: Usage, price: Price, model: str) -> Cost:
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    cached_price = price.input if price.cached_input is None else price.cached_input
    write_price = price.input if price.cache_write is None else price.cache_write
    with own_context():
        given = price.input * (usage.input_tokens - cached - written)
        given = (given + cached_price * cached + write_price * written) / _MILLION
        made = price.output * usage.output_tokens / _MILLION
        usd = given + made
    return Cost(usd, given, made, usage.estimated, "user", price.as_of, model)


# ---------------------------------------------------------------------------- genai-prices


@attrs.frozen
class _Package:
    """The installed ``genai-prices``."""

    source: str
    as_of: date | None

    def cost(
        self,
        usage: Usage,
        model: str,
        provider: str | None,
        url: str | None,
        at: datetime,
        service_tier: str | None,
    ) -> Cost | None:
        import genai_prices

        if provider is None and url is not None and (provider := _provider_at(url)) is None:
            return None
        counts = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        context = None if service_tier is None else {"service_tier": service_tier}
        try:
            with own_context():
                found = genai_prices.calc_price(
                    counts,
                    model,
                    provider_id=provider,
                    genai_request_timestamp=at,
                    price_context=context,
                )
        except LookupError:
            return None
        if not _priced(found, usage):
            return None
        updated = found.auto_update_timestamp  # where the user has asked the package to update
        return Cost(
            found.total_price,
            found.input_price,
            found.output_price,
            usage.estimated,
            self.source,
            self.as_of if updated is None else updated.date(),
            model,
        )


def _provider_at(url: str) -> str | None:
    """Whose URL it is, as the package names providers; ``None`` where it is nobody's.

    The package matches its patterns with the beginning of a URL, so that it takes
    ``api.openai.com.example`` for OpenAI, and ``example/x.googleapis.com`` for Google.
    """
    from genai_prices.data_snapshot import get_snapshot

    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    scheme = re.sub("^ws", "http", parts.scheme)  # the same provider, by a WebSocket
    # Without credentials, port and query.  Patterns of hosts have dots and those of paths have
    # none: without them, no part of a path can pass for a host.
    host, path = (parts.hostname or "").removesuffix("."), parts.path.replace(".", "_")
    plain = f"{scheme}://{host}{path}"
    for provider in get_snapshot().providers:
        found = re.match(provider.api_pattern, plain)
        if found is not None and _ends_a_name(plain, found.end()):
            return provider.id
    return None


def _ends_a_name(url: str, end: int) -> bool:
    """Whether what was matched ends where a host or a part of the path does."""
    rest = url[end:]
    if url[:end].endswith("."):  # "https://api.moonshot.": any top-level domain
        return re.match("[a-z]+(/|$)", rest) is not None
    return not rest or rest.startswith("/") or url[:end].endswith("/")


def _priced(found: PriceCalculation, usage: Usage) -> bool:
    """Whether every kind of token that was used has a price.

    The package takes 0 for what has none, and has some models with no price at all.  Those with
    ``:free`` in their name are free; the others are merely unknown.
    """
    price = found.model_price
    if price.input_mtok is None and price.output_mtok is None:
        return found.model.id.endswith(":free")
    return not (
        (usage.input_tokens and price.input_mtok is None)
        or (usage.output_tokens and price.output_mtok is None)
    )


@cache
def _package() -> _Package | None:
    try:
        from genai_prices import data_snapshot
    except ModuleNotFoundError as error:
        if error.name != "genai_prices":
            raise
        return None
    installed = importlib.metadata.distribution("genai-prices")
    source = f"genai-prices {installed.version}"
    return _Package(source, _newest_price(data_snapshot.get_snapshot().providers, installed))


def _newest_price(providers: list[Any], installed: importlib.metadata.Distribution) -> date | None:
    """When the newest price in the package that was in force when it was installed began.

    The package does not say when its prices were collected.  They are at least as recent as the
    newest change among them; but it also holds changes that are announced for later, which is why
    those after its installation do not count.
    """
    from genai_prices.types import StartDateConstraint

    metadata = next((file for file in installed.files or () if file.name == "METADATA"), None)
    if metadata is None:
        return None
    try:
        modified = installed.locate_file(metadata).stat().st_mtime  # type: ignore[attr-defined]
    except OSError:
        return None
    by_then = datetime.fromtimestamp(modified, UTC).date()
    return max(
        (
            price.constraint.start_date
            for provider in providers
            for model in provider.models
            if isinstance(model.prices, list)
            for price in model.prices
            if isinstance(price.constraint, StartDateConstraint)
            and price.constraint.start_date <= by_then
        ),
        default=None,
    )
