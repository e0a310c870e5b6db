"""Where a stream goes on after a drop: positions, repetitions, gaps."""

import json

import pytest
import trio

import moored

from .support import HttpPeer, Lines, cut, http, reconnect, refusing, rest, talking, websocket

QUICK = moored.Policy(reconnect=moored.Reconnect(initial=0.01, attempts=5))


def numbered(*numbers):
    return [json.dumps({"id": number}) for number in numbers]


def number_of(message):
    return json.loads(message).get("id")


def resume_from(position):
    return json.dumps({"resume": position})


async def cut_after(peer):
    """Nothing: the connection is cut when the handler returns."""


# -------------------------------------------------------------------------------- WebSocket


async def test_resume_is_called_with_the_last_position_and_only_on_reconnections(clock, network):
    heard = []

    async def second(peer):
        heard.append(await peer.get_message())
        for message in numbered(3, 4):
            await peer.send_message(message)
        await rest(peer)

    network.serve(talking(*numbered(1, 2), then=cut_after), websocket(second))
    async with network.websocket(cursor=number_of, resume=resume_from, policy=QUICK) as stream:
        got = [number_of(await stream.receive()) for _ in range(4)]
        assert stream.position == 4
        assert stream.stats.gaps == 0
    assert got == [1, 2, 3, 4]
    assert heard == ['{"resume": 2}']


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, []),
        ("one", ["one"]),
        (b"one", [b"one"]),
        (["one", "two"], ["one", "two"]),
        (("one", "two"), ["one", "two"]),
        ({"one": 1, "two": 2}.keys(), ["one", "two"]),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_resume_may_give_none_one_or_several(clock, clean, answer, expected, is_async):
    async def later(_position):
        await trio.sleep(1)
        return answer

    lines = Lines()
    resume = later if is_async else (lambda _position: answer)
    async with lines.open(resume=resume, policy=QUICK) as stream:
        (await lines.line()).end()
        await stream.wait_for(moored.State.BACKOFF)
        await stream.send("queued meanwhile")
        second = await lines.line(2)
        await trio.sleep(0.01)
    assert second.sent == [*expected, "queued meanwhile"]


async def test_a_position_is_asked_for_that_has_been_received_not_only_consumed(clock, network):
    """What waits in the inbox is delivered after the drop, so it need not come again."""
    heard = []

    async def second(peer):
        heard.append(await peer.get_message())
        await rest(peer)

    network.serve(talking(*numbered(1, 2, 3), then=cut_after), websocket(second))
    async with network.websocket(cursor=number_of, resume=resume_from, policy=QUICK) as stream:
        await stream.wait_for(moored.State.BACKOFF)
        await stream.wait_for(moored.State.OPEN)
        await trio.sleep(0.01)
        assert [number_of(await stream.receive()) for _ in range(3)] == [1, 2, 3]
    assert heard == ['{"resume": 3}']


async def test_repetitions_are_left_out(clock, network):
    network.serve(
        talking(*numbered(1, 2, 3), then=cut_after),
        talking(*numbered(1, 2, 3, 4)),  # a server that starts again whatever it is told
    )
    async with network.websocket(cursor=number_of, resume=resume_from, policy=QUICK) as stream:
        assert [number_of(await stream.receive()) for _ in range(4)] == [1, 2, 3, 4]
        assert stream.stats.duplicates_dropped == 3


async def test_messages_without_a_position_are_never_left_out(clock, network):
    network.serve(
        talking(*numbered(1), '{"tick": 1}', then=cut_after), talking(*numbered(1), '{"tick": 1}')
    )
    async with network.websocket(cursor=number_of, resume=resume_from, policy=QUICK) as stream:
        got = [await stream.receive() for _ in range(3)]
    assert got == ['{"id": 1}', '{"tick": 1}', '{"tick": 1}']


async def test_a_feed_that_moves_on_is_never_given_up(clock, network):
    """Cut after every message, fifty times: each connection covers new ground."""
    handlers = [talking(*numbered(n), then=cut_after) for n in range(50)]
    network.serve(*handlers)
    async with network.websocket(
        cursor=number_of, resume=lambda position: None, policy=reconnect(attempts=2)
    ) as stream:
        assert [number_of(await stream.receive()) for _ in range(50)] == list(range(50))


