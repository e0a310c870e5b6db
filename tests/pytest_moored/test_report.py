"""What is told when a test fails, and the seed that repeats it."""

import re

import pytest

IMPORTS = """
import httpx
import pytest
from moored.faults import Cut, Refuse

FEED = "/feed?count=4"
get = httpx.Client(timeout=5).get  # Each would read the certificates.
"""
TITLE = "Moored: faults injected"


def section(result):
    """The lines of the report's section, without those of the next."""
    lines = result.stdout.str().split(TITLE)[1].splitlines()[1:]
    end = next(n for n, line in enumerate(lines) if line.startswith(("====", "----", "____")))
    return "\n".join(lines[:end])


KINDS = {
    "trio": """
@pytest.mark.trio
@pytest.mark.faults(Refuse(times=1), Cut(after_messages=2, connection=2))
async def test_it(fault_proxy):
    proxy = fault_proxy
    async with httpx.AsyncClient() as client:
        await client.get(proxy.url + FEED)
        try:
            await client.get(proxy.url + FEED)
        except httpx.TransportError:
            pass
        await proxy.wait_until(lambda: len(proxy.injected) == 2)
        assert False
""",
    "asyncio": """
@pytest.mark.asyncio
@pytest.mark.faults(Refuse(times=1), Cut(after_messages=2, connection=2))
async def test_it(blocking_fault_proxy):
    proxy = blocking_fault_proxy
    async with httpx.AsyncClient() as client:
        await client.get(proxy.url + FEED)
        await client.get(proxy.url + FEED)
""",
    "sync": """
@pytest.mark.faults(Refuse(times=1), Cut(after_messages=2, connection=2))
def test_it(blocking_fault_proxy):
    proxy = blocking_fault_proxy
    get(proxy.url + FEED)
    get(proxy.url + FEED)
""",
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_failure_shows_what_was_injected(suite, kind):
    result = suite(IMPORTS + KINDS[kind])
    result.assert_outcomes(failed=1)
    found = section(result)
    assert re.search(r"^proxy http://127.0.0.1:\d+, before http://127.0.0.1:\d+$", found, re.M)
    schedule, injected = re.search(
        r"^schedule:\n(.*)^injected:\n(.*)^connections:", found, re.M | re.S
    ).groups()
    assert schedule == "  Refuse(times=1)\n  Cut(connection=2, after_messages=2)\n"
    refused, cut = injected.splitlines()
    assert re.fullmatch(r" +0\.\d{3} s  connection 1 /feed: Refuse\(times=1\), status 429", refused)
    assert re.fullmatch(
        r" +0\.\d{3} s  connection 2 /feed: Cut\(.*\), after 2 messages, \d+ bytes", cut
    )
    assert re.search(r"s  connection 1 /feed \(http, status 429\): 0 messages, .* refused", found)
    assert "s  connection 2 /feed (sse, status 200): 2 messages" in found


def test_nothing_is_shown_where_nothing_failed_or_no_proxy_was_used(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.faults(Refuse())
def test_it(blocking_fault_proxy):
    assert get(blocking_fault_proxy.url).status_code == 429

@pytest.mark.xfail
def test_as_expected(blocking_fault_proxy):
    assert False

def test_without():
    assert False
""",
        "-rA",
    )
    result.assert_outcomes(passed=1, failed=1, xfailed=1)
    assert TITLE not in result.stdout.str()
    assert "moored-seed" not in result.stdout.str()


def test_a_long_history_is_cut_short(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.faults(Refuse())
def test_it(blocking_fault_proxy):
    for _ in range(33):
        get(blocking_fault_proxy.url)
    assert False
"""
    )
    assert section(result).count("  (3 before these)\n") == 2
    assert section(result).count("status 429\n") == 30


# ---------------------------------------------------------------------------- seeds

RANDOM = (
    IMPORTS
    + """
@pytest.mark.faults(Cut(after_messages=0, probability=0.5), rates={"refuse": 0.5, "cut": 0.5})
@pytest.mark.parametrize("number", [1, 2])
def test_it(blocking_fault_proxy, fault_seed, number):
    assert blocking_fault_proxy.seed == fault_seed
    for _ in range(12):
        try:
            get(blocking_fault_proxy.url + FEED)
        except httpx.TransportError:
            pass
    assert False
"""
)


def sections(result):
    """Seed, replay option and what struck which connection, of each failed test."""
    found = {}
    text = result.stdout.str()
    for part in text.split(f"{TITLE} ")[1:]:
        seed, option = re.search(r"^seed (\d+): .* with (--moored-seed=\d+)$", part, re.M).groups()
        struck = part.split("injected:")[1].split("connections:")[0]
        struck = re.findall(r"(connection \d+ \S*: .*)$", struck, re.M)
        found[seed] = (option, struck)
    return found


def test_a_run_is_repeated_by_the_seed_that_it_shows(suite):
    first = sections(suite(RANDOM))
    assert len(first) == 2
    assert len({str(struck) for _, struck in first.values()}) == 2, "each test has its own"
    ((option, _), *_) = first.values()
    assert sections(suite(RANDOM, option)) == first
    again = suite(RANDOM, option, "-k", "it[2]")
    ((seed, (_, struck)),) = sections(again).items()
    assert first[seed] == (option, struck)
    again.stdout.fnmatch_lines([f"moored: {option}"])
    assert sections(suite(RANDOM)) != first


def test_all_workers_have_the_seed_of_the_run(suite):
    first = sections(suite(RANDOM, "-n2", subprocess=True))
    assert len(first) == 2
    options = {option for option, _ in first.values()}
    assert len(options) == 1
    assert sections(suite(RANDOM, *options)) == first


def test_a_seed_of_the_markers_own(suite):
    result = suite(
        IMPORTS
        + """
@pytest.mark.faults(seed=7)
def test_it(blocking_fault_proxy, fault_seed):
    assert fault_seed == blocking_fault_proxy.seed == 7
    assert False
""",
        "--moored-seed=3",
    )
    assert section(result).startswith("seed 7, as the marker says\n")


def test_a_seed_that_is_no_number(suite):
    result = suite("", "--moored-seed=x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--moored-seed: invalid int value: 'x'"])
