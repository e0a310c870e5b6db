"""Every kind of fault has a name, an entry in the docs, and says what a client sees."""

import re
from pathlib import Path
from typing import get_args

import attrs
import pytest

from moored import faults
from moored.faults import Fault
from moored.faults.catalogue.moments import Place
from moored.faults.schedule import KINDS

PAGE = (Path(__file__).parents[2] / "docs/howto/faults.md").read_text("utf-8")


def rows(heading):
    """The names in the first column of the tables under ``heading``."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)


def test_the_docs_have_a_line_for_each_kind():
    listed = rows("What the client sees")
    assert len(listed) == len(set(listed))
    assert set(listed) == set(KINDS)


def test_the_docs_have_a_line_for_each_place():
    assert rows("Aiming")[1:] == list(get_args(Place))


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_kind_is_public_and_says_what_a_client_sees(name, kind):
    assert issubclass(kind, Fault)
    assert kind.kind == name
    assert getattr(faults, kind.__name__) is kind
    assert kind.__name__ == "".join(part.title() for part in name.split("_"))
    assert "hat the client sees" in kind.__doc__


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_each_field_of_a_kind_is_documented(name, kind):
    common = {field.name for field in attrs.fields(Fault)}
    documented = "".join(base.__doc__ or "" for base in kind.__mro__ if base is not object)
    fields = {field.name for field in attrs.fields(kind)} - common
    missing = {field for field in fields if f":ivar {field}:" not in documented}
    # Those that are there only to say that they make no sense.
    assert missing <= {"message", "direction"}, name
