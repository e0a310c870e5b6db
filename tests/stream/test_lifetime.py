"""Whose exceptions come out of ``async with``, and what is left afterwards."""

from __future__ import annotations

import pytest
import trio

import moored
from moored.stream.session import Session
from moored.stream.supervisor import Supervisor

from .support import Lines, cut, our_tasks, settled, talking


async def test_the_bodys_own_exception_comes_out_as_it_is(clock, network):
    network.serve(talking("one"))
    error = ValueError("mine")
    with pytest.raises(ValueError) as caught:
        async with network.websocket() as stream:
            await stream.receive()
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


async def test_the_bodys_exception_keeps_its_cause_and_its_context(clock, network):
    network.serve(talking())
    before, cause = KeyError("before"), OSError("cause")
    with pytest.raises(ValueError) as caught:
        async with network.websocket():
            try:
                raise before
            except KeyError:
                raise ValueError("mine") from cause
    assert caught.value.__cause__ is cause
    assert caught.value.__context__ is before


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, StopAsyncIteration, StopIteration])
async def test_also_an_exception_of_pythons_own(clock, network, kind):
    network.serve(talking())
    with pytest.raises(kind) as caught:
        async with network.websocket() as stream:
            await stream.wait_for(moored.State.OPEN)
            raise kind
    assert caught.type is kind
    assert stream.state is moored.State.CLOSED


async def test_the_streams_error_comes_out_of_the_block_ungrouped(clock, network):
    network.serve(talking(then=cut))
    policy = moored.Policy(reconnect=moored.Reconnect(attempts=0))
    with pytest.raises(moored.StreamError) as caught:
        async with network.websocket(policy=policy) as stream:
            async for _ in stream:
                pass
    assert caught.type is moored.StreamError
    assert caught.value.gave_up == "reconnecting is off"


async def test_a_failure_that_nobody_asked_about_is_not_raised(clock, network):
    network.serve(OSError("refused"))
    policy = moored.Policy(reconnect=moored.Reconnect(attempts=1))
    async with network.websocket(policy=policy) as stream:
        await stream.wait_for(moored.State.CLOSED)
    assert isinstance(stream.cause, moored.ConnectFailed)


async def test_a_group_of_the_users_own_passes_as_it_is(clock, network):
    network.serve(talking())
    group = ExceptionGroup("mine", [ValueError(1), KeyError(2)])
    with pytest.raises(ExceptionGroup) as caught:
        async with network.websocket():
            raise group
    assert caught.value is group


async def test_what_tasks_of_the_user_raise_is_in_their_own_group_only(clock, network):
    network.serve(talking("one"))

    async def fail(error):
        raise error

    with pytest.RaisesGroup(ValueError, KeyError):
        async with network.websocket(), trio.open_nursery() as own:
            own.start_soon(fail, ValueError())
            own.start_soon(fail, KeyError())


async def test_a_consumer_in_a_task_of_the_users_gets_one_error_in_one_group(clock, network):
    network.serve(talking(then=cut))
    policy = moored.Policy(reconnect=moored.Reconnect(attempts=0))

    async def consume(stream):
        async for _ in stream:
            pass

    with pytest.RaisesGroup(moored.StreamError):
        async with network.websocket(policy=policy) as stream, trio.open_nursery() as own:
            own.start_soon(consume, stream)


# ---------------------------------------------------------------------------- deadlines


async def test_a_deadline_around_the_block(clock, network):
    network.serve(talking())
    with trio.move_on_after(7) as scope:
        async with network.websocket() as stream:
            await stream.receive()
    assert scope.cancelled_caught
    assert 7 <= trio.current_time() <= 7.5


async def test_a_failing_deadline_around_the_block(clock, network):
    network.serve(talking())
    with pytest.raises(trio.TooSlowError), trio.fail_after(7):
        async with network.websocket() as stream:
            await stream.receive()


async def test_a_deadline_inside_leaves_the_stream_as_it_was(clock, network):
    network.serve(talking())
    async with network.websocket() as stream:
        with trio.move_on_after(3) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        assert stream.state is moored.State.OPEN
        with pytest.raises(trio.TooSlowError), trio.fail_after(3):
            await stream.receive()
        assert stream.state is moored.State.OPEN
    assert trio.current_time() == 6


async def test_a_failing_deadline_inside_comes_out_ungrouped(clock, network):
    network.serve(talking())
    with pytest.raises(trio.TooSlowError):
        async with network.websocket() as stream:
            with trio.fail_after(3):
                await stream.receive()


async def test_of_nested_deadlines_the_outer_one_that_passed_first_is_seen(clock, network):
    network.serve(talking())
    with trio.move_on_after(2) as outer:
        async with network.websocket() as stream:
            with trio.move_on_after(5) as inner:
                await stream.receive()
            raise AssertionError("not reached")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_two_streams_in_one_another_share_a_deadline(clock, network):
    network.serve(talking())
    with trio.move_on_after(2) as scope:
        async with network.websocket(), network.websocket() as inner:
            await inner.receive()
    assert scope.cancelled_caught
    assert trio.current_time() <= 2.5


