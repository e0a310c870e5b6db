"""What answers cost, by the user's prices and by those of ``genai-prices``."""

import contextlib
import decimal
import importlib.metadata
import os
import socket
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import attrs
import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot

from moored.chat import prices as prices_module
from moored.chat.cost import Cost
from moored.chat.prices import Price, Prices
from moored.chat.usage import Usage

OPENAI = "https://api.openai.com/v1"
SOURCE = f"genai-prices {importlib.metadata.version('genai-prices')}"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def connect(*args):
        raise AssertionError("prices are looked up without a network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def a_cost(usd="1", **changes):
    given = {
        "usd": Decimal(usd),
        "input_usd": Decimal(usd),
        "output_usd": Decimal(0),
        "estimated": False,
        "source": "user",
        "as_of": None,
        "model": "m",
    }
    return Cost(**given | changes)


# ---------------------------------------------------------------------------- the user's own


def test_own_prices_are_for_a_million_tokens_and_exact():
    prices = Prices({"mine": Price(input=3.0, output=15, cached_input="0.3", cache_write=3.75)})
    usage = Usage(1000, 10, cached_input_tokens=300, cache_write_tokens=100)
    assert prices.cost(usage, model="mine") == Cost(
        usd=Decimal("0.002415"),
        input_usd=Decimal("0.002265"),  # 600 at 3, 300 at 0.3, 100 at 3.75
        output_usd=Decimal("0.00015"),
        estimated=False,
        source="user",
        as_of=None,
        model="mine",
    )


def test_without_their_own_price_cached_tokens_cost_what_input_costs():
    usage = Usage(1000, 0, cached_input_tokens=400, cache_write_tokens=100)
    assert Prices({"m": Price(input=1, output=1)}).cost(usage, model="m").usd == Decimal("0.001")


def test_a_price_of_nothing_is_an_answer():
    cost = Prices({"local": Price(input=0, output=0)}).cost(Usage(10, 10), model="local")
    assert cost.usd == 0


def test_own_prices_win_over_the_package():
    prices = Prices({"gpt-4o": Price(input=1, output=1, as_of=date(2026, 1, 2))})
    cost = prices.cost(Usage(1_000_000, 0), model="gpt-4o", provider_url=OPENAI)
    assert (cost.usd, cost.source, cost.as_of) == (1, "user", date(2026, 1, 2))


@pytest.mark.parametrize("value", [-1, "-0.1", float("nan"), float("inf")])
def test_a_price_out_of_bounds_is_refused(value):
    with pytest.raises(ValueError, match=r"Price\.input must be finite and at least 0, not "):
        Price(input=value, output=1)


@pytest.mark.parametrize("value", ["dear", True, None, [1]])
def test_a_price_that_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r"Price\.output must be a number, not "):
        Price(input=1, output=value)


@pytest.mark.parametrize("overrides", [{"m": 3.0}, {1: Price(input=1, output=1)}, [("m", 1)]])
def test_overrides_that_are_no_prices_are_refused(overrides):
    with pytest.raises(TypeError, match=r"Prices\.overrides"):
        Prices(overrides)


# ---------------------------------------------------------------------------- the package


def test_the_package_knows_openai():
    usage = Usage(1_000_000, 100_000, cached_input_tokens=500_000)
    cost = Prices().cost(usage, model="gpt-4o", provider_url=OPENAI)
    assert (cost.input_usd, cost.output_usd, cost.usd) == (
        Decimal("1.875"),
        Decimal("1"),
        Decimal("2.875"),
    )
    assert (cost.source, cost.model, cost.estimated) == (SOURCE, "gpt-4o", False)


