import pytest
import trio

from moored.faults.listening import authority, background, listen


async def test_an_exception_of_the_body_comes_out_as_itself():
    with pytest.raises(KeyError):
        async with background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError


async def test_the_tasks_end_with_the_body():
    ended = []

    async def task():
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with background() as nursery:
        nursery.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()
    assert ended == [True]


async def test_a_crash_of_a_task_ends_the_body_and_is_a_group():
    async def crash():
        raise ValueError

    with pytest.RaisesGroup(ValueError):
        async with background() as nursery:
            nursery.start_soon(crash)
            await trio.sleep_forever()


async def test_a_crash_is_not_lost_behind_a_nursery_in_the_body():
    async def crash():
        raise ValueError

    async def body():
        async with trio.open_nursery() as own:
            own.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError)):
        async with trio.open_nursery(), background() as nursery:
            nursery.start_soon(crash)
            await body()


async def test_cancellation_passes_through():
    with trio.move_on_after(0) as scope:
        async with background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_an_exception_while_being_cancelled_is_not_lost():
    with trio.CancelScope() as scope, pytest.raises(KeyError):
        async with background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            raise KeyError


async def test_listening_gives_a_free_port():
    listener, port = await listen("127.0.0.1", 0)
    async with listener:
        assert listener.socket.getsockname() == ("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:5"),
        ("::1", "[::1]:5"),
        ("::", "[::1]:5"),
        ("0.0.0.0", "127.0.0.1:5"),
    ],
)
def test_addresses_are_written_as_in_urls(host, expected):
    assert authority(host, 5) == expected
