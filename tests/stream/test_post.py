"""SSE by POST: one answer to one request, which is not asked for twice behind anybody's back."""

from __future__ import annotations

import json

import pytest
import trio

import moored

from .support import HttpPeer, http, mute, reconnect, refusing

BODY = {"model": "m", "stream": True}


def asked(seen, *events, then=None):
    """An answer of ``events`` (data, or id and data), cut afterwards; it notes what was asked."""

    async def serve(stream):
        peer = HttpPeer(stream)
        await peer.request()
        seen.append(peer)
        await peer.answer()
        for event in events:
            await (peer.event(event) if isinstance(event, str) else peer.event(event[1], event[0]))
        if then is not None:
            await then(peer)

    return serve


async def end(peer):
    await peer.end()


async def hold(_peer):
    await trio.sleep_forever()


async def datas(stream):
    return [event.data async for event in stream]


async def test_the_body_is_posted_and_the_answers_end_is_the_end(clock, network):
    seen = []
    network.serve(asked(seen, "one", "two", then=end))
    async with network.sse(json=BODY) as stream:
        assert await datas(stream) == ["one", "two"]
        with pytest.raises(moored.EndOfStream):
            await stream.receive()
    (peer,) = seen
    assert (peer.method, json.loads(peer.body)) == ("POST", BODY)
    assert len(network.dialled) == 1
    assert stream.cause == moored.Completed("the answer ended")


async def test_cut_after_the_first_event_it_is_not_repeated(clock, network):
    seen = []
    network.serve(asked(seen, "one", "two"), asked(seen, "again", then=end))
    got = []
    async with network.sse(json=BODY) as stream:
        with pytest.raises(moored.StreamInterrupted) as caught:
            async for event in stream:
                got.append(event.data)
        await trio.sleep(1000)
    assert got == ["one", "two"]
    error = caught.value
    assert [event.data for event in error.received] == ["one", "two"]
    assert error.received_all
    assert isinstance(error.cause, moored.AbnormalClosure)
    assert error.__cause__ is error.cause.exception is not None
    assert "is not asked again" in error.gave_up
    assert len(seen) == 1


@pytest.mark.parametrize("terminator", [None, "[DONE]"])
async def test_ended_in_good_order_without_its_terminator_it_is_incomplete(
    clock, network, terminator
):
    seen = []
    network.serve(asked(seen, "one", then=end))
    async with network.sse(json=BODY, terminator=terminator) as stream:
        if terminator is None:
            assert await datas(stream) == ["one"]
        else:
            with pytest.raises(moored.StreamInterrupted) as caught:
                await datas(stream)
            assert caught.value.cause == moored.Incomplete("its terminator, '[DONE]'")
    assert len(seen) == 1


async def test_stalled_after_the_first_event_it_is_not_repeated(clock, network):
    seen = []
    network.serve(asked(seen, "one", then=hold))
    async with network.sse(json=BODY) as stream:
        with pytest.raises(moored.StreamInterrupted) as caught:
            await datas(stream)
    assert isinstance(caught.value.cause, moored.Stalled)
    assert trio.current_time() == 60
    assert len(seen) == 1


async def test_before_the_first_event_it_is_repeated_silently(clock, network):
    seen, gaps = [], []
    network.serve(
        OSError("refused"),
        refusing(503),
        asked(seen),
        asked(seen, "one", then=end),
    )
    async with network.sse(json=BODY, on_gap=gaps.append, gaps=True) as stream:
        assert await datas(stream) == ["one"]
    assert [json.loads(peer.body) for peer in seen] == [BODY, BODY]
    assert gaps == []
    assert stream.stats.gaps == 0
    assert stream.stats.attempts == 4


async def test_failed_before_the_first_event_it_is_a_plain_error(clock, network):
    network.serve(refusing(401))
    async with network.sse(json=BODY) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert type(caught.value) is moored.StreamError


async def test_repeat_asks_again_and_says_that_there_is_a_gap(clock, network):
    seen, told = [], []
    network.serve(asked(seen, "one", "two"), asked(seen, "one", "2", then=end))
    async with network.sse(json=BODY, repeat=True, on_gap=told.append, gaps=True) as stream:
        items = [item async for item in stream]
    assert [getattr(item, "data", "GAP") for item in items] == ["one", "two", "GAP", "one", "2"]
    assert told == [items[2]] == [moored.Gap(None, 2, "no position is known")]
    assert len(seen) == 2


async def test_with_ids_it_is_resumed_without_a_gap(clock, network):
    seen = []
    network.serve(
        asked(seen, ("1", "one"), ("2", "two")),
        asked(seen),
        asked(seen, ("2", "two"), ("3", "three"), then=end),
    )
    async with network.sse(json=BODY, gaps=True) as stream:
        assert await datas(stream) == ["one", "two", "three"]
    assert [peer.headers.get("last-event-id") for peer in seen] == [None, "2", "2"]
    assert [json.loads(peer.body) for peer in seen] == [BODY] * 3
    assert (stream.stats.gaps, stream.stats.duplicates_dropped) == (0, 1)


async def test_repeated_in_vain_the_error_still_has_what_came(clock, network):
    seen = []
    network.serve(asked(seen, "one"), OSError("refused"))
    async with network.sse(json=BODY, repeat=True, policy=reconnect(attempts=3)) as stream:
        with pytest.raises(moored.StreamInterrupted) as caught:
            await datas(stream)
    assert [event.data for event in caught.value.received] == ["one"]
    assert caught.value.gave_up == "3 attempts in a row failed"


async def test_what_the_error_keeps_is_bounded_and_says_so(clock, network):
    seen = []
    network.serve(asked(seen, *[f"{n:093}" for n in range(50)]))  # and "message" is 100 each
    async with network.sse(json=BODY, policy=moored.Policy(inbox_bytes=1000)) as stream:
        with pytest.raises(moored.StreamInterrupted) as caught:
            await datas(stream)
    assert [int(event.data) for event in caught.value.received] == list(range(40, 50))
    assert not caught.value.received_all


async def test_after_its_terminator_what_happens_to_the_connection_is_no_error(clock, network):
    network.serve(http(talk_and_cut))
    async with network.sse(json=BODY, terminator="[DONE]") as stream:
        assert await datas(stream) == ["one"]
    assert trio.current_time() == 0


async def talk_and_cut(peer):
    await peer.event("one")
    await peer.event("[DONE]")


async def test_a_get_is_a_channel_and_asked_for_again(clock, network):
    seen = []
    network.serve(asked(seen, ("1", "one"), then=end), asked(seen, ("2", "two"), then=hold))
    async with network.sse() as stream:
        assert (await stream.receive()).data == "one"
        assert (await stream.receive()).data == "two"
    assert [peer.headers.get("last-event-id") for peer in seen] == [None, "1"]


async def test_an_answer_that_never_comes_is_given_600_s(clock, network):
    network.serve(silent_after_request)
    async with network.sse(json=BODY, policy=reconnect(attempts=1)) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert trio.current_time() == 600
    assert caught.value.cause.stage == "timeout"


async def silent_after_request(stream):
    await HttpPeer(stream).request()
    await mute(stream)
