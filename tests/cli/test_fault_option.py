"""The short form of a fault."""

import re
import sys

import attrs
import pytest
from click.testing import CliRunner

from moored.cli.fault_option import fault_from_text
from moored.cli.proxy.command import proxy
from moored.faults import (
    CloseFrame,
    Cut,
    Drop,
    Insert,
    Refuse,
    RetryField,
    ScheduleError,
    Stall,
)
from moored.faults.schedule import KINDS

CLOSE = {"after_messages": 1, "code": 1012}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "cut:after_messages=3,how=rst,connection=1",
            Cut(after_messages=3, how="rst", connection=1),
        ),
        ("cut:after_bytes=0", Cut(after_bytes=0)),
        (" cut : after_seconds = 1.5 ", Cut(after_seconds=1.5)),
        (
            "stall:after_messages=2,pings=swallowed,path=/feed",
            Stall(after_messages=2, pings="swallowed", path="/feed"),
        ),
        ("refuse", Refuse()),
        ("refuse:status=503,retry_after=2,times=3", Refuse(status=503, retry_after=2, times=3)),
        ("refuse:retry_after=0.5,probability=0.25", Refuse(retry_after=0.5, probability=0.25)),
        ("refuse:body=123", Refuse(body="123")),
        ("refuse:connection=1+3+4", Refuse(connection=(1, 3, 4))),
        ("refuse:connection=2-5", Refuse(connection=range(2, 6))),
        ("refuse:connection=2-", Refuse(connection=range(2, sys.maxsize))),
        ("refuse:attempt=1+2", Refuse(attempt=(1, 2))),
        ("stall:at=inside_message,message=2", Stall(at="inside_message", message=2)),
        ("drop:message=3-", Drop(message=range(3, sys.maxsize))),
        ("insert:data=42,id=7", Insert(data="42", id="7")),
        ("retry_field:retry=5", RetryField(retry=5)),
        ("retry_field:retry=soon", RetryField(retry="soon")),
        ("close_frame:after_messages=1,code=1012,reason=1", CloseFrame(**CLOSE, reason="1")),
        ('{"fault": "cut", "after_messages": 1}', Cut(after_messages=1)),
    ],
)
def test_it_is_read(text, fault):
    assert fault_from_text(text) == fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "fault must be one of 'cut', 'stall', 'refuse', "),
        ("smash", "not 'smash'"),
        ("cut", "after_messages/after_bytes/after_seconds/at must be given"),
        ("cut:after_messages", "field must be FIELD=VALUE, not 'after_messages'"),
        ("cut:after_messages=x", "after_messages must be an integer of at least 0, not 'x'"),
        ("cut:after_messages=1,after_messages=2", "after_messages must be given once, not '2'"),
        ("cut:after_messages=1,how=x", "how must be 'fin' or 'rst', not 'x'"),
        ("cut:after_messages=1,fault=stall", "field must be FIELD=VALUE"),
        ("cut:after_messages=1,when=now", "field must be one of those of 'cut'"),
        (
            "refuse:connection=5-2",
            "connection must be a range whose end is not before its beginning, as in 2-5, not '5-",
        ),
        (
            "refuse:connection=x",
            "connection must be numbers from 1: one (3), several (1+3) or a range (2-5, or 2- "
            "without end), not 'x'",
        ),
        ("refuse:connection=0-3", "connection must be numbers from 1: one (3), several (1+3)"),
        ("refuse:connection=1+x", "connection must be numbers from 1: one (3), several (1+3)"),
        ("refuse:attempt=0", "attempt must be numbers from 1: one (3), several (1+3)"),
        ("refuse:attempt=1.5", "attempt must be numbers from 1"),
        ("refuse:retry_after=inf", "retry_after must be a finite number of at least 0, not inf"),
        ("refuse:status=700", "status must be an integer from 200 to 599, not 700"),
        ('{"fault": "cut"', "fault must be JSON"),
    ],
)
def test_what_is_wrong_is_told(text, words):
    with pytest.raises(ScheduleError) as error:
        fault_from_text(text)
    assert words in str(error.value)


def test_the_help_has_every_kind_with_its_fields():
    help_ = CliRunner().invoke(proxy, ["--help"]).output
    for name, kind in KINDS.items():
        assert re.search(rf"^  {name}\b", help_, re.MULTILINE), name
        for field in attrs.fields(kind):
            assert re.search(rf"\b{field.name}\b", help_), (name, field.name)
