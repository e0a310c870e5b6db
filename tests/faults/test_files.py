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
- &stall
  fault: stall
  after_seconds: 2.5
  connection: [5, 6]
- <<: *stall
  connection: 9
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
        ("a.json", "[7]", "[0].fault must be a fault or a mapping, not 7"),
        ("a.json", '{"faults": [7]}', "faults[0].fault must be a fault or a mapping, not 7"),
        ("a.json", '{"faults": 7}', "faults must be a list of faults, not 7"),
        ("a.json", "7", "schedule must be a list of faults, not 7"),
        ("a.yaml", "", "schedule must be a list of faults, not None"),
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
        ("a.yaml", "- {fault: refuse, path: 2020-01-01}", "[0].path must be text"),
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
        ("a.json", "[" * 100_000, "not JSON: "),
        ("a.json", f"[{'1' * 5000}]", "not JSON: "),
        ("a.json", b"\xff", "not UTF-8, at byte 0"),
        ("a.yaml", "- [", "not YAML: expected the node content, but found '<stream end>' in line"),
        ("a.yaml", "a: 1\na: 2", 'not YAML: found duplicate key "a"'),
        ("a.yaml", "- !!python/object:os.system {}", "not YAML: could not determine a constructor"),
        ("a.yaml", "a: 1\n---\nb: 2", "not YAML: but found another document in line 2, column 1"),
        ("a.yaml", "[" * 5000, "not YAML: "),
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


def test_a_recording_is_the_schedule_that_repeats_it(write):
    entry = {"connection": 2, "bytes": 7, "seconds": 1.5, "fault": {"fault": "refuse"}}
    recording = {"recording": 1, "seed": 3, "forgotten": 0, "injected": [entry]}
    path = write("a.json", json.dumps(recording))
    assert load_schedule(path) == (Refuse(connection=2, times=1),)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_schedule(tmp_path / "missing.json")
