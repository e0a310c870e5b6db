"""The plugin in test runs that have no use for it."""

import subprocess
import sys

import pytest

PLAIN = """
def test_it():
    pass
"""
USES = """
import pytest

def test_blocking(blocking_fault_proxy):
    pass

def test_server(blocking_fault_server):
    pass

async def test_on_trio(fault_proxy):
    pass
"""


@pytest.fixture
def without(suite, monkeypatch):
    """Make modules impossible to import, in runs of their own."""

    def without(*names):
        pytester = suite.pytester
        shadow = pytester.mkdir("shadow")
        for name in names:
            (shadow / f"{name}.py").write_text(f'raise ImportError("No module named {name!r}")\n')
        monkeypatch.setenv("PYTHONPATH", str(shadow))

    return without


def test_it_is_loaded_and_imports_nothing_before_it_is_used(suite):
    text = """
import sys

def test_it(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("moored")
    assert not {"moored", "trio", "httpx", "h11", "attrs"} & set(sys.modules)
"""
    suite.pytester.makeini("[pytest]")
    # These import some of that themselves.
    others = ["asyncio", "anyio", "trio", "hypothesispytest"]
    result = suite(text, *(f"-pno:{name}" for name in others), subprocess=True)
    result.assert_outcomes(passed=1)


def test_it_says_nothing_where_it_is_not_used(suite):
    result = suite(PLAIN, subprocess=True)
    result.assert_outcomes(passed=1)
    said = [line for line in result.outlines + result.errlines if not line.startswith("plugins:")]
    assert "moored" not in "".join(said).lower()


@pytest.mark.parametrize("name", ["h11", "trio", "anyio"])
def test_without_the_extra_only_the_tests_that_use_it_fail(suite, without, name):
    without(name)
    options = ["-pno:anyio", "-pno:trio", "-pno:hypothesispytest", "-pno:timeout"]
    result = suite(PLAIN + USES, *options, subprocess=True)
    result.assert_outcomes(passed=1, errors=3)
    words = f"No module named '{name}': fault proxies need pip install 'moored[faults]'"
    assert result.stdout.str().count(f"\n{words}\n") == 3


def test_without_pytest_trio_the_others_work(suite):
    result = suite(PLAIN + USES, "-pno:trio", subprocess=True)
    result.assert_outcomes(passed=3, errors=1)
    assert "others use blocking_fault_proxy" in result.stdout.str()


def test_the_marker_and_the_fixtures_are_listed_with_their_documentation(suite):
    result = suite(PLAIN, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.faults(*"])
    result = suite(PLAIN, "--fixtures")
    for name in ("fault_proxy", "fault_server", "fault_seed", "fault_upstream"):
        result.stdout.re_match_lines([rf"{name}\b.*", r"    \S.*"])
    assert "_fault_plan" not in result.stdout.str()


def test_interrupting_a_run_ends_the_threads(suite):
    """And with them the process."""
    result = suite(
        """
import httpx

def test_it(blocking_fault_proxy):
    with httpx.stream("GET", blocking_fault_proxy.url + "/feed?follow=1&pace=9"):
        raise KeyboardInterrupt
""",
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_coverage_of_moored_begins_when_a_test_begins():
    """Importing the plugin imports none of what is to be measured."""
    code = "import sys, pytest_moored; print([m for m in sys.modules if m.startswith('moored')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_marker_that_nothing_reads_fails_its_test(suite):
    text = """
import pytest
from moored.faults import Refuse

@pytest.mark.faults(Refuse(status=503))
def test_no_fixture():
    pass

@pytest.mark.faults({"fault": "refuse", "status": 5})
def test_only_a_server(blocking_fault_server):
    pass
"""
    result = suite(text)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*the marker faults does nothing here*"])


def test_a_marker_of_others_or_of_a_module_fails_nothing(suite):
    text = """
import pytest

pytestmark = pytest.mark.faults({"fault": "cut", "after_messages": 1})

@pytest.mark.faults("tectonic", depth=5)
def test_of_others():
    pass

def test_beside_those_that_use_it():
    pass
"""
    suite(text).assert_outcomes(passed=2)
