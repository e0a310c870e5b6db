"""The transition table, twice: as data, and as what the real machine does for each row."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from moored.core import transitions
from moored.core.backoff import RetryBudget
from moored.core.causes import (
    ClosedByUs,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    HeartbeatLost,
    Stalled,
)
from moored.core.machine import Machine
from moored.core.policy import Heartbeat, Policy, Reconnect
from moored.core.transitions import (
    TRANSITIONS,
    Action,
    Blocked,
    CloseRequested,
    Connect,
    Connected,
    Disconnect,
    Ended,
    Failed,
    Finish,
    Finished,
    Heard,
    Input,
    InvalidTransition,
    Lost,
    Probe,
    Progressed,
    Quiet,
    RequestSent,
    RetryDue,
    ServerRetry,
    State,
    Throttled,
    Unblocked,
    Wait,
    Woken,
)

# ---------------------------------------------------------------- the table, written once more

# state          input            next state      actions, in order
TABLE = """
  connecting     RequestSent      connecting
  connecting     Connected        open
  connecting     Woken            connecting
  connecting     Lost             backoff         Disconnect Wait
  connecting     Failed           closed          Disconnect Finish
  connecting     Finished         closed          Disconnect Finish
  connecting     CloseRequested   closed          Disconnect Finish

  open           Heard            open
  open           Progressed       open
  open           Blocked          open
  open           Unblocked        open
  open           ServerRetry      open
  open           Quiet            heartbeating    Probe
  open           Woken            heartbeating    Probe
  open           Lost             backoff         Disconnect Wait
  open           Failed           closed          Disconnect Finish
  open           Finished         closed          Disconnect Finish
  open           CloseRequested   closed          Disconnect Finish

  heartbeating   Heard            open
  heartbeating   Progressed       open
  heartbeating   Blocked          heartbeating
  heartbeating   Unblocked        heartbeating
  heartbeating   ServerRetry      open
  heartbeating   Woken            heartbeating    Probe
  heartbeating   Lost             backoff         Disconnect Wait
  heartbeating   Failed           closed          Disconnect Finish
  heartbeating   Finished         closed          Disconnect Finish
  heartbeating   CloseRequested   closed          Disconnect Finish

  backoff        RetryDue         connecting      Connect
  backoff        Throttled        backoff         Wait
  backoff        Woken            connecting      Connect
  backoff        Failed           closed          Finish
  backoff        CloseRequested   closed          Finish