def test_a_websocket_url_and_credentials_do_not_hide_the_provider():
    for url in ("wss://api.openai.com/v1", "https://user:pass@API.OpenAI.com/v1?key=secret"):
        assert Prices().cost(Usage(1, 1), model="gpt-4o", provider_url=url) is not None


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("gpt-4o", "https://api.openai.com"),
        ("gpt-4o", "https://api.openai.com:443/v1"),
        ("gpt-4o", "https://api.openai.com./v1"),
        ("gpt-4o", "https://mine.openai.azure.com/openai/deployments/x"),
        ("kimi-k2-0905-preview", "https://api.moonshot.cn/v1"),  # matched as far as "moonshot."
        ("gemini-2.5-pro", "https://us-east1-aiplatform.googleapis.com/v1beta1/openapi"),
        ("openai/gpt-oss-120b", "https://router.huggingface.co/groq/v1"),  # matched with its path
    ],
)
def test_the_host_decides_whose_prices_they_are(model, url):
    assert Prices().cost(Usage(1, 1), model=model, provider_url=url) is not None


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("gpt-4o", "https://api.openai.com.example.org/v1"),
        ("gpt-4o", "https://api.openai.community/v1"),
        ("gpt-4o", "https://api.openai.com@example.org/v1"),
        ("gpt-4o", "https://example.org/https://api.openai.com/v1"),
        ("gpt-4o", "https://example/mine.openai.azure.com"),
        ("kimi-k2-0905-preview", "https://api.moonshot.example.org/v1"),
        ("gemini-2.5-pro", "https://example.org/x.googleapis.com/v1"),
        ("openai/gpt-oss-120b", "https://router.huggingface.co/groqqy/v1"),
        ("gpt-4o", "https://[::1"),
        ("gpt-4o", "https://[::1]/v1"),
        ("gpt-4o", ""),
    ],
)
def test_a_host_that_only_looks_like_a_providers_has_no_cost(model, url):
    assert Prices().cost(Usage(1, 1), model=model, provider_url=url) is None


def test_without_a_url_the_name_of_the_model_decides():
    assert Prices().cost(Usage(1000, 0), model="claude-sonnet-4-5").usd == Decimal("0.003")


def test_a_long_request_is_in_another_tier():
    one = Prices().cost(Usage(100_000, 0), model="claude-sonnet-4-5").usd
    three = Prices().cost(Usage(300_000, 0), model="claude-sonnet-4-5").usd
    assert three == 6 * one


def test_the_price_of_the_day_of_the_request_is_taken():
    """o3 became five times cheaper in between."""
    day = Prices().cost(Usage(1_000_000, 0), model="o3", at=datetime(2025, 6, 1, tzinfo=UTC))
    later = Prices().cost(Usage(1_000_000, 0), model="o3", at=datetime(2025, 7, 1, tzinfo=UTC))
    assert (day.usd, later.usd) == (10, 2)
    clock = datetime(2025, 6, 1, tzinfo=UTC).timestamp
    assert Prices(wall_clock=clock).cost(Usage(1_000_000, 0), model="o3").usd == 10


def test_a_service_tier_has_its_own_price():
    def usd(tier):
        usage = Usage(1_000_000, 0)
        return Prices().cost(usage, model="o3", provider_url=OPENAI, service_tier=tier).usd

    assert usd("flex") == usd(None) / 2
    assert usd("no such tier") == usd(None)


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("no-such-model", None),
        ("no-such-model", OPENAI),
        ("gpt-4o", "http://127.0.0.1:8000/v1"),  # somebody's gateway: it may cost anything
    ],
)
def test_what_is_unknown_has_no_cost(model, url):
    assert Prices().cost(Usage(10, 10), model=model, provider_url=url) is None


def test_a_gateway_can_be_said_to_cost_what_a_provider_does():
    prices = Prices(provider="openai")
    cost = prices.cost(Usage(10, 10), model="gpt-4o", provider_url="http://127.0.0.1:8000/v1")
    assert cost is not None
    assert cost == Prices().cost(Usage(10, 10), model="gpt-4o", provider_url=OPENAI)
    assert Prices(provider="nobody").cost(Usage(10, 10), model="gpt-4o") is None


def test_what_the_package_lists_without_a_price_has_no_cost():
    openai = Prices(provider="openai")
    assert openai.cost(Usage(10, 0), model="omni-moderation-latest") is None
    embedding = "text-embedding-3-small"  # only its input has a price
    assert openai.cost(Usage(10, 0), model=embedding).usd > 0
    assert openai.cost(Usage(10, 1), model=embedding) is None


def test_what_is_free_costs_nothing():
    free = next(
        model.id
        for provider in get_snapshot().providers
        if provider.id == "openrouter"
        for model in provider.models
        if model.id.endswith(":free")
    )
    assert Prices(provider="openrouter").cost(Usage(10, 10), model=free).usd == 0


def test_more_cached_tokens_than_tokens_are_taken_as_all_of_them():
    usage = Usage(100, 0, cached_input_tokens=200, cache_write_tokens=50)
    cost = Prices().cost(usage, model="gpt-4o")
    assert cost.estimated
    assert cost.usd == Prices().cost(Usage(100, 0, cached_input_tokens=100), model="gpt-4o").usd


