import json

import pytest

from moored.faults import Cut, Refuse, ScheduleFileError, Stall, load_schedule

YAML = """\
# The first two attempts fail.
- {fault: refuse, status: 429, retry_after: 1e0, times: 2}
- fault: cut
  after_messages: 3
  how: rst
  connection: {from: 3, to: 4}
- fault: stall
  after_seconds: 2.5
  connection: [5, 6]
- {fault: stall, after_seconds: 2.5, connection: 9}
"""
FAULTS = (
    Refuse(retry_after=1, times=2),
    Cut(after_messages=3, how="rst", connection=range(3, 5)),
    Stall(after_seconds=2.5, connection=(5, 6)),
    Stall(after_seconds=2.5, connection=9),
)
JSON = """
[
    {"fault": "refuse", "retry_after": 1, "times": 2},
    {"fault": "cut", "after_messages": 3, "how": "rst", "connection": {"from": 3, "to": 4}},
    {"fault": "stall", "after_seconds": 2.5, "connection": [5, 6]},
    {"fault": "stall", "after_seconds": 2.5, "connection": 9}
]
"""


@pytest.fixture
def write(tmp_path):
    """Call it with a name and text (or bytes): a file, whose path it returns."""

    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", JSON),
        ("a.schedule", JSON),
        ("a.yaml", YAML),
        ("a.YML", YAML),
        ("json.yaml", JSON),
        ("object.json", f'{{"$schema": "schedule.schema.json", "faults": {JSON}}}'),
        ("object.yaml", "faults:\n" + YAML),
    ],
)
def test_a_schedule_is_read_from_json_and_from_yaml(write, name, text):
    path = write(name, text)
    assert load_schedule(path) == FAULTS
    assert load_schedule(str(path)) == FAULTS


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "a.yaml",
            "- {fault: refuse}\n- {fault: cut, after_messages: -1}\n",
            "[1].after_messages must be an integer of at least 0, not -1",
        ),
        ("a.json", '[{"fault": "cat"}]', "[0].fault must be one of 'cut', 'stall', "),
        ("a.json", '[{"fault": "refuse", "x": 1}]', "[0].field must be one of those of 'refuse': "),
        ("a.json", "[7]", "[0].fault must be a fault, or an object with its fields, not 7"),
        (
            "a.json",
            '{"faults": [7]}',
            "faults[0].fault must be a fault, or an object with its fields, not 7",
        ),
        ("a.json", '{"faults": 7}', "faults must be a list of faults, not 7"),
        ("a.json", "7", "schedule must be a list of faults, not 7"),
        ("a.yaml", "", "schedule must be a list of faults, not null"),
        (
            "a.json",
            '{"fault": "refuse"}',
            "schedule must be a list of faults, or have '$schema' or 'faults' or 'recording', "
            "not 'fault'",
        ),
        ("a.yaml", "- {fault: refuse, times: yes}", "[0].times must be an integer"),
        ("a.yaml", "- {fault: stall, after_seconds: .inf}", "[0].after_seconds must be a finite"),
        ("a.yaml", "- {fault: stall, after_seconds: .nan}", "[0].after_seconds must be a finite"),
        ("a.yaml", "- {fault: refuse, 1: 2}", "[0].field must be one of"),
        ("a.yaml", "- {fault: refuse, path: 2020-01-01}", "[0].path must be text that begins"),
        ("a.json", '[{"fault": "refuse", "body": 3}]', '[0].body must be text, or {"base64": "'),
        ("a.json", '[{"fault": "refuse", "body": null}]', "[0].body must be text, or {"),
        (
            "a.json",
            '[{"fault": "cut", "after_messages": true}]',
            "[0].after_messages must be an integer of at least 0, not true",
        ),
        (
            "a.json",
            '[{"fault": "refuse", "connection": "2-5"}]',
            "[0].connection must be a number, several, or a range of them, not '2-5'",
        ),
        (
            "a.json",
            '[{"fault": "refuse", "headers": [["X", null]]}]',
            '[0].headers must be pairs of text, not ["X", null]',
        ),
        (
            "a.json",
            '[{"fault": "refuse", "headers": 1}]',
            "[0].headers must be an object, or pairs of name and value, not 1",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_place_value_and_bound(write, name, text, words):
    path = write(name, text)
    with pytest.raises(ScheduleFileError) as caught:
        load_schedule(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert caught.value.file == str(path)
    assert words.startswith(caught.value.error.field)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[", "not JSON: Expecting value: line 1"),
        ("a.json", "[NaN]", "not JSON: NaN is no number of JSON's"),
        ("a.json", "[-Infinity]", "not JSON: -Infinity is no number"),
        ("a.json", '[{"fault": "cut", "fault": "stall"}]', "not JSON: 'fault' is there twice"),
        ("a.json", "[" * 100_000, "not JSON: nested too deep"),
        ("a.json", f"[{'1' * 5000}]", "not JSON: a number of 5000 digits is too long"),
        ("a.json", b"\xff", "not UTF-8, at byte 0"),
        ("a.yaml", "- [", "not YAML: expected the node content, but found '<stream end>' in line"),
        ("a.yaml", "a: 1\na: 2", 'not YAML: found duplicate key "a"'),
        ("a.yaml", "- !!python/object:os.system {}", "not YAML: the tag !!python/object:os"),
        (
            "a.yaml",
            "- !!binary AAE=",
            "not YAML: the tag !!binary is not in the core schema in line",
        ),
        ("a.yaml", "- !!bool yes", "not YAML: 'yes' is no bool in line 1, column 3"),
        (
            "a.yaml",
            "- &a {b: 1}\n- <<: *a",
            "not YAML: merge keys (<<) are not in YAML 1.2 in line 2",
        ),
        ("a.yaml", "- [1]: 2", "not YAML: a key must be one value in line 1, column 3"),
        ("a.yaml", f"- {'1' * 5000}", "not YAML: a number of 5000 digits is too long in line 1"),
        ("a.yaml", "a: 1\n---\nb: 2", "not YAML: but found another document in line 2, column 1"),
        ("a.yaml", "[" * 5000, "not YAML: nested too deep"),
        ("a.yaml", "\x00", "not YAML: unacceptable character"),
        (
            "a.yaml",
            "- &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"- &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcde", "bcdef")),  # noqa: B905
            "it holds more than 100,000 values",
        ),
        ("a.yaml", "&a [*a]", "it holds more than 100,000 values"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(write, name, text, words):
    path = write(name, text)
    with pytest.raises(ScheduleFileError) as caught:
        load_schedule(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert caught.value.error is None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_a_byte_order_mark_is_let_go(write, name):
    assert load_schedule(write(name, "\ufeff" + JSON)) == FAULTS


@pytest.mark.parametrize("text", ["2001-01-01", "on", "1_000", "12:30:45", "0b1", "<<", "="])
def test_what_only_yaml_1_1_resolves_is_text(write, text):
    [fault] = load_schedule(write("a.yaml", f"- {{fault: refuse, body: {text}}}"))
    assert fault.body == text.encode()


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e3", 1000), ("0o17", 15), ("0x1F", 31), ("010", 10), ("+2", 2), (".5", 0.5)],
)
def test_numbers_are_those_of_the_core_schema(write, text, number):
    [fault] = load_schedule(write("a.yaml", f"- {{fault: stall, after_seconds: {text}}}"))
    assert fault.after_seconds == number


def test_a_recording_is_the_schedule_that_repeats_it(write):
    entry = {"connection": 2, "bytes": 7, "seconds": 1.5, "fault": {"fault": "refuse"}}
    recording = {"recording": 1, "seed": 3, "forgotten": 0, "injected": [entry]}
    path = write("a.json", json.dumps(recording))
    assert load_schedule(path) == (Refuse(connection=2, times=1),)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_schedule(tmp_path / "missing.json")
