"""One HTTP request and its answer, passed between a client and the upstream as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import trio

from moored.faults import heads
from moored.faults.catalogue.http import ContentType, GzipCut
from moored.faults.catalogue.websocket import WrongAccept
from moored.faults.duplex import Duplex, Ending, UpstreamReset
from moored.faults.framing import AsIs, Chunked, Framing, Gzipped
from moored.faults.message_formats import EventFormat, PieceFormat
from moored.faults.scanners import EventScanner, PlainScanner
from moored.faults.websocket_relay import relay_websocket

if TYPE_CHECKING:
    from moored.faults.link import Link

__all__ = ["HttpRelay"]

_MAX_HEAD_BYTES = 64 * 1024
_MAX_EARLY_BYTES = 64 * 1024
_WITHOUT_BODY = (204, 304)


class HttpRelay:
    """Serves the one request of a connection.  The link decides about faults."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._wires = link.wires
        self._client = self._new_client()
        self._received = bytearray()  # of the client, before its request passes
        self._server = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._duplex = Duplex()
        self._head_only = False
        self._framing: Framing = AsIs()
        self._delimited = False
        self._answering = False
        self._switched = False
        self._early = b""  # what the client sent behind its request for a WebSocket

    @staticmethod
    def _new_client() -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)

    async def run(self) -> Ending:
        """Serve it.

        :raises ClientLeft: when the client left before there was an upstream.
        """
        request = await self._read_request()
        if isinstance(request, Ending):
            return request
        upgrade, path = heads.is_upgrade(request), heads.path_of(request)
        if self._link.requested(path, bytes(self._received), websocket=upgrade):
            self._client = self._new_client()
            request = await self._read_request()
            if isinstance(request, Ending):
                return request
            upgrade = heads.is_upgrade(request)
        self._received = bytearray()
        refusal = self._link.refusal()
        if refusal is not None:
            await self._wires.to_client(
                heads.refusal_answer(
                    refusal, with_body=not self._head_only, now=self._link.wall_clock()
                )
            )
            return Ending("refused")
        await self._link.reach("after_request")
        try:
            await self._link.open_upstream()
        except (OSError, trio.BrokenResourceError) as exc:
            reason = exc.__cause__ if isinstance(exc, trio.BrokenResourceError) else exc
            text = f"upstream unreachable: {reason}"
            return await self._answer(502, text, "upstream unreachable")
        ending = await self._exchange(request, upgrade=upgrade)
        if self._switched:
            trailing = self._server.trailing_data[0]
            return await relay_websocket(self._link, self._early, trailing)
        if ending.outcome == "bad upstream":
            return await self._answer(502, "bad upstream: not HTTP", "bad upstream")
        return ending

    async def _read_request(self) -> h11.Request | Ending:
        """The head of the request, or how it ends without one that could be passed on."""
        try:
            request = await self._read_head()
        except h11.RemoteProtocolError as exc:
            return await self._answer(exc.error_status_hint, f"bad request: {exc}", "bad request")
        if request is None:
            return Ending("client left")
        self._head_only = request.method == b"HEAD"
        if request.method == b"CONNECT":
            return await self._answer(501, "CONNECT makes no sense to this proxy", "bad request")
        return request

    async def _read_head(self) -> h11.Request | None:
        while (event := self._client.next_event()) is h11.NEED_DATA:
            data = await self._wires.from_client()
            self._received += data
            self._client.receive_data(data)
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, status: int, text: str, outcome: str) -> Ending:
        self._link.answered(status)
        with_body = not self._head_only
        await self._wires.to_client(heads.plain_answer(status, text, with_body=with_body))
        return Ending(outcome)

    async def _exchange(self, request: h11.Request, *, upgrade: bool) -> Ending:
        # A body that is compressed has no messages that could be counted.
        aim = self._link.aim
        head = heads.forwarded_request(
            request,
            self._link.authority,
            readable=aim.counts_messages and not upgrade,
            without_extensions=aim.reads_messages and upgrade,
        )
        await self._wires.to_upstream(self._server.send(head))
        modern = request.http_version != b"1.0"
        return await self._duplex.run(
            lambda: self._pass_request(upgrade=upgrade), lambda: self._pass_answer(modern=modern)
        )

    # From the client.

    async def _pass_request(self, *, upgrade: bool) -> None:
        """Pass the body on, then watch whether the client stays."""
        try:
            await self._pass_body()
        except h11.RemoteProtocolError:
            self._duplex.end("client left")
            return
        if upgrade:
            self._early = self._client.trailing_data[0]
        while data := await self._wires.from_client():
            self._duplex.refresh()
            if upgrade:
                self._early += data
                if len(self._early) > _MAX_EARLY_BYTES:
                    await trio.sleep_forever()  # until the upstream answers
        # The client will send no more.  Whether it still wants its answer is for the upstream to
        # judge, so it is told just what we were told: after what the client sent early, which waits
        # for a WebSocket to take it.
        if (upgrade and self._early) or await self._wires.end_upstream():
            self._duplex.half_close("client left")
        else:
            self._duplex.end("client left")

    async def _pass_body(self) -> None:
        continued = False
        link = self._link
        link.to_server.begin(framing=_RequestBody(self._server))
        watched = link.controlled or link.aim.to_server.has_faults
        if watched:
            await link.meet(link.aim.to_server.begin(PlainScanner(), "http"))
        while True:
            event = self._client.next_event()
            if event is h11.NEED_DATA:
                if self._client.they_are_waiting_for_100_continue and not continued:
                    continued = True
                    await self._wires.to_client(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._client.receive_data(await self._wires.from_client())
            elif isinstance(event, h11.Data) and watched:
                await link.to_server.pass_on(bytes(event.data))
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                await self._wires.to_upstream(self._server.send(event))
                if isinstance(event, h11.EndOfMessage):
                    return

    # From the upstream.

    async def _pass_answer(self, *, modern: bool) -> None:
        """Pass the answer on to its end, or until the upstream switches to WebSocket."""
        try:
            while not await self._pass_event(self._server.next_event(), modern=modern):
                pass
        except UpstreamReset:
            await self._link.to_client.flush()
            raise
        except h11.RemoteProtocolError:
            await self._link.to_client.flush()
            # Inside the body it is an answer without its end, and the client gets it so.
            self._duplex.end("upstream left" if self._answering else "bad upstream")

    async def _pass_event(self, event: object, *, modern: bool) -> bool:
        """Pass on what the upstream said; true when that was the last."""
        if event is h11.NEED_DATA:
            self._server.receive_data(await self._wires.from_upstream())
            self._duplex.refresh()
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                await self._link.pass_head(heads.response_head(event, changes=self._accept()))
                self._switched = True
                self._duplex.end("switched")
                return True
            # 100 is between us and the upstream, and HTTP/1.0 knows no other.
            if modern and event.status_code != 100:
                await self._wires.to_client(heads.response_head(event))
        elif isinstance(event, h11.Response):
            await self._begin(event, modern=modern)
        elif isinstance(event, h11.Data):
            await self._link.to_client.pass_on(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            await self._end(heads.header_lines(event.headers))
            self._duplex.end("complete", after_all=self._delimited)
            return True
        else:
            await self._link.to_client.flush()
            self._duplex.end("upstream left")
            return True
        return False

    def _accept(self) -> dict[bytes, bytes]:
        """What changes in the head of the handshake."""
        fault = self._link.aim.first(WrongAccept)
        if fault is None:
            return {}
        self._link.inject(fault, fault.accept or "no header")
        return {b"sec-websocket-accept": fault.accept.encode("ascii")}

    async def _begin(self, response: h11.Response, *, modern: bool) -> None:
        link, status = self._link, response.status_code
        has_body = not self._head_only and status not in _WITHOUT_BODY
        coding = heads.header(response, b"transfer-encoding").lower()
        chunked = has_body and modern and coding == b"chunked"
        # Without a length the body ends with the connection, so its end proves nothing.
        length = heads.header(response, b"content-length")
        self._delimited = not has_body or coding == b"chunked" or length != b""
        self._answering = True
        media_type = heads.header(response, b"content-type").split(b";")[0].strip().lower()
        events = media_type == b"text/event-stream"
        plain = heads.header(response, b"content-encoding").lower() in (b"", b"identity")
        changes: dict[bytes, bytes] = {}
        gzip = has_body and plain and link.aim.has(GzipCut)
        if has_body and plain and length and (gzip or (events and link.aim.resizes)):
            # Its length will not be what it was.
            changes[b"content-length"] = b""
            chunked = modern
            if chunked:
                changes[b"transfer-encoding"] = b"chunked"
        if gzip:
            changes[b"content-encoding"] = b"gzip"
        changes |= self._content_type()
        head = heads.response_head(response, chunked_understood=modern, changes=changes)
        await link.pass_head(head)
        link.answered(status, "sse" if events else "http")
        self._framing = Chunked() if chunked else self._framing
        self._framing = Gzipped(self._framing) if gzip else self._framing
        form = EventFormat() if events else PieceFormat()
        editing = link.edits("to_client", form, chunked=chunked) if plain else None
        link.to_client.begin(framing=self._framing, editing=editing)
        await link.meet(link.aim.begin(EventScanner() if events and plain else PlainScanner()))

    def _content_type(self) -> dict[bytes, bytes]:
        fault = self._link.aim.first(ContentType)
        if fault is None:
            return {}
        self._link.inject(fault, fault.content_type or "no header")
        return {b"content-type": fault.content_type.encode("ascii")}

    async def _end(self, trailers: bytes) -> None:
        """The end of the body."""
        link, framing = self._link, self._framing
        await link.to_client.flush()
        fault = None
        if isinstance(framing, Gzipped):
            fault = link.aim.first(GzipCut, lambda fault: fault.message is None)
        if fault is not None:
            link.inject(fault, f"after {link.aim.bytes} bytes")
        if end := (framing.cut if fault is not None else framing.end)(trailers):
            await self._wires.to_client(end)


class _RequestBody(AsIs):
    """The body of a request, with the framing that it has."""

    def __init__(self, connection: h11.Connection) -> None:
        self._connection = connection

    def wrap(self, data: bytes) -> bytes:
        """As h11 frames it."""
        return self._connection.send(h11.Data(data=data)) or b""
