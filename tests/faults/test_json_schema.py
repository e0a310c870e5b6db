"""The published schema and the code agree: what one takes, the other takes."""

import itertools
import json
from functools import cache
from importlib import resources

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from moored.faults import (
    Cut,
    Fault,
    Proxy,
    Refuse,
    ScheduleError,
    Stall,
    fault_from_dict,
    fault_to_dict,
    load_schedule,
    recording_of,
    schedule_json_schema,
    schedule_to_data,
)
from moored.faults.json_schema import _fault
from moored.faults.schedule import KINDS

SCHEMA = schedule_json_schema()
WHOLE = Draft202012Validator(SCHEMA)
OF_KIND = {
    name: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    for name in KINDS
}

# Values at and next to every bound, and of every type.
NUMBERS = [-1, 0, 1, 2, 7, 8, 199, 200, 204, 429, 599, 600, 999, 1000, 1001, 65535, 65536, 2**30]
NUMBERS += [2**30 + 1, 10**10, 10**10 + 1, 2**63 - 1, 2**63, -0.5, 0.0, 0.5, 1.0, 1.5, 1e10, 1e300]
TEXTS = ["", "x", "/", "/x", "a\n", "a\nb", "a\r", "\r", "\n", "é", "é" * 70, "x" * 123, "x" * 124]
TEXTS += ["/\n", "soon", "{}", "\x7f", "\t", "~ "]
OTHERS = [None, True, False, [], {}, [1], [1, 2.0], [0], [None], ["1"], [[1]]]
OTHERS += [{"from": 1}, {"from": 2, "to": 2}, {"from": 0}, {"to": 1}, {"from": 1, "x": 1}]
OTHERS += [{"from": 1, "to": None}, {"from": True}, {"base64": ""}, {"base64": "/w=="}]
OTHERS += [
    {"base64": "/w=="[:3]},
    {"base64": "?"},
    {"base64": "/w==\n"},
    {"base64": 1},
    {"hex": ""},
]
OTHERS += [{"X-A": "1"}, {"X-A": 1}, {"X A": ""}, {"Content-Length": "1"}, {"X-A": "a\n"}]
OTHERS += [{"-": ""}, {"_-a": ""}, {"a\n": ""}, {"content-LENGTH-x": ""}, {"": ""}, {"é": ""}]
OTHERS += [[["X-A", "1"]], [["X-A"]], [["X-A", "1", "2"]], [["Connection", ""]], ["ab"], [{}]]
CHOICES = sorted({
    choice
    for kind in SCHEMA["$defs"].values()
    for field in kind.get("properties", {}).values()
    for choice in field.get("enum", [])
    if choice is not None
})  # fmt: skip
VALUES = [*NUMBERS, *TEXTS, *CHOICES, *OTHERS]


def base(name):
    """The least that makes a fault of this kind."""
    data = {"fault": name}
    return data if OF_KIND[name].is_valid(data) else {**data, "after_messages": 1}


def takes(data):
    try:
        fault_from_dict(data)
    except ScheduleError:
        return False
    return True


def beyond_a_schema(data):
    """What JSON Schema cannot say: the docstring of schedule_json_schema() lists it."""
    ranges = [data.get(field) for field in ("connection", "attempt", "message")]
    backwards = any(
        isinstance(value, dict) and value.get("to", value.get("from")) < value.get("from")
        for value in ranges
    )
    return backwards or len(str(data.get("reason", "")).encode()) > 123


def check_agreement(data):
    by_schema = OF_KIND[data["fault"]].is_valid(data)
    if by_schema and beyond_a_schema(data):
        by_schema = False
    assert takes(data) == by_schema, data


# The aim is the same for all kinds: it is enough to try it on one.
BASE = {field.name for field in attrs.fields(Fault)}
AIM = {field.name for field in attrs.fields(KINDS["drop"])}
FIELDS = [
    (name, field.name)
    for name, kind in KINDS.items()
    for field in attrs.fields(kind)
    if name in ("cut", "drop") or field.name not in AIM
]


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=[".".join(each) for each in FIELDS])
def test_they_agree_on_every_field(name, field):
    for value in VALUES:
        check_agreement({**base(name), field: value})


