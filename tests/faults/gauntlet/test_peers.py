"""The peers' adapters, as far as that can be told without their libraries."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from moored.faults.gauntlet import catalogue

HERE = Path(__file__).parents[2] / "peers" / "gauntlet"


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("gauntlet_table", HERE / "table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_adapter_is_in_the_table(table):
    files = {*HERE.glob("clients/*.py"), *HERE.glob("npm/*.mjs")} - {HERE / "npm/reconnecting.mjs"}
    assert {HERE / peer.program for peer in table.PEERS} == files
    assert {peer.transport for peer in table.PEERS if peer.name == "Moored"} == {"sse", "websocket"}


def test_every_adapter_is_python_and_says_what_it_does(table):
    for peer in table.PEERS:
        text = (HERE / peer.program).read_text("utf-8")
        if not peer.from_npm:
            assert ast.get_docstring(ast.parse(text)), peer.program


def test_what_is_missing_is_told_with_what_brings_it(table):
    def peer(program):
        return table.Peer("x", "sse", program, ("no-such-package",))

    (python,) = table.missing([peer("clients/x.py")])
    assert "no-such-package" in python
    assert "pip install" in python
    (npm,) = table.missing([peer("npm/x.mjs")])
    assert "npm install" in npm


def test_the_docs_have_a_place_for_the_table(table):
    page = table.DOCS.read_text("utf-8")
    assert page.count(table.BEGIN) == page.count(table.END) == 1
    listed = re.findall(r"^\| `([^`]+)` \|", page.partition(table.END)[2], re.MULTILINE)
    assert listed == [trial.name for trial in catalogue()]