def test_without_the_package_only_own_prices_are_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    prices_module._package.cache_clear()
    try:
        prices = Prices({"mine": Price(input=1, output=1)})
        assert prices.cost(Usage(1, 1), model="gpt-4o") is None
        assert prices.cost(Usage(1, 1), model="mine") is not None
    finally:
        prices_module._package.cache_clear()


# ---------------------------------------------------------------------------- the date


@pytest.fixture
def installed(tmp_path):
    """The package, as if it had been installed on the day given."""

    class Distribution(importlib.metadata.Distribution):
        files = (importlib.metadata.PackagePath("METADATA"),)

        def locate_file(self, path):
            return tmp_path / path

        def read_text(self, filename):
            return None

    def install(*day):
        seconds = datetime(*day, tzinfo=UTC).timestamp()
        (tmp_path / "METADATA").touch()
        os.utime(tmp_path / "METADATA", (seconds, seconds))
        return Distribution()

    return install


def test_the_date_is_that_of_the_newest_price_in_force_at_installation(installed):
    providers = get_snapshot().providers
    then = prices_module._newest_price(providers, installed(2025, 6, 20))
    assert date(2025, 6, 10) <= then <= date(2025, 6, 20)  # o3's change at the earliest
    assert prices_module._newest_price(providers, installed(1980, 1, 1)) is None


def test_the_date_is_no_later_than_today():
    as_of = Prices().cost(Usage(1, 1), model="gpt-4o").as_of
    assert date(2025, 6, 10) <= as_of <= datetime.now(UTC).date()


def test_prices_that_the_user_has_updated_have_the_date_of_the_update():
    snapshot = DataSnapshot(get_snapshot().providers, from_auto_update=True)
    snapshot.timestamp = datetime(2030, 1, 2)
    set_custom_snapshot(snapshot)
    try:
        assert Prices().cost(Usage(1, 1), model="gpt-4o").as_of == date(2030, 1, 2)
    finally:
        set_custom_snapshot(None)


# ---------------------------------------------------------------------------- costs


def test_costs_add_up():
    one = a_cost("0.1", as_of=date(2026, 5, 1), source="a", model="m")
    other = a_cost("0.2", as_of=date(2026, 4, 1), source="b", model="n", estimated=True)
    both = one + other
    assert both == a_cost(
        "0.3", as_of=date(2026, 4, 1), source="a + b", model="m + n", estimated=True
    )
    assert both + one == attrs.evolve(both, usd=Decimal("0.4"), input_usd=Decimal("0.4"))
    assert (a_cost() + one).as_of == date(2026, 5, 1)
    with pytest.raises(TypeError):
        one + 1


def test_costs_are_summed():
    costs = [a_cost("0.1"), a_cost("0.2", estimated=True), a_cost("0.3")]
    assert sum(costs) == costs[0] + costs[1] + costs[2]
    assert sum(costs[:1]) == costs[0]
    with pytest.raises(TypeError):
        sum(costs, 1)


# ---------------------------------------------------------------------------- the caller's context


@contextlib.contextmanager
def an_odd_context():
    """As a program may have that counts with few digits; nothing in it may reach a cost."""
    context = decimal.Context(prec=3, rounding=decimal.ROUND_UP, traps=[decimal.Inexact], Emax=3)
    with decimal.localcontext(context):
        yield


def test_costs_do_not_depend_on_the_callers_decimal_context():
    usage = Usage(1_234_567, 7_654_321, cached_input_tokens=1_234)

    def costs():
        price = Price(input="1.23456789", output=12345.678901, cached_input=0.3)
        own = Prices({"m": price}).cost(usage, model="m")
        package = Prices().cost(usage, model="gpt-4o", provider_url=OPENAI)
        return price, own, package, own + package, sum([own, package]), str(own), str(own + package)

    expected = costs()
    with an_odd_context():
        assert costs() == expected
        with pytest.raises(TypeError, match="must be a number"):
            Price(input="dear", output=1)


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (
            a_cost("0.001234", estimated=True, source="genai-prices 1", as_of=date(2026, 11, 1)),
            "$0.001234 (estimated, genai-prices 1, 2026-11-01)",
        ),
        (a_cost("0.0000004"), "$0.000000400 (user)"),
        (a_cost("0"), "$0.000000 (user)"),
        (a_cost("12.5"), "$12.500000 (user)"),
    ],
)
def test_a_cost_is_written_with_all_that_it_rests_on(cost, text):
    assert str(cost) == text


def test_a_cost_is_no_float():
    with pytest.raises(TypeError):
        a_cost(input_usd=0.5)