# -------------------------------------------------------------------------------- gaps


async def test_without_a_resume_hook_a_reconnection_is_a_gap(clock, network):
    gaps = []
    network.serve(talking("one", then=cut_after), talking("two"))
    async with network.websocket(on_gap=gaps.append, gaps=True, policy=QUICK) as stream:
        got = [await stream.receive() for _ in range(3)]
        assert stream.stats.gaps == 1
    gap = moored.Gap(after=None, attempt=2, reason="no position is known")
    assert got == ["one", gap, "two"]
    assert gaps == [gap]


async def test_a_gap_says_after_what(clock, network):
    network.serve(talking(*numbered(7), then=cut_after), talking(*numbered(9)))
    async with network.websocket(cursor=number_of, gaps=True, policy=QUICK) as stream:
        got = [await stream.receive() for _ in range(3)]
    assert got[1] == moored.Gap(7, 2, "the server was not asked to resume")


async def test_gaps_are_no_items_unless_asked_for(clock, network):
    network.serve(talking("one", then=cut_after), talking("two"))
    async with network.websocket(policy=QUICK) as stream:
        assert [await stream.receive() for _ in range(2)] == ["one", "two"]
        assert stream.stats.gaps == 1


async def test_the_gap_hook_may_be_async(clock, clean):
    told = []

    async def on_gap(gap):
        await trio.sleep(1)
        told.append(gap.attempt)

    lines = Lines()
    async with lines.open(on_gap=on_gap, policy=QUICK) as stream:
        (await lines.line()).end()
        (await lines.line(2)).deliver("two")
        assert await stream.receive() == "two"
        assert told == []
        await trio.sleep(1.5)
        assert told == [2]


async def test_a_gap_hook_that_hangs_hides_nothing(clock, clean):
    lines = Lines()
    async with lines.open(on_gap=lambda gap: trio.sleep_forever(), policy=QUICK) as stream:
        (await lines.line()).end()
        (await lines.line(2)).end()
        (await lines.line(3)).deliver("three")
        assert await stream.receive() == "three"


async def test_a_resume_hook_that_asks_for_nothing_leaves_a_gap(clock, network):
    network.serve(talking("1", then=cut), talking("50"))
    options = {"cursor": int, "resume": lambda position: None, "gaps": True, "policy": QUICK}
    async with network.websocket(**options) as stream:
        assert await stream.receive() == "1"
        gap = await stream.receive()
        assert (gap.after, gap.reason) == (1, "the server was not asked to resume")
        assert await stream.receive() == "50"


async def test_attempts_that_never_opened_make_no_gap(clock, network):
    network.serve(OSError("refused"), refusing(503), talking("one"))
    async with network.websocket(gaps=True, policy=QUICK) as stream:
        assert await stream.receive() == "one"
        assert stream.stats.gaps == 0


# -------------------------------------------------------------------------------- SSE


def answering(ids, *events):
    """An SSE server that notes the Last-Event-ID it is given, sends, and is cut."""

    async def handler(peer):
        ids.append(peer.headers.get("last-event-id"))
        for event in events:
            await peer.say(event)

    return http(handler)


async def test_the_last_event_id_is_sent_on_every_attempt(clock, network):
    ids = []
    network.serve(
        answering(ids, "id: a\ndata: 1\n\n", "id: b\ndata: 2\n\n"),
        answering(ids),  # a second drop before any id: the position stays
        answering(ids, "data: 3\n\n", "id: c\n\n", "id: d\ndata: unfini"),
        answering(ids, "id:\ndata: 4\n\n"),
        answering(ids, "data: 5\n\n"),
    )
    async with network.sse(policy=reconnect(attempts=9)) as stream:
        got = [await stream.receive() for _ in range(5)]
    assert [(event.data, event.id) for event in got] == [
        ("1", "a"),
        ("2", "b"),
        ("3", "b"),
        ("4", ""),
        ("5", ""),
    ]
    # The id of a block without data counts; one whose block was cut does not; an empty one resets.
    assert ids == [None, "b", "b", "c", None]