async def test_an_error_while_the_block_is_being_cancelled_is_the_users(clock, network):
    network.serve(talking())
    with pytest.raises(ValueError), trio.move_on_after(2):
        async with network.websocket() as stream:
            try:
                await stream.receive()
            finally:
                raise ValueError


# ---------------------------------------------------------------------------- our own crashes


def break_the_reader(monkeypatch, error):
    async def crash(self):
        await trio.sleep(1)
        raise error

    monkeypatch.setattr(Session, "_read", crash)


async def test_a_crash_of_ours_is_an_internal_error(clock, network, monkeypatch):
    network.serve(talking())
    bug = RuntimeError("a bug")
    break_the_reader(monkeypatch, bug)
    with pytest.raises(moored.InternalError) as caught:
        async with network.websocket() as stream:
            await stream.receive()
    assert caught.value.__cause__ is bug
    assert "RuntimeError('a bug')" in str(caught.value)
    assert stream.state is moored.State.CLOSED


async def test_a_crash_of_the_reconnect_task_is_an_internal_error(clock, network, monkeypatch):
    network.serve(talking())
    bug = RuntimeError("a bug")

    async def crash(self, step):
        raise bug

    monkeypatch.setattr(Supervisor, "_attempt", crash)
    with pytest.raises(moored.InternalError) as caught:
        async with network.websocket() as stream:
            await stream.receive()
    assert caught.value.__cause__ is bug


async def test_a_crash_of_ours_and_the_bodys_own_error_are_both_told(clock, network, monkeypatch):
    network.serve(talking())
    bug, mine = RuntimeError("a bug"), ValueError("mine")
    break_the_reader(monkeypatch, bug)
    with pytest.raises(moored.InternalError) as caught:
        async with network.websocket() as stream:
            try:
                await stream.receive()
            finally:
                raise mine
    assert caught.value.__cause__ is bug
    assert caught.value.__context__ is mine


async def test_a_crash_after_the_body_has_ended_is_told_too(clock, clean, monkeypatch):
    bug = RuntimeError("a bug")

    async def crash(self, code):
        raise bug

    transport = Lines()
    with pytest.raises(moored.InternalError) as caught:
        async with transport.open():
            line = await transport.line()
            monkeypatch.setattr(type(line), "aclose", crash)
    assert caught.value.__cause__ is bug


async def test_an_interrupt_in_a_task_of_ours_stays_one(clock, network, monkeypatch):
    network.serve(talking())
    break_the_reader(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        async with network.websocket() as stream:
            await stream.receive()


async def test_an_interrupt_is_not_dropped_for_a_crash(clock, network, monkeypatch):
    network.serve(talking())
    break_the_reader(monkeypatch, RuntimeError("a bug"))
    with pytest.raises(KeyboardInterrupt):
        async with network.websocket() as stream:
            try:
                await stream.receive()
            finally:
                raise KeyboardInterrupt


async def test_of_two_tasks_of_ours_the_interrupted_one_wins(clock, network, monkeypatch):
    network.serve(talking())
    now = trio.Event()

    async def crash(self):
        await now.wait()
        raise RuntimeError("a bug")

    async def interrupted(self, timer, deadline):
        await now.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "_read", crash)
    monkeypatch.setattr(Session, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        async with network.websocket() as stream:
            await stream.wait_for(moored.State.OPEN)
            await settled()
            now.set()
            await stream.receive()


# ---------------------------------------------------------------------------- afterwards


async def consumed(stream):
    async for _ in stream:
        pass
    return "ended"


async def sent(stream):
    with pytest.raises(moored.StreamClosed):
        await stream.send("late")
    return "ended"


async def watched(stream):
    async for transition in stream.transitions():
        last = transition.target
    assert last is moored.State.CLOSED
    return "ended"


async def waited(stream):
    with pytest.raises(moored.StreamClosed):
        await stream.wait_for(moored.State.BACKOFF)
    return "ended"


@pytest.mark.parametrize("use", [consumed, sent, watched, waited])
@pytest.mark.parametrize("end", ["left", "cancelled", "raised"])
async def test_no_task_of_the_users_hangs_on_a_stream_that_is_over(
    clock, network, nursery, use, end
):
    network.serve(talking())
    results = []

    async def outside(stream):
        results.append(await use(stream))

    with trio.CancelScope() as scope:
        try:
            async with network.websocket() as stream:
                await stream.wait_for(moored.State.OPEN)
                if use is not sent:
                    nursery.start_soon(outside, stream)
                await settled()
                if end == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
                if end == "raised":
                    raise ValueError
        except ValueError:
            assert end == "raised"
    assert stream.state is moored.State.CLOSED
    assert our_tasks() == []
    with trio.fail_after(1):
        results.append(await use(stream))
        await settled()
    assert set(results) == {"ended"}
    assert len(results) == (1 if use is sent else 2)
