"""What the receiver sees of each toxic, and when: in memory, in virtual time."""

import pytest
import trio
import trio.testing

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

both_directions = pytest.mark.parametrize("direction", ["upstream", "downstream"])


def sizes(arrivals):
    return [(time, len(data)) for time, data in arrivals]


@both_directions
@pytest.mark.parametrize("toxics", [(), (Noop(),)])
async def test_without_a_fault_bytes_and_end_pass_at_once(autojump_clock, wire, direction, toxics):
    w = await wire(*toxics, direction=direction)
    sender, receiver = w.ends(direction)
    await sender.send_all(b"one")
    assert await w.collect(receiver, 0.5) == [(0, b"one")]
    await sender.send_eof()
    assert await w.collect(receiver) == [(0.5, b"")]


@both_directions
async def test_latency_delays_each_chunk_from_its_arrival(autojump_clock, wire, direction, nursery):
    w = await wire(Latency(latency=1.0), direction=direction)
    sender, receiver = w.ends(direction)

    async def send():
        for data in (b"a", b"b", b"c"):
            await sender.send_all(data)
            await trio.sleep(0.4)
        await sender.send_eof()

    nursery.start_soon(send)
    # The end comes behind the bytes, which it is not itself delayed by.
    assert await w.collect(receiver) == [(1.0, b"a"), (1.4, b"b"), (1.8, b"c"), (1.8, b"")]


async def test_latency_of_the_other_direction_is_none(autojump_clock, wire):
    w = await wire(Latency(latency=1.0), direction="upstream")
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 0.1) == [(0, b"x")]


async def test_an_end_alone_is_not_delayed_by_latency(autojump_clock, wire):
    w = await wire(Latency(latency=1.0))
    await w.server.send_eof()
    assert await w.collect(w.client) == [(0, b"")]


async def test_two_latencies_add_up(autojump_clock, wire):
    w = await wire(Latency(latency=1.0), Latency(latency=0.5))
    await w.server.send_all(b"x")
    assert await w.collect(w.client, 5) == [(1.5, b"x")]


async def test_jitter_keeps_order_and_stays_in_its_bounds(autojump_clock, wire, nursery):
    async def times(seed):
        w = await wire(Latency(latency=1.0, jitter=0.5), seed=seed)

        async def send():
            for n in range(20):
                await w.server.send_all(bytes([n]))
                await trio.sleep(1)

        nursery.start_soon(send)
        got = await w.collect(w.client, 30)
        assert b"".join(data for _, data in got) == bytes(range(20))
        delays = [time - data[0] for time, data in got]
        assert all(0.5 <= delay <= 1.5 for delay in delays)
        assert max(delays) - min(delays) > 0.3
        return delays

    first = await times(1)
    assert await times(1) == first
    assert await times(2) != first


async def test_latency_keeps_throughput(autojump_clock, wire, nursery):
    w = await wire(Latency(latency=1.0))
    nursery.start_soon(w.server.send_all, bytes(8 * 1024 * 1024))
    got = await w.collect(w.client, 5)
    assert sum(len(data) for _, data in got) == 8 * 1024 * 1024
    assert {time for time, _ in got} == {1.0}


@both_directions
async def test_bandwidth_lets_bytes_through_in_pieces_of_a_tenth_of_a_second(
    autojump_clock, wire, direction
):
    w = await wire(Bandwidth(rate=100_000), direction=direction)
    sender, receiver = w.ends(direction)
    await sender.send_all(bytes(32_000))
    await sender.send_all(bytes(18_000))
    await sender.send_eof()
    got = sizes(await w.collect(receiver))
    assert sum(size for _, size in got) == 50_000
    assert got[:3] == [(0.1, 10_000), (0.2, 10_000), (0.3, 10_000)]
    assert got[-1] == (0.5, 0)


async def test_an_idle_line_saves_no_bandwidth_for_later(autojump_clock, wire):
    w = await wire(Bandwidth(rate=1000))
    await trio.sleep(10)
    await w.server.send_all(bytes(100))
    assert sizes(await w.collect(w.client, 5)) == [(10.1, 100)]


async def test_no_bandwidth_holds_everything_until_it_is_removed(autojump_clock, wire, nursery):
    w = await wire(Bandwidth())
    await w.server.send_all(b"held")
    await w.server.send_eof()
    assert await w.collect(w.client, 100) == []
    w.proxy.remove_toxic("0")
    assert await w.collect(w.client) == [(100, b"held"), (100, b"")]


async def test_a_slicer_halves_chunks_until_they_are_small(autojump_clock, wire):
    w = await wire(Slicer(average_size=100, size_variation=10, delay=0.01))
    await w.server.send_all(bytes(1000))
    got = sizes(await w.collect(w.client, 10))
    # As of the real one: 1,000 bytes at 100 plus or minus 10 make 16 pieces.
    assert len(got) == 16
    assert sum(size for _, size in got) == 1000
    assert all(40 <= size <= 110 for _, size in got)
    assert [time for time, _ in got] == pytest.approx([n * 0.01 for n in range(16)])