@cache
def right_values(name, field):
    """The values that a field takes by itself."""
    schema = SCHEMA["$defs"][name]["properties"][field]
    alone = Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]})
    return [value for value in VALUES if alone.is_valid(value)]


def few(values):
    """Some of the values: those at both ends, and those that rules are about."""
    special = [value for value in (None, "", 204, "date", *CHOICES) if value in values]
    return [*values[:2], *values[-2:], *special]


@pytest.mark.parametrize("name", list(KINDS))
def test_they_agree_on_every_two_fields(name):
    own = [field.name for field in attrs.fields(KINDS[name]) if field.name not in BASE]
    for one, two in itertools.combinations(own, 2):
        for data in (base(name), {"fault": name}):
            for first in few(right_values(name, one)):
                for second in few(right_values(name, two)):
                    check_agreement({**data, one: first, two: second})


@pytest.mark.parametrize("name", list(KINDS))
@settings(max_examples=30)
@given(st.data())
def test_they_agree_on_many_fields(name, data):
    fields = [field.name for field in attrs.fields(KINDS[name])]
    chosen = data.draw(st.lists(st.sampled_from(fields), max_size=6, unique=True))
    fault = base(name)
    for field in chosen:
        fault[field] = data.draw(st.sampled_from(right_values(name, field)))
    check_agreement(fault)
    if takes(fault):
        again = fault_to_dict(fault_from_dict(fault))
        assert OF_KIND[name].is_valid(again)
        assert fault_from_dict(again) == fault_from_dict(fault)


@pytest.mark.parametrize("name", list(KINDS))
def test_an_unknown_field_is_taken_by_neither(name):
    assert OF_KIND[name].is_valid(base(name))
    check_agreement(base(name))
    data = {**base(name), "unknown": 1}
    assert not takes(data)
    assert not OF_KIND[name].is_valid(data)


def test_a_field_without_a_schema_is_noticed():
    @attrs.frozen(kw_only=True, repr=False)
    class Odd(KINDS["drop"]):
        bare: int = 1

    with pytest.raises(TypeError, match=r"bare of type .*int.* needs a validator"):
        _fault(Odd)


# ---------------------------------------------------------------------------- whole files

SCHEDULE = [
    Refuse(times=2, headers={"X-A": "b"}, body=b"\xff"),
    Cut(after_bytes=3, connection=range(2, 4)),
    Stall(after_seconds=1.5, connection=(1, 4), probability=0.5),
]


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_the_file_in_the_package_is_up_to_date():
    """``python docs/diagram.py`` writes it."""
    text = resources.files("moored.faults").joinpath("schedule.schema.json").read_text("utf-8")
    assert json.loads(text) == json.loads(json.dumps(SCHEMA))


@pytest.mark.parametrize(
    ("data", "right"),
    [
        (schedule_to_data(SCHEDULE), True),
        ({"faults": schedule_to_data(SCHEDULE)}, True),
        ({"$schema": "x", "faults": []}, True),
        ([], True),
        ({"faults": [], "more": 1}, False),
        ({"faults": {}}, False),
        ({}, False),
        (None, False),
        ([{"fault": "cat"}], False),
        ([{"after_messages": 1}], False),
        (["cut"], False),
        ({"recording": 1, "injected": []}, True),
        ({"recording": 2, "injected": []}, False),
        ({"recording": 1, "injected": {}}, False),
        ({"recording": 1, "injected": [], "forgotten": 1}, False),
        ({"recording": 1, "injected": [{"fault": {"fault": "refuse"}}]}, False),
        (
            {
                "recording": 1,
                "injected": [
                    {"fault": {"fault": "refuse"}, "connection": 1, "bytes": 0, "seconds": 0}
                ],
            },
            True,
        ),
    ],
)
def test_they_agree_on_whole_files(tmp_path, data, right):
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps(data))
    assert WHOLE.is_valid(data) == right
    try:
        load_schedule(file)
    except ValueError:
        assert not right
    else:
        assert right


async def test_a_recording_is_valid(memory, into_memory, autojump_clock):
    proxy = Proxy("http://f.test", schedule=[Refuse()])
    await (await memory(proxy)).get("/feed")
    recording = recording_of(proxy)
    assert len(recording["injected"]) == 1
    WHOLE.validate(recording)
