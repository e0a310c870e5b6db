"""The table of docs/howto/dropin.md: what it claims is so, and it has its place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "peers" / "openai_dropin.py"

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestWarning")


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("openai_dropin", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    paths = list(sys.path)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = paths
    del sys.modules[spec.name]


def test_through_the_transport_nothing_hangs_or_passes_for_whole(program):
    whole = program.run(program.CASES[0], transport=True).text
    assert len(whole) > 50
    for case in program.CASES:
        outcome = program.run(case, transport=True)
        assert not outcome.hung, case.name
        assert outcome.error is not None or outcome.text == (case.text or whole), case.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("429 with `Retry-After: 2`, four times", "complete, 11 s, 5 requests"),
        (
            "comments in the middle, and nothing else",
            "`APITimeoutError` from `ProgressTimeout`, with the text, 60 s",
        ),
        (
            "the body ends in the middle, in good order",
            "`APIConnectionError` from `AnswerTruncated`, with the text",
        ),
        ("cut behind the head, once", "complete, 2 requests"),
    ],
)
def test_what_the_table_says(program, name, words):
    case = next(case for case in program.CASES if case.name == name)
    whole = program.run(program.CASES[0], transport=False).text
    assert program.run(case, transport=True).words(whole) == words


def test_the_docs_have_a_row_for_each_case(program):
    table = program.PAGE.read_text("utf-8").partition(program.BEGIN)[2].partition(program.END)[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if "|" in line]
    assert rows == ["fault", "---", *(case.name for case in program.CASES)]