async def test_a_slicer_pauses_after_its_last_piece_too(autojump_clock, wire):
    w = await wire(Slicer(average_size=10, delay=1.0))
    await w.server.send_all(bytes(20))
    await w.server.send_eof()
    assert sizes(await w.collect(w.client)) == [(0, 10), (1, 10), (2, 0)]


async def test_a_slicer_without_settings_makes_single_bytes(autojump_clock, wire):
    w = await wire(Slicer())
    await w.server.send_all(b"abc")
    got = await w.collect(w.client, 1)
    assert b"".join(data for _, data in got) == b"abc"


async def test_a_slicer_of_single_bytes_is_bounded(autojump_clock, wire, nursery):
    w = await wire(Slicer(average_size=1, delay=1.0), lockstep=True)
    sent = 0

    async def send():
        nonlocal sent
        while True:
            await w.server.send_all(bytes(32 * 1024))
            sent += 32 * 1024

    nursery.start_soon(send)
    await w.collect(w.client, 60)
    assert sent < 1024 * 1024


@pytest.mark.parametrize("chunks", [[250], [100, 150], [90, 10, 1, 149]])
async def test_limit_data_closes_as_soon_as_the_limit_is_reached(autojump_clock, wire, chunks):
    w = await wire(LimitData(bytes=100))
    for size in chunks:
        await w.server.send_all(bytes(size))
    got = await w.collect(w.client)
    assert sum(len(data) for _, data in got) == 100
    assert got[-1] == (0, b"")
    assert (await w.collect(w.server))[-1][1] == b""  # both ends


async def test_limit_data_of_none_closes_at_the_first_byte(autojump_clock, wire):
    w = await wire(LimitData())
    assert await w.collect(w.client, 5) == []
    await w.server.send_all(b"x")
    assert await w.collect(w.client) == [(5, b"")]


async def test_limit_data_under_the_limit_does_nothing(autojump_clock, wire):
    w = await wire(LimitData(bytes=10))
    await w.server.send_all(bytes(9))
    assert sizes(await w.collect(w.client, 5)) == [(0, 9)]


@both_directions
async def test_slow_close_delays_the_end_only(autojump_clock, wire, direction):
    w = await wire(SlowClose(delay=3.0), direction=direction)
    sender, receiver = w.ends(direction)
    await sender.send_all(b"x")
    await sender.send_eof()
    assert await w.collect(receiver) == [(0, b"x"), (3, b"")]


@both_directions
async def test_timeout_loses_bytes_and_closes_after_the_last(
    autojump_clock, wire, direction, nursery
):
    w = await wire(Timeout(timeout=2.0), direction=direction)
    sender, receiver = w.ends(direction)

    async def send():
        await trio.sleep(1)
        await sender.send_all(bytes(4 * 1024 * 1024))  # it does not hold the sender up

    nursery.start_soon(send)
    assert await w.collect(receiver) == [(3, b"")]
    assert (await w.collect(sender))[-1] == (3, b"")


async def test_timeout_closes_an_idle_connection(autojump_clock, wire):
    w = await wire(Timeout(timeout=2.0))
    assert await w.collect(w.client) == [(2, b"")]


async def test_timeout_of_none_waits_for_ever_but_not_beyond_the_senders_end(autojump_clock, wire):
    w = await wire(Timeout())
    await w.server.send_all(b"lost")
    assert await w.collect(w.client, 500) == []
    await w.server.send_eof()
    assert await w.collect(w.client) == [(500, b"")]


async def test_reset_peer_leaves_an_idle_connection_alone(autojump_clock, wire):
    w = await wire(ResetPeer(timeout=1.0))
    assert await w.collect(w.client, 100) == []
    await w.client.send_all(b"other way")
    assert (await w.collect(w.server, 1))[0][1] == b"other way"


async def test_reset_peer_loses_the_first_bytes_and_ends_after_its_time(autojump_clock, wire):
    w = await wire(ResetPeer(timeout=1.5))
    await w.server.send_all(b"lost")
    await w.server.send_all(b"lost too")
    (end,) = await w.collect(w.client)
    assert end == (1.5, b"")  # in memory there is no reset to be seen


async def test_corrupt_flips_one_bit_at_the_offsets(autojump_clock, wire):
    w = await wire(Corrupt(offsets=[0, 5]))
    await w.server.send_all(bytes(4))
    await w.server.send_all(bytes(4))
    data = b"".join(data for _, data in await w.collect(w.client, 1))
    assert [place for place, byte in enumerate(data) if byte] == [0, 5]
    assert all(data[place].bit_count() == 1 for place in (0, 5))


