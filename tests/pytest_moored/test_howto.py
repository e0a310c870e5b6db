"""The examples of docs/howto/pytest.md are tests that pass."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/howto/pytest.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
REPORT = re.search(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_examples_are_found():
    assert len(EXAMPLES) == PAGE.count("```python") == 7


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_passes(suite, example):
    result = suite(example)
    result.assert_outcomes(passed=example.count("def test_"))


def test_the_report_is_such_a_one(suite):
    result = suite(
        """
import httpx
import pytest
from moored.faults import Cut

@pytest.mark.faults(Cut(connection=2, after_messages=3))
def test_it(blocking_fault_proxy):
    for _ in range(2):
        httpx.get(blocking_fault_proxy.url + "/feed")
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([pattern(line) for line in REPORT.splitlines()], consecutive=True)


def pattern(line):
    """A pattern that matches the line with other numbers for seeds, ports and times."""
    text = re.sub(r"-{5,}", "-+", re.escape(line).replace(r"\-", "-"))
    text = re.sub(r"(seed[ =\\]+)\d+", r"\1\\d+", text)
    text = re.sub(r"(127\\\.0\\\.0\\\.1:)\d+", r"\1\\d+", text)
    return re.sub(r"(\\ )+\d+\\\.\d+\\ s", r" +\\d+\\.\\d+ s", text)
