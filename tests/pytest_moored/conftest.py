"""Test runs in a test: each in its own directory, with the plugin as its entry point loads it."""

import httpx  # noqa: F401
import pytest

# What is imported in a run inside is forgotten with it, and would be there twice in the next.
import pytest_moored.marker
import pytest_moored.report  # noqa: F401

INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture
def suite(pytester):
    """Call it with the text of a test file and options: runs it, and returns the result."""
    pytester.makeini(INI)

    def run(text, *options, subprocess=False):
        pytester.makepyfile(test_it=text)
        if subprocess:
            return pytester.runpytest_subprocess(*options)
        return pytester.runpytest_inprocess(*options)

    run.pytester = pytester
    return run
