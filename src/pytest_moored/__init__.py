"""The pytest plugin of Moored: fault proxies and mock servers as fixtures.

It is loaded into every test run of an environment that has Moored, so it imports nothing of Moored
(nor Trio) until a test asks for one of its fixtures, and says nothing where none does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_moored import seeds

if TYPE_CHECKING:
    from moored.faults import BlockingProxy, BlockingServer, Proxy, Server
    from pytest_moored.marker import Plan
    from pytest_moored.report import Opened

__all__ = [
    "blocking_fault_proxy",
    "blocking_fault_server",
    "fault_proxy",
    "fault_seed",
    "fault_server",
    "fault_upstream",
]

MARKER = (
    "faults(*schedule, rates=None, seed=None, upstream=None): what the fault proxy of this test "
    "does: faults as values or plain mappings, random ones by rates, the seed, and the server "
    "behind it (Moored)"
)

OPENED: pytest.StashKey[list[Opened]] = pytest.StashKey()


# Seeds and options.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--moored-seed``."""
    parser.getgroup("moored").addoption(
        "--moored-seed",
        type=int,
        default=None,
        metavar="N",
        help="repeat the random faults of a run: the seed that its failure report shows",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and settle the seed of this run."""
    config.addinivalue_line("markers", MARKER)
    seeds.settle(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give pytest-xdist's workers the seed of the run."""
    node.workerinput[seeds.WORKER_INPUT] = seeds.of_run(node.config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Show the seed, if one was asked for."""
    given = config.getoption("--moored-seed")
    return None if given is None else f"moored: --moored-seed={given}"


# Fixtures.


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test, for all that it draws at random.

    The marker's ``seed``, or one that follows from that of the run and the test's node id alone.
    """
    return seeds.of_test(request.node)


@pytest.fixture
def fault_upstream() -> Any:
    """The server behind the fault proxy: override it with a URL, or anything that has a ``url``.

    ``None``, the default, is Moored's mock server.  A marker's ``upstream`` goes before it.
    """
    return None


@pytest.fixture
def _fault_plan(request: pytest.FixtureRequest, fault_seed: int) -> Plan:
    _need_faults()
    from pytest_moored import marker

    try:
        return marker.read(request.node, fault_seed)
    except marker.MarkerError as exc:
        wrong = f"{request.node.nodeid}: {exc}"
    pytest.fail(wrong, pytrace=False)  # Out here, so that it stands alone.


@pytest.fixture
def _on_trio(request: pytest.FixtureRequest) -> None:
    # Asked before the fixtures below, so that the wrong kind of test is told what to do.
    _need_faults()
    if not any(request.node.iter_markers("trio")) and not any(request.node.iter_markers("anyio")):
        pytest.fail(
            "fault_proxy and fault_server are for tests that pytest-trio runs: others use "
            "blocking_fault_proxy and blocking_fault_server",
            pytrace=False,
        )


@pytest.fixture
async def fault_server(_on_trio: None) -> AsyncIterator[Server]:
    """A mock server on TCP, for Trio tests: :func:`moored.faults.open_server`."""
    from moored import faults

    _check_on_trio()
    async with faults.open_server() as server:
        yield server


@pytest.fixture
async def fault_proxy(
    request: pytest.FixtureRequest,
    _on_trio: None,
    _fault_plan: Plan,
    fault_server: Server,
    fault_upstream: Any,
) -> AsyncIterator[Proxy]:
    """A fault proxy on TCP, for Trio tests, with the marker's faults.

    It stands before the marker's ``upstream``, or that of ``fault_upstream``, or ``fault_server``.
    """
    from moored import faults
    from pytest_moored.marker import url_of

    upstream = _fault_plan.upstream or url_of(fault_upstream) or fault_server.url
    plan = _fault_plan
    async with faults.open_proxy(upstream, schedule=plan.schedule, seed=plan.seed) as proxy:
        _remember(request, proxy, upstream)
        yield proxy


@pytest.fixture
def blocking_fault_server() -> Iterator[BlockingServer]:
    """A mock server in a thread, for synchronous and asyncio tests."""
    _need_faults()
    from moored import faults

    with faults.open_blocking_server() as server:
        yield server


@pytest.fixture
def blocking_fault_proxy(
    request: pytest.FixtureRequest, _fault_plan: Plan, fault_upstream: Any
) -> Iterator[BlockingProxy]:
    """A fault proxy in a thread, for synchronous and asyncio tests, with the marker's faults.

    It stands before the marker's ``upstream``, or that of ``fault_upstream``, or
    ``blocking_fault_server``.
    """
    from moored import faults
    from pytest_moored.marker import url_of

    plan = _fault_plan
    upstream = plan.upstream or url_of(fault_upstream)
    if upstream is None:
        upstream = request.getfixturevalue("blocking_fault_server").url
    opening = faults.open_blocking_proxy(upstream, schedule=plan.schedule, seed=plan.seed)
    with opening as proxy:
        _remember(request, proxy, upstream)
        yield proxy


def _need_faults() -> None:
    try:
        import moored.faults  # noqa: F401
    except ImportError as exc:
        missing = str(exc)
    else:
        return
    pytest.fail(f"{missing}: fault proxies need pip install 'moored[faults]'", pytrace=False)


def _check_on_trio() -> None:
    import trio

    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "fault_proxy and fault_server need Trio: a test that runs on asyncio uses "
            "blocking_fault_proxy and blocking_fault_server"
        )


def _remember(request: pytest.FixtureRequest, proxy: Proxy | BlockingProxy, upstream: str) -> None:
    from pytest_moored.report import Opened

    opened = Opened(proxy=proxy, url=proxy.url, upstream=upstream)
    request.node.stash.setdefault(OPENED, []).append(opened)


# A marker that nothing reads would let a test pass that has met no fault.


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test with the marker that asks for no proxy.

    Only where the marker is on the test itself, and is ours by what it holds: one on a module may
    well have tests beside it that need none, and other plugins may have a marker of that name.
    """
    names = getattr(item, "fixturenames", ())
    if "fault_proxy" in names or "blocking_fault_proxy" in names:
        return
    for mark in item.own_markers:
        if mark.name == "faults" and _is_ours(mark):
            pytest.fail(
                "the marker faults does nothing here: the test asks neither for fault_proxy nor "
                "for blocking_fault_proxy",
                pytrace=False,
            )


def _is_ours(mark: pytest.Mark) -> bool:
    kinds = {type(each).__module__.partition(".")[0] for each in mark.args}
    plain = [each for each in mark.args if isinstance(each, Mapping) and "fault" in each]
    if mark.args:
        return "moored" in kinds or len(plain) == len(mark.args)
    return "rates" in mark.kwargs or "upstream" in mark.kwargs


# The report.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell, where a test has failed, what was injected."""
    report = yield
    opened = item.stash.get(OPENED, None)
    if report.failed and opened:
        from pytest_moored.report import TITLE, section

        text = section(opened, seeds.words(item))
        report.sections.append((TITLE, text))
    return report
