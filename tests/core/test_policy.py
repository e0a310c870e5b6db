"""Settings: their defaults, their bounds, and what each opener puts in."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from moored.core.backoff import RetryBudget
from moored.core.causes import Verdict
from moored.core.policy import (
    OPENER,
    SSE_GET,
    SSE_POST,
    WEBSOCKET,
    Heartbeat,
    OpenerDefaults,
    Policy,
    Reconnect,
)

MIB = 1024 * 1024

# ---------------------------------------------------------------- defaults, and where they are from

DEFAULTS: dict[type, dict[str, Any]] = {
    Heartbeat: {
        "interval": 20.0,  # `websockets`: ping_interval
        "timeout": 20.0,  # `websockets`: ping_timeout
        "ping": None,
        "is_pong": None,
    },
    Reconnect: {
        "initial": 1.0,  # DESIGN.md, "Backoff": 1 s doubling to 30 s, 5 attempts in a row
        "maximum": 30.0,
        "multiplier": 2.0,
        "attempts": 5,
        "max_elapsed": None,
        "reset_after": 5.0,  # minUptime of reconnecting-websocket and partysocket
        "immediate_first": False,
        "retry_after_maximum": 300.0,  # limits per minute are over by then
        "sse_retry_maximum": 60.0,
        "budget": None,
    },
    Policy: {
        "connect_timeout": 10.0,  # `websockets`: open_timeout; issue 2, "Connect 10 s"
        "close_timeout": 5.0,  # issue 2, "Close 5 s"
        "heartbeat": OPENER,  # DESIGN.md, "each opener has its own"
        "idle_timeout": OPENER,
        "first_message_timeout": OPENER,
        "reconnect": Reconnect(),
        "verdict": None,
        "max_message_bytes": 16 * MIB,  # images in base64, the largest single messages known
        "inbox_messages": 256,
        "inbox_bytes": 16 * MIB,
        "outbox_messages": 256,
        "outbox_bytes": 16 * MIB,
        "outbox_full": "block",
        "remembered_cursors": 4096,
    },
}


@pytest.mark.parametrize("settings", DEFAULTS, ids=lambda x: x.__name__)
def test_every_default_is_as_documented(settings: type) -> None:
    assert attrs.asdict(settings(), recurse=False) == DEFAULTS[settings]


@pytest.mark.parametrize("settings", DEFAULTS, ids=lambda x: x.__name__)
def test_settings_are_frozen(settings: type) -> None:
    for name in DEFAULTS[settings]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(settings(), name, 1)


def test_settings_are_varied_with_evolve() -> None:
    policy = attrs.evolve(Policy(), connect_timeout=3)
    assert policy.connect_timeout == 3
    assert attrs.evolve(policy, connect_timeout=10.0) == Policy()
    with pytest.raises(ValueError, match="connect_timeout"):
        attrs.evolve(policy, connect_timeout=0)


# ---------------------------------------------------------------- bounds

# Settings, field, value, and the one error: the field, the bound and the value.
REFUSED: list[tuple[type, str, Any, str]] = [
    (Heartbeat, "interval", 0, "Heartbeat.interval must be more than 0, not 0"),
    (Heartbeat, "interval", -1.5, "Heartbeat.interval must be more than 0, not -1.5"),
    (Heartbeat, "timeout", 0.0, "Heartbeat.timeout must be more than 0, not 0.0"),
    (Reconnect, "initial", 0, "Reconnect.initial must be more than 0, not 0"),
    (Reconnect, "maximum", 0, "Reconnect.maximum must be more than 0, not 0"),
    (
        Reconnect,
        "maximum",
        0.5,
        "Reconnect.maximum must be at least Reconnect.initial=1.0, not 0.5",
    ),
    (Reconnect, "multiplier", 0.9, "Reconnect.multiplier must be at least 1, not 0.9"),
    (Reconnect, "attempts", -1, "Reconnect.attempts must be at least 0, not -1"),
    (Reconnect, "max_elapsed", 0, "Reconnect.max_elapsed must be more than 0, not 0"),
    (Reconnect, "reset_after", -1, "Reconnect.reset_after must be at least 0, not -1"),
    (
        Reconnect,
        "retry_after_maximum",
        -1,
        "Reconnect.retry_after_maximum must be at least 0, not -1",
    ),
    (Reconnect, "sse_retry_maximum", -1, "Reconnect.sse_retry_maximum must be at least 0, not -1"),
    (Policy, "connect_timeout", 0, "Policy.connect_timeout must be more than 0, not 0"),
    (Policy, "close_timeout", -1, "Policy.close_timeout must be at least 0, not -1"),
    (Policy, "idle_timeout", 0, "Policy.idle_timeout must be more than 0, not 0"),
    (Policy, "first_message_timeout", 0, "Policy.first_message_timeout must be more than 0, not 0"),
    (Policy, "max_message_bytes", 0, "Policy.max_message_bytes must be at least 1, not 0"),
    (Policy, "inbox_messages", 0, "Policy.inbox_messages must be at least 1, not 0"),
    (Policy, "inbox_bytes", 0, "Policy.inbox_bytes must be at least 1, not 0"),
    (Policy, "outbox_messages", 0, "Policy.outbox_messages must be at least 1, not 0"),
    (Policy, "outbox_bytes", 0, "Policy.outbox_bytes must be at least 1, not 0"),
    (
        Policy,
        "outbox_full",
        "drop",
        'Policy.outbox_full must be "block", "raise" or "drop_oldest", not \'drop\'',
    ),
]


@pytest.mark.parametrize(("settings", "field", "value", "message"), REFUSED)
def test_out_of_bounds(settings: type, field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        settings(**{field: value})
    assert str(raised.value) == message


# Just inside of each bound.
ACCEPTED: list[tuple[type, dict[str, Any]]] = [
    (Heartbeat, {"interval": 0.001, "timeout": 0.001}),
    (Reconnect, {"initial": 0.001, "maximum": 0.001, "multiplier": 1}),
    (Reconnect, {"attempts": 0, "max_elapsed": 0.001, "reset_after": 0}),
    (Reconnect, {"retry_after_maximum": 0, "sse_retry_maximum": 0}),
    (Policy, {"connect_timeout": 0.001, "close_timeout": 0}),
    (Policy, {"idle_timeout": 0.001, "first_message_timeout": 0.001}),
    (Policy, {"max_message_bytes": 1, "inbox_messages": 1, "inbox_bytes": 1}),
    (Policy, {"outbox_messages": 1, "outbox_bytes": 1, "outbox_full": "raise"}),
    (Policy, {"outbox_full": "drop_oldest"}),
]


@pytest.mark.parametrize(("settings", "fields"), ACCEPTED)
def test_just_within_bounds(settings: type, fields: dict[str, Any]) -> None:
    made = settings(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


NUMBERS: list[tuple[type, str, bool]] = [
    # settings, field, whether None is accepted
    (Heartbeat, "interval", False),
    (Heartbeat, "timeout", False),
    (Reconnect, "initial", False),
    (Reconnect, "maximum", False),
    (Reconnect, "multiplier", False),
    (Reconnect, "max_elapsed", True),
    (Reconnect, "reset_after", False),
    (Reconnect, "retry_after_maximum", False),
    (Reconnect, "sse_retry_maximum", False),
    (Policy, "connect_timeout", False),
    (Policy, "close_timeout", False),
    (Policy, "idle_timeout", True),
    (Policy, "first_message_timeout", True),
]

COUNTS: list[tuple[type, str, bool]] = [
    (Reconnect, "attempts", True),
    (Policy, "max_message_bytes", False),
    (Policy, "inbox_messages", False),
    (Policy, "inbox_bytes", False),
    (Policy, "outbox_messages", False),
    (Policy, "outbox_bytes", False),
]


@pytest.mark.parametrize(("settings", "field", "optional"), NUMBERS)
def test_a_time_is_a_finite_number(settings: type, field: str, optional: bool) -> None:
    or_none = " or None" if optional else ""
    name = f"{settings.__name__}.{field}"
    for value in ("5", [5], True, 5j):
        with pytest.raises(TypeError) as wrong_type:
            settings(**{field: value})
        assert str(wrong_type.value) == f"{name} must be a number{or_none}, not {value!r}"
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError) as infinite:
            settings(**{field: value})
        assert str(infinite.value) == f"{name} must be finite{or_none}, not {value!r}"


@pytest.mark.parametrize(("settings", "field", "optional"), COUNTS)
def test_a_count_is_a_whole_number(settings: type, field: str, optional: bool) -> None:
    or_none = " or None" if optional else ""
    for value in (1.0, "5", True, math.inf):
        with pytest.raises(TypeError) as raised:
            settings(**{field: value})
        name = f"{settings.__name__}.{field}"
        assert str(raised.value) == f"{name} must be a whole number{or_none}, not {value!r}"


@pytest.mark.parametrize(("settings", "field", "optional"), NUMBERS + COUNTS)
def test_none_is_accepted_only_where_it_means_no_bound(
    settings: type, field: str, optional: bool
) -> None:
    if optional:
        assert getattr(settings(**{field: None}), field) is None
    else:
        with pytest.raises(TypeError, match=f"{settings.__name__}.{field} must be"):
            settings(**{field: None})


@pytest.mark.parametrize("value", [20, True, "20", object()])
def test_a_heartbeat_is_a_heartbeat(value: Any) -> None:
    with pytest.raises(TypeError, match=r"Policy\.heartbeat must be a Heartbeat or None, not"):
        Policy(heartbeat=value)


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (Policy, "reconnect", None),
        (Policy, "reconnect", 5),
        (Policy, "verdict", Verdict.RETRY),
        (Reconnect, "budget", 10),
    ],
)
def test_what_is_of_another_type_is_refused_by_name(settings: type, field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=field):
        settings(**{field: value})


def test_a_pong_without_a_ping_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Heartbeat\.is_pong needs Heartbeat\.ping"):
        Heartbeat(is_pong=lambda message: True)
    Heartbeat(ping=lambda: "ping", is_pong=lambda message: True)
    Heartbeat(ping=lambda: "ping")


# ---------------------------------------------------------------- the longest delay


def test_no_delay_is_longer_than_our_own_bound_on_top_of_the_highest_floor() -> None:
    assert Reconnect().delay_maximum == 30 + 300
    assert Reconnect(retry_after_maximum=10).delay_maximum == 30 + 60
    assert Reconnect(retry_after_maximum=0, sse_retry_maximum=0).delay_maximum == 30 + 30


# ---------------------------------------------------------------- what each opener puts in

# DESIGN.md, "Defaults must not break healthy streams".
OPENERS: list[tuple[OpenerDefaults, Heartbeat | None, float | None, float | None]] = [
    # defaults, heartbeat, idle_timeout, first_message_timeout
    (WEBSOCKET, Heartbeat(interval=20, timeout=20), None, None),
    (SSE_GET, Heartbeat(interval=30, timeout=30), None, None),  # any byte within 60 s
    (SSE_POST, None, 60.0, 600.0),  # 600: the default timeout of the OpenAI and Anthropic SDKs
]
ids = ["websocket", "sse-get", "sse-post"]


@pytest.mark.parametrize(("defaults", "heartbeat", "idle", "first"), OPENERS, ids=ids)
def test_the_openers_defaults(
    defaults: OpenerDefaults, heartbeat: Heartbeat | None, idle: float | None, first: float | None
) -> None:
    policy = Policy().resolved(defaults)
    assert policy.heartbeat == heartbeat
    assert policy.idle_timeout == idle
    assert policy.first_message_timeout == first


@pytest.mark.parametrize("defaults", [WEBSOCKET, SSE_GET, SSE_POST], ids=ids)
def test_what_the_user_set_stays(defaults: OpenerDefaults) -> None:
    policy = Policy(
        heartbeat=Heartbeat(interval=1), idle_timeout=2, first_message_timeout=3, close_timeout=4
    )
    assert policy.resolved(defaults) == policy


@pytest.mark.parametrize("defaults", [WEBSOCKET, SSE_GET, SSE_POST], ids=ids)
def test_none_is_a_choice_and_stays(defaults: OpenerDefaults) -> None:
    policy = Policy(heartbeat=None, idle_timeout=None, first_message_timeout=None)
    assert policy.resolved(defaults) == policy


@pytest.mark.parametrize(
    ("defaults", "first"), [(WEBSOCKET, 7), (SSE_GET, 7), (SSE_POST, 600)], ids=ids
)
def test_the_first_message_has_the_idle_bound_unless_the_opener_has_one(
    defaults: OpenerDefaults, first: float
) -> None:
    assert Policy(idle_timeout=7).resolved(defaults).first_message_timeout == first


@pytest.mark.parametrize("defaults", [WEBSOCKET, SSE_GET, SSE_POST], ids=ids)
def test_everything_else_is_left_alone(defaults: OpenerDefaults) -> None:
    policy = Policy(
        connect_timeout=1,
        reconnect=Reconnect(attempts=None, budget=RetryBudget()),
        verdict=lambda cause: None,
        inbox_messages=3,
        outbox_full="raise",
    )
    resolved = policy.resolved(defaults)
    for name in set(DEFAULTS[Policy]) - {"heartbeat", "idle_timeout", "first_message_timeout"}:
        assert getattr(resolved, name) == getattr(policy, name)