"""


def test_the_table_is_as_written_here() -> None:
    table = {
        (state.value, kind.__name__): (to.value, [action.__name__ for action in actions])
        for (state, kind), (to, actions) in TRANSITIONS.items()
    }
    rows = [line.split() for line in TABLE.splitlines() if line.strip()]
    assert table == {(state, kind): (to, actions) for state, kind, to, *actions in rows}


def test_closed_has_no_rows() -> None:
    assert not [kind for state, kind in TRANSITIONS if state is State.CLOSED]


def test_every_state_but_closed_can_be_closed_by_us() -> None:
    for state in set(State) - {State.CLOSED}:
        assert TRANSITIONS[state, CloseRequested][0] is State.CLOSED


# ---------------------------------------------------------------- the real machine, row by row


class MostJitter(random.Random):
    """Jitter that always comes out at its upper bound: delays are then known."""

    def uniform(self, a: float, b: float) -> float:
        return b


HEARTBEAT = Heartbeat(interval=20, timeout=5)
REFUSED = ConnectFailed("tcp")  # retried
FORBIDDEN = HandshakeRejected(403)  # stops
DONE = Completed("[DONE]")  # finishes


def policy(**changes: Any) -> Policy:
    return Policy(
        connect_timeout=10,
        heartbeat=HEARTBEAT,
        idle_timeout=100,
        first_message_timeout=100,
        reconnect=Reconnect(
            initial=1,
            attempts=3,
            max_elapsed=1000,
            budget=RetryBudget(capacity=1, refill_per_second=0.5, refund=0),
        ),
        **changes,
    )


def budget_of(settings: Policy) -> RetryBudget:
    assert settings.reconnect.budget is not None
    return settings.reconnect.budget


def machine_in(state: State, settings: Policy | None = None) -> Machine:
    """A machine that began at 0 s, and came into ``state`` at 1 s; into HEARTBEATING at 21 s."""
    machine = Machine(settings or policy(), now=0.0, rng=MostJitter())
    if state is State.CONNECTING:
        return machine
    if state is State.BACKOFF:
        assert machine.handle(Ended(REFUSED), now=1.0) == (Disconnect(REFUSED), Wait(1.0))
    elif state is State.CLOSED:
        machine.handle(CloseRequested(), now=1.0)
    else:
        machine.handle(Connected(), now=1.0)
        if state is State.HEARTBEATING:
            assert machine.expire(now=21.0) == (Probe(),)
    assert machine.state is state
    return machine


@attrs.frozen
class Row:
    """One row, the way into it, and what must come of it.

    ``given`` is what a driver hands in; ``None`` says that the driver calls ``expire``.
    """

    state: State
    kind: type[Input]
    given: Input | None
    to: State
    actions: tuple[Action, ...] = ()
    at: float = 22.0
    empty_budget: bool = False


CONNECTING, OPEN, HEARTBEATING = State.CONNECTING, State.OPEN, State.HEARTBEATING
BACKOFF, CLOSED = State.BACKOFF, State.CLOSED

NO_ANSWER = ConnectFailed("timeout", detail="nothing within 10 s")
SILENT = HeartbeatLost(silent_for=25.0)
STALLED = Stalled(silent_for=100.0, before_first=True)
BY_US = ClosedByUs(1001)


def ended(cause: Any, *, failed: bool, gave_up: str = "") -> tuple[Action, ...]:
    return Disconnect(cause), Finish(cause, failed=failed, gave_up=gave_up)


ROWS = [
    Row(CONNECTING, RequestSent, RequestSent(), CONNECTING),
    Row(CONNECTING, Connected, Connected(), OPEN),
    Row(CONNECTING, Woken, Woken(), CONNECTING),
    Row(CONNECTING, Lost, Ended(REFUSED), BACKOFF, (Disconnect(REFUSED), Wait(1.0))),
    Row(CONNECTING, Lost, None, BACKOFF, (Disconnect(NO_ANSWER), Wait(1.0)), at=10),
    Row(CONNECTING, Failed, Ended(FORBIDDEN), CLOSED, ended(FORBIDDEN, failed=True)),
    Row(CONNECTING, Finished, Ended(DONE), CLOSED, ended(DONE, failed=False)),
    Row(CONNECTING, CloseRequested, CloseRequested(1001), CLOSED, ended(BY_US, failed=False)),
    #
    Row(OPEN, Heard, Heard(), OPEN),
    Row(OPEN, Progressed, Progressed(), OPEN),
    Row(OPEN, Blocked, Blocked(), OPEN),
    Row(OPEN, Unblocked, Unblocked(), OPEN),
    Row(OPEN, ServerRetry, ServerRetry(3.0), OPEN),
    Row(OPEN, Quiet, None, HEARTBEATING, (Probe(),), at=21),
    Row(OPEN, Woken, Woken(), HEARTBEATING, (Probe(),)),
    Row(OPEN, Lost, Ended(REFUSED), BACKOFF, (Disconnect(REFUSED), Wait(1.0))),
    Row(OPEN, Lost, None, BACKOFF, (Disconnect(STALLED), Wait(1.0)), at=101),
    Row(OPEN, Failed, Ended(FORBIDDEN), CLOSED, ended(FORBIDDEN, failed=True)),
    Row(OPEN, Finished, Ended(DONE), CLOSED, ended(DONE, failed=False)),
    Row(OPEN, CloseRequested, CloseRequested(1001), CLOSED, ended(BY_US, failed=False)),
    #
    Row(HEARTBEATING, Heard, Heard(), OPEN),
    Row(HEARTBEATING, Progressed, Progressed(), OPEN),
    Row(HEARTBEATING, Blocked, Blocked(), HEARTBEATING),
    Row(HEARTBEATING, Unblocked, Unblocked(), HEARTBEATING),
    Row(HEARTBEATING, ServerRetry, ServerRetry(3.0), OPEN),
    Row(HEARTBEATING, Woken, Woken(), HEARTBEATING, (Probe(),)),
    Row(HEARTBEATING, Lost, Ended(REFUSED), BACKOFF, (Disconnect(REFUSED), Wait(1.0))),
    Row(HEARTBEATING, Lost, None, BACKOFF, (Disconnect(SILENT), Wait(1.0)), at=26),
    Row(HEARTBEATING, Failed, Ended(FORBIDDEN), CLOSED, ended(FORBIDDEN, failed=True)),
    Row(HEARTBEATING, Finished, Ended(DONE), CLOSED, ended(DONE, failed=False)),
    Row(HEARTBEATING, CloseRequested, CloseRequested(1001), CLOSED, ended(BY_US, failed=False)),
    #
    Row(BACKOFF, RetryDue, None, CONNECTING, (Connect(2, 1),), at=2),
    # 2 s until the budget has a token again, and the jitter on top.
    Row(BACKOFF, Throttled, None, BACKOFF, (Wait(3.0),), at=2, empty_budget=True),
    Row(BACKOFF, Woken, Woken(), CONNECTING, (Connect(2, 0),), at=1.5),
    Row(
        *(BACKOFF, Failed, None, CLOSED),
        (Finish(REFUSED, failed=True, gave_up="1000 s without a sound connection"),),
        at=998,
        empty_budget=True,
    ),
    Row(
        *(BACKOFF, CloseRequested, CloseRequested(1001), CLOSED),
        (Finish(BY_US, failed=False),),
        at=1.5,
    ),
]


def test_every_row_is_driven() -> None:
    assert {(row.state, row.kind) for row in ROWS} == set(TRANSITIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state.name}-{row.kind.__name__}")
def test_driving_the_machine_through(row: Row) -> None:
    settings = policy()
    machine = machine_in(row.state, settings)
    cause_before = machine.cause
    if row.empty_budget:
        assert budget_of(settings).withdraw(row.at)
    if row.given is None:
        assert machine.next_deadline <= row.at
        actions = machine.expire(now=row.at)
    else:
        actions = machine.handle(row.given, now=row.at)
    assert (machine.state, actions) == (row.to, row.actions)
    # Every action that ends something names the cause, and the machine remembers it.
    causes = {action.cause for action in actions if isinstance(action, Disconnect | Finish)}
    assert {machine.cause} == (causes or {cause_before})


# ---------------------------------------------------------------- what has no row

ONE_OF_EACH: list[Input] = [
    RequestSent(),
    Connected(),
    Heard(),
    Progressed(advanced=True),
    Blocked(),
    Unblocked(),
    ServerRetry(3.0),
    Woken(),
    CloseRequested(),
    Lost(REFUSED, delay=1.0),
    Failed(FORBIDDEN),
    Finished(DONE),
    Quiet(),
    RetryDue(),
    Throttled(1.0),
]


def test_one_of_each_input_is_there() -> None:
    named = [getattr(transitions, name) for name in transitions.__all__]
    inputs = {each for each in named if isinstance(each, type) and issubclass(each, Input)}
    assert {type(event) for event in ONE_OF_EACH} == inputs - {Input, Ended}


def facts(machine: Machine) -> dict[str, Any]:
    everything = dict(vars(machine))
    everything["_rng"] = everything["_rng"].getstate()
    return everything


# An end is judged before the table is asked: where nothing is under way, nothing can end.
WITHOUT_ROW: list[tuple[State, Input]] = [
    (state, event)
    for state in State
    for event in ONE_OF_EACH
    if (state, type(event)) not in {(row.state, row.kind) for row in ROWS}
] + [(state, Ended(cause)) for state in (BACKOFF, CLOSED) for cause in (REFUSED, FORBIDDEN, DONE)]


@pytest.mark.parametrize(
    ("state", "event"), WITHOUT_ROW, ids=lambda x: getattr(x, "name", type(x).__name__)
)
def test_without_a_row_it_raises_and_nothing_changes(state: State, event: Input) -> None:
    machine = machine_in(state)
    before = facts(machine)
    with pytest.raises(InvalidTransition) as raised:
        machine.handle(event, now=500.0)
    assert str(raised.value) == f"{type(event).__name__} has no row in state {state.name}"
    assert (raised.value.state, raised.value.event) == (state, event)
    assert facts(machine) == before


def test_closed_is_final() -> None:
    machine = machine_in(State.CLOSED)
    before = facts(machine)
    for event in [*ONE_OF_EACH, Ended(REFUSED), Ended(DONE), CloseRequested(1001)]:
        with pytest.raises(InvalidTransition):
            machine.handle(event, now=2.0)
    assert machine.next_deadline == float("inf")
    assert machine.expire(now=1e12) == ()
    assert facts(machine) == before


def test_closing_gives_the_code_for_a_normal_end_unless_told() -> None:
    machine = machine_in(State.OPEN)
    machine.handle(CloseRequested(), now=2.0)
    assert machine.cause == ClosedByUs(1000)


def test_an_input_of_an_unknown_kind_raises() -> None:
    class Unknown(Input):
        """A kind of input that the table does not know."""

    for state in State:
        with pytest.raises(InvalidTransition):
            machine_in(state).handle(Unknown(), now=2.0)