async def test_corrupt_hits_a_share_whatever_the_chunks(autojump_clock, wire, nursery):
    async def corrupted(chunk, **settings):
        w = await wire(Corrupt(share=0.01, **settings))

        async def send():
            for start in range(0, 100_000, chunk):
                await w.server.send_all(bytes(min(chunk, 100_000 - start)))

        nursery.start_soon(send)
        return b"".join(data for _, data in await w.collect(w.client, 1))

    data = await corrupted(100_000)
    assert len(data) == 100_000
    assert 800 < sum(map(bool, data)) < 1200
    assert {byte.bit_count() for byte in data} == {0, 1}
    assert await corrupted(777) == data
    assert await corrupted(777, seed=1) != data


@pytest.mark.parametrize("share", [0, 1])
async def test_corrupt_hits_none_or_all(autojump_clock, wire, share):
    w = await wire(Corrupt(share=share))
    await w.server.send_all(bytes(100))
    ((_, data),) = await w.collect(w.client, 1)
    assert sum(map(bool, data)) == 100 * share


async def test_half_open_is_silent_and_lets_go_of_what_waited(autojump_clock, wire):
    w = await wire(HalfOpen())
    await w.server.send_all(b"waits")
    await w.server.send_eof()
    assert await w.collect(w.client, 500) == []
    await w.client.send_all(b"other way")  # and the client's bytes still arrive
    assert (await w.collect(w.server, 1))[0][1] == b"other way"
    w.proxy.remove_toxic("0")
    assert [data for _, data in await w.collect(w.client)] == [b"waits", b""]


async def test_never_answer_reads_and_throws_away(autojump_clock, wire, nursery):
    w = await wire(NeverAnswer())
    await w.server.send_all(bytes(4 * 1024 * 1024))
    assert await w.collect(w.client, 5) == []
    await w.server.send_eof()
    # Not even the end at once; ten seconds later nothing can come any more.
    got = await w.collect(w.client)
    assert got[0][1] == b""
    assert 15 <= got[0][0] <= 25


async def test_a_chain_runs_in_the_order_in_which_it_was_built(autojump_clock, wire):
    # 50 bytes pass the limit; they and the end go through the rest of the chain.
    w = await wire(LimitData(bytes=50), Latency(latency=1.0), SlowClose(delay=2.0))
    await w.server.send_all(bytes(80))
    assert sizes(await w.collect(w.client)) == [(1, 50), (3, 0)]


async def test_latency_counts_from_arrival_also_behind_a_bandwidth(autojump_clock, wire):
    w = await wire(Bandwidth(rate=1000), Latency(latency=0.15))
    await w.server.send_all(bytes(300))
    assert sizes(await w.collect(w.client, 5)) == [(0.15, 100), (0.2, 100), (0.3, 100)]


@both_directions
@pytest.mark.parametrize("toxic", [Bandwidth(), Latency(latency=1e6), HalfOpen()])
async def test_memory_is_bounded_and_the_sender_waits(
    autojump_clock, wire, direction, toxic, nursery
):
    w = await wire(toxic, direction=direction, lockstep=True)
    sender, receiver = w.ends(direction)
    sent = 0

    async def send():
        nonlocal sent
        while True:
            await sender.send_all(bytes(1024 * 1024))
            sent += 1

    nursery.start_soon(send)
    await w.collect(receiver, 10)
    assert sent <= 40 if isinstance(toxic, Latency) else sent <= 2


async def test_toxicity_spares_some_connections_always_the_same(autojump_clock, wire):
    async def struck(number, seed=0):
        w = await wire(Latency(latency=1.0), toxicity=0.5, number=number, seed=seed)
        await w.server.send_all(b"x")
        return (await w.collect(w.client, 5))[0][0] == 1

    first = [await struck(number) for number in range(1, 41)]
    assert 8 < sum(first) < 32
    assert [await struck(number) for number in range(1, 41)] == first
    assert [await struck(number, seed=1) for number in range(1, 41)] != first


@pytest.mark.parametrize(("toxicity", "strikes"), [(0, False), (-1, False), (1, True), (5, True)])
async def test_toxicity_has_no_bounds(autojump_clock, wire, toxicity, strikes):
    w = await wire(Latency(latency=1.0), toxicity=toxicity)
    await w.server.send_all(b"x")
    assert (await w.collect(w.client, 5))[0][0] == (1 if strikes else 0)


async def test_a_connection_half_of_which_is_closed_goes_on_while_bytes_come(
    autojump_clock, wire, nursery
):
    w = await wire()
    await w.client.send_eof()
    assert await w.collect(w.server) == [(0, b"")]

    async def send():
        for _ in range(5):
            await trio.sleep(8)
            await w.server.send_all(b"x")

    nursery.start_soon(send)
    got = await w.collect(w.client)
    assert [data for _, data in got] == [b"x"] * 5 + [b""]
    assert 50 <= got[-1][0] <= 60  # ten seconds of silence, seen by a watch every ten


async def test_what_waits_in_a_toxic_is_no_silence(autojump_clock, wire):
    w = await wire(Latency(latency=100.0))
    await w.server.send_all(b"x")
    await w.client.send_eof()
    assert (await w.collect(w.client))[0] == (100, b"x")