async def test_it_begins_where_it_is_told(clock, network):
    ids = []
    network.serve(answering(ids, "id: 8\ndata: x\n\n"))
    async with network.sse(last_event_id="7") as stream:
        assert stream.position == "7"
        assert (await stream.receive()).id == "8"
        assert stream.position == "8"
    assert ids == ["7"]


async def test_the_same_id_with_other_content_is_no_repetition(clock, network):
    """Servers exist that give several events one id."""
    network.serve(
        answering([], "id: 1\ndata: a\n\n", "id: 1\ndata: b\n\n"),
        answering([], "id: 1\ndata: a\n\n", "id: 1\ndata: b\n\n", "id: 2\ndata: c\n\n"),
    )
    async with network.sse(policy=QUICK) as stream:
        assert [(await stream.receive()).data for _ in range(3)] == ["a", "b", "c"]
        assert stream.stats.duplicates_dropped == 2


async def test_events_without_ids_are_never_taken_for_repetitions(clock, network):
    network.serve(answering([], "id: 1\ndata: a\n\n", "data: tick\n\n", "data: tick\n\n"))
    async with network.sse(policy=QUICK) as stream:
        assert [(await stream.receive()).data for _ in range(3)] == ["a", "tick", "tick"]


@pytest.mark.parametrize(("event", "gaps"), [("id: 1\ndata: a\n\n", 0), ("data: a\n\n", 1)])
async def test_sse_without_ids_has_gaps(clock, network, event, gaps):
    network.serve(answering([], event), answering([], "data: b\n\n"))
    async with network.sse(policy=QUICK) as stream:
        assert [(await stream.receive()).data for _ in range(2)] == ["a", "b"]
        assert stream.stats.gaps == gaps


async def test_an_expired_position_is_told_as_such(clock, network):
    network.serve(answering([], "id: 41\ndata: a\n\n"), refusing(410))
    async with network.sse(policy=QUICK) as stream:
        await stream.receive()
        with pytest.raises(moored.ResumeLost) as caught:
            await stream.receive()
    assert caught.value.cursor == "41"
    assert caught.value.cause.status == 410
    assert len(network.dialled) == 2


async def test_410_without_a_position_is_a_plain_refusal(clock, network):
    network.serve(refusing(410))
    async with network.sse(policy=QUICK) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert type(caught.value) is moored.StreamError


async def test_an_event_over_the_limit_is_not_asked_for_for_ever(clock, network):
    """Resuming would bring the same event again: twice at one position is enough."""

    async def poison(stream):
        peer = HttpPeer(stream)
        await peer.request()
        await peer.answer()
        if "last-event-id" not in peer.headers:
            await peer.event("fine", id="1")
        await peer.event("x" * 200, id="2")

    network.serve(poison)
    policy = moored.Policy(max_message_bytes=100, reconnect=moored.Reconnect(attempts=None))
    async with network.sse(policy=policy) as stream:
        assert (await stream.receive()).data == "fine"
        with pytest.raises(moored.StreamError, match="same violation twice") as caught:
            await stream.receive()
    assert isinstance(caught.value.cause, moored.ProtocolViolation)
    assert len(network.dialled) == 2


async def test_a_lost_connection_does_not_cut_the_gap_hook_short(clock, clean):
    told = []

    async def on_gap(gap):
        told.append(("begin", gap.attempt))
        await trio.sleep(3)
        told.append(("end", gap.attempt))

    lines = Lines()
    async with lines.open(on_gap=on_gap, policy=QUICK) as stream:
        (await lines.line()).end()
        await lines.line(2)
        await trio.sleep(1)
        lines.lines[1].end()
        (await lines.line(3)).deliver("three")
        assert await stream.receive() == "three"
        await trio.sleep(7)
    assert told == [("begin", 2), ("end", 2), ("begin", 3), ("end", 3)]
