"""Toxics that come, change and go while a connection lives, in virtual time."""

import attrs
import pytest
import trio
import trio.testing

from moored.faults.tcp.proxy import ToxicExists
from moored.faults.tcp.toxics import (
    Bandwidth,
    Corrupt,
    HalfOpen,
    Latency,
    LimitData,
    NeverAnswer,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)


async def test_added_it_strikes_the_next_bytes(autojump_clock, wire):
    w = await wire()
    await w.server.send_all(b"before")
    assert await w.collect(w.client, 1) == [(0, b"before")]
    w.proxy.add_toxic(Latency(latency=1.0))
    await w.server.send_all(b"after")
    assert await w.collect(w.client, 2) == [(2, b"after")]
    w.proxy.remove_toxic("latency_downstream")
    await w.server.send_all(b"again")
    assert await w.collect(w.client, 1) == [(3, b"again")]


@pytest.mark.parametrize("change", ["remove", "update"])
async def test_latency_removed_or_changed_lets_go_of_what_waits(autojump_clock, wire, change):
    w = await wire(Latency(latency=100.0))
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 1) == []
    if change == "remove":
        w.proxy.remove_toxic("0")
    else:
        w.proxy.update_toxic("0", Latency(latency=50.0))
    await w.server.send_all(b"y")
    got = await w.collect(w.client, 100)
    if change == "remove":
        assert b"".join(data for _, data in got) == b"xy"
        assert {time for time, _ in got} == {1}
    else:
        assert got == [(1, b"x"), (51, b"y")]


async def test_bytes_that_a_removed_toxic_held_go_through_the_later_ones(autojump_clock, wire):
    w = await wire(Bandwidth(), Slicer(average_size=2, delay=1.0), Latency(latency=0.5))
    await w.server.send_all(b"abcd")
    assert await w.collect(w.client, 10) == []
    w.proxy.remove_toxic("0")
    # They arrived ten seconds ago, so that latency is over.
    assert await w.collect(w.client, 10) == [(10, b"ab"), (11, b"cd")]


async def test_a_changed_bandwidth_paces_what_waits(autojump_clock, wire):
    w = await wire(Bandwidth())
    await w.server.send_all(bytes(1000))
    assert await w.collect(w.client, 5) == []
    w.proxy.update_toxic("0", Bandwidth(rate=5000))
    got = await w.collect(w.client, 5)
    assert [(time, len(data)) for time, data in got] == [(5.1, 500), (5.2, 500)]


async def test_a_changed_limit_keeps_the_count(autojump_clock, wire):
    w = await wire(LimitData(bytes=100))
    await w.server.send_all(bytes(60))
    assert len((await w.collect(w.client, 1))[0][1]) == 60
    w.proxy.update_toxic("0", LimitData(bytes=80))
    await w.server.send_all(bytes(60))
    assert [len(data) for _, data in await w.collect(w.client)] == [20, 0]


async def test_a_limit_counts_from_when_it_was_added(autojump_clock, wire):
    w = await wire()
    await w.server.send_all(bytes(60))
    await w.collect(w.client, 1)
    w.proxy.add_toxic(LimitData(bytes=70))
    await w.server.send_all(bytes(60))
    assert [len(data) for _, data in await w.collect(w.client, 1)] == [60]


async def test_slow_close_removed_closes_at_once(autojump_clock, wire):
    w = await wire(SlowClose(delay=100.0))
    await w.server.send_eof()
    assert await w.collect(w.client, 5) == []
    w.proxy.remove_toxic("0")
    assert await w.collect(w.client) == [(5, b"")]


async def test_slow_close_changed_waits_anew(autojump_clock, wire):
    w = await wire(SlowClose(delay=100.0))
    await w.server.send_eof()
    assert await w.collect(w.client, 5) == []
    w.proxy.update_toxic("0", SlowClose(delay=1.0))
    assert await w.collect(w.client) == [(6, b"")]


@pytest.mark.parametrize("timeout", [0, 100.0])
async def test_removing_a_timeout_closes_the_connection(autojump_clock, wire, timeout):
    w = await wire(Timeout(timeout=timeout))
    await w.server.send_all(b"lost")
    assert await w.collect(w.client, 5) == []
    w.proxy.remove_toxic("0")
    assert await w.collect(w.client) == [(5, b"")]
    assert (await w.collect(w.server))[-1] == (5, b"")


async def test_removing_a_timeout_that_spares_the_connection_does_not(autojump_clock, wire):
    w = await wire(Timeout(timeout=1.0), toxicity=0)
    w.proxy.remove_toxic("0")
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 5) == [(0, b"x")]


