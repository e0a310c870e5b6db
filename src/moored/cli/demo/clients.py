"""The demo's streams: ordinary uses of Moored, whose every message and state is noted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

import moored
from moored.cli.demo.tally import count_pieces
from moored.cli.demo.track import Track
from moored.faults import Proxy
from moored.faults.counting import Count, count_numbers
from moored.faults.feed import END
from moored.faults.replies import DONE, ChatRequest, Reply

__all__ = ["Client", "client_for"]


class Client:
    """One stream: how to open it, what a message says, and what should have come.

    :param track: where it is noted.
    :param proxy: what it connects to.
    :param seed: decides the jitter of its backoff.
    """

    def __init__(self, track: Track, proxy: Proxy, seed: int) -> None:
        self.track = track
        self._part = track.part
        self._proxy = proxy
        self._rng = random.Random(f"{seed} {track.part.name}")
        self._stream: moored.Stream[Any] | None = None

    def open(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        """The stream."""
        raise NotImplementedError

    def content(self, message: Any) -> int | str | None:
        """What a message says, or ``None`` for one that is not to be counted."""
        raise NotImplementedError

    def count(self) -> Count:
        """Compare what came with what should have."""
        raise NotImplementedError

    async def run(self) -> None:
        """Follow the stream to its end."""
        async with self.open() as self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._note_transitions, self._stream)
            try:
                async for message in self._stream:
                    content = self.content(message)
                    if content is not None:
                        self.track.receive(content)
                error = ""
            except moored.MooredError as exc:
                error = str(exc)
            await self._stream.aclose()
            self.track.dropped = self._stream.stats.duplicates_dropped
            closed_by_us = isinstance(self._stream.cause, moored.ClosedByUs)
            self.track.end(error=error, closed_by_us=closed_by_us)

    async def stop(self) -> None:
        """Close the stream in order."""
        if self._stream is not None:
            await self._stream.aclose()

    async def _note_transitions(self, stream: moored.Stream[Any]) -> None:
        async for transition in stream.transitions():
            self.track.change(transition)


class FeedClient(Client):
    """The numbered feed."""

    @property
    def _query(self) -> str:
        return f"/feed?count={self._part.count}&pace={self._part.pace:g}"

    def count(self) -> Count:
        """By the numbers: 1 to the feed's count."""
        numbers = [int(number) for _, number in self.track.received]
        return count_numbers(range(1, self._part.count + 1), numbers)


class SseFeed(FeedClient):
    """The feed over SSE, resumed by ``Last-Event-ID``."""

    def open(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        """The stream."""
        url = self._proxy.http_url + self._query
        return moored.open_sse(url, policy=self._part.policy, terminator=END, rng=self._rng)

    def content(self, message: moored.ServerSentEvent) -> int:
        """The number."""
        return int(json.loads(message.data)["id"])


class WebSocketFeed(FeedClient):
    """The feed over WebSocket, resumed by a message."""

    def open(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        """The stream."""
        return moored.open_websocket(
            self._proxy.ws_url + self._query,
            policy=self._part.policy,
            cursor=self.content,
            resume=lambda number: json.dumps({"resume": number}),
            rng=self._rng,
        )

    def content(self, message: str | bytes) -> int | None:
        """The number; the message at the end has none."""
        number: int | None = json.loads(message).get("id")
        return number


class Chat(Client):
    """A chat completion over SSE by POST, as OpenAI has it."""

    def _request(self) -> dict[str, Any]:
        question = "How does a boat stay at its place through the night?"
        return {
            "model": "mock",
            "stream": True,
            "messages": [{"role": "user", "content": question}],
        }

    def open(self) -> AbstractAsyncContextManager[moored.Stream[Any]]:
        """The stream."""
        return moored.open_sse(
            self._proxy.http_url + "/v1/chat/completions",
            json=self._request(),
            policy=self._part.policy,
            terminator=DONE,
            rng=self._rng,
        )

    def content(self, message: moored.ServerSentEvent) -> str | None:
        """The piece of text; the chunks with the role and the finish reason have none."""
        text: str = json.loads(message.data)["choices"][0]["delta"].get("content", "")
        return text or None

    def count(self) -> Count:
        """By the text: the same question always gets the same answer."""
        pieces = [str(piece) for _, piece in self.track.received]
        return count_pieces(self.expected_pieces(), pieces)

    def expected_pieces(self) -> tuple[str, ...]:
        """The whole answer."""
        return Reply(ChatRequest.parse(json.dumps(self._request()))).tokens


_CLIENTS: dict[str, Callable[[Track, Proxy, int], Client]] = {
    "SSE": SseFeed,
    "WebSocket": WebSocketFeed,
    "SSE POST": Chat,
}


def client_for(track: Track, proxy: Proxy, seed: int) -> Client:
    """The client that plays ``track``'s part."""
    client = _CLIENTS[track.part.kind](track, proxy, seed)
    track.expected = client.count().expected
    return client