async def test_a_changed_timeout_begins_anew(autojump_clock, wire):
    w = await wire(Timeout(timeout=10.0))
    assert await w.collect(w.client, 5) == []
    w.proxy.update_toxic("0", Timeout(timeout=7.0))
    assert await w.collect(w.client) == [(12, b"")]


async def test_a_timeout_added_strikes_a_client_that_waits(autojump_clock, wire):
    w = await wire()
    w.proxy.add_toxic(Timeout(timeout=2.0), "upstream")
    assert await w.collect(w.client) == [(2, b"")]


async def test_reset_peer_removed_while_its_time_runs_resets_at_once(autojump_clock, wire):
    w = await wire(ResetPeer(timeout=50.0))
    await w.server.send_all(b"lost")
    assert await w.collect(w.client, 5) == []
    w.proxy.remove_toxic("0")
    assert await w.collect(w.client) == [(5, b"")]


async def test_reset_peer_removed_before_leaves_the_connection(autojump_clock, wire):
    w = await wire(ResetPeer())
    w.proxy.remove_toxic("0")
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 5) == [(0, b"x")]


async def test_reset_peer_changed_counts_from_the_first_bytes(autojump_clock, wire):
    w = await wire(ResetPeer(timeout=50.0))
    await w.server.send_all(b"lost")
    assert await w.collect(w.client, 5) == []
    w.proxy.update_toxic("0", ResetPeer(timeout=7.0))
    assert await w.collect(w.client) == [(7, b"")]


async def test_a_toxic_in_the_middle_can_go(autojump_clock, wire):
    w = await wire(Latency(latency=1.0), Bandwidth(), Latency(latency=1.0))
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 10) == []
    w.proxy.remove_toxic("1")
    assert await w.collect(w.client, 10) == [(10, b"x")]
    await w.server.send_all(b"y")
    assert await w.collect(w.client, 10) == [(22, b"y")]


async def test_what_was_sent_before_stays_before(autojump_clock, wire, nursery):
    """Bytes in order, whatever is added, changed and removed while they pass."""
    w = await wire()
    data = bytes(n % 251 for n in range(60_000))

    async def send():
        for start in range(0, len(data), 500):
            await w.server.send_all(data[start : start + 500])
            await trio.sleep(0.05)
        await w.server.send_eof()

    async def change():
        chain = [
            *(Latency(latency=0.3, jitter=0.3), Slicer(average_size=50, delay=0.001)),
            *(Bandwidth(rate=20_000), Noop(), HalfOpen(), SlowClose(delay=1.0)),
        ]
        for turn in range(60):
            toxic = chain[turn % len(chain)]
            placed = w.proxy.add_toxic(toxic, name=str(turn))
            await trio.sleep(0.07)
            w.proxy.update_toxic(placed.name, toxic, toxicity=turn % 3 / 2)
            await trio.sleep(0.01)
            w.proxy.remove_toxic(placed.name)

    nursery.start_soon(send)
    nursery.start_soon(change)
    assert b"".join(data for _, data in await w.collect(w.client)) == data


async def test_toxicity_is_drawn_again_when_the_toxic_changes(autojump_clock, wire):
    w = await wire(Latency(latency=1.0), toxicity=0)
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 2) == [(0, b"x")]
    w.proxy.update_toxic("0", Latency(latency=1.0), toxicity=1)
    await w.server.send_all(b"y")
    assert await w.collect(w.client, 2) == [(3, b"y")]
    await w.server.send_all(b"z")
    w.proxy.update_toxic("0", Latency(latency=1.0), toxicity=0)
    assert await w.collect(w.client, 2) == [(4, b"z")]


@pytest.mark.parametrize(
    ("toxic", "other"),
    [(Corrupt(share=0), Corrupt(share=1)), (NeverAnswer(), NeverAnswer()), (Noop(), Noop())],
)
async def test_the_others_can_change_too(autojump_clock, wire, toxic, other):
    w = await wire(toxic)
    w.proxy.update_toxic("0", other)
    await w.server.send_all(bytes(4))
    got = await w.collect(w.client, 2)
    if isinstance(toxic, NeverAnswer):
        assert got == []
    else:
        assert all(map(bool, got[0][1])) == isinstance(toxic, Corrupt)


async def test_wrong_changes_are_told(autojump_clock, wire):
    w = await wire(Noop())
    with pytest.raises(ToxicExists):
        w.proxy.add_toxic(Latency(), name="0")
    with pytest.raises(TypeError, match="noop"):
        w.proxy.update_toxic("0", Latency())
    with pytest.raises(KeyError):
        w.proxy.update_toxic("1", Latency())
    with pytest.raises(KeyError):
        w.proxy.remove_toxic("1")
    assert [attrs.asdict(each)["name"] for each in w.proxy.toxics.values()] == ["0"]
