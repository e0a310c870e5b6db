"""The events of OpenAI's Responses API, read into the same events as chunks are.  No I/O.

The names are those of the API reference, "Streaming events".  The same text may come up to five
times: in deltas, when it is done, when its part and its item are done, and in the response at the
end.  Servers leave out any of these, so each gives what had not come before it.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs

from .answer import Answer, ToolCall
from .chunks import not_resumed, provider_error
from .errors import MalformedChunk, ProviderStreamError
from .events import ChatEvent, Finished, Other, ToolCallDelta, UsageReported
from .pieces import Pieces, repaired
from .response_types import (
    CALL_DELTAS,
    CALL_ENDS,
    CALLS,
    PART_DELTAS,
    PART_ENDS,
    PARTS,
    SILENT,
    WHOLE_PARTS,
    as_list,
    as_text,
    finish_reason_of,
    is_known_part,
    rest_of,
)
from .usage import Usage

__all__ = ["ResponseReader"]

Where = int | str
"""Which item of the output: its place, or its id where a server does not give the place."""


@attrs.define
class _Part:
    """A part of an item, as far as it came.  The pieces are those that the answer holds."""

    type: str
    number: int
    pieces: list[str] = attrs.field(factory=list)


@attrs.define
class _Call:
    """A call, and how much of arguments that came whole at its beginning was sent once more."""

    place: int
    repeated: int | None = None


class ResponseReader:
    """Reads one response's events.

    :param answer: what to put them into.
    :param malformed: what to do with an event that is no JSON object.
    """

    def __init__(self, answer: Answer, *, malformed: Literal["raise", "skip"] = "raise") -> None:
        self.answer: Answer = answer
        self._malformed = malformed
        self._sequence: int | None = None
        self._resuming = False
        self._pieces = Pieces(answer)
        self._parts: dict[tuple[str, Where, int], _Part] = {}
        self._calls: dict[Where, _Call] = {}
        self._places: dict[str, int] = {}  # of items, by their ids
        self._others: set[Where] = set()  # items that were given as ``Other``
        self._latest: Where = 0
        #: Counts what is content.
        self.progress: int = 0

    def resume(self) -> None:
        """What follows comes from another connection, which was asked to go on."""
        self._resuming = True

    @property
    def cursor(self) -> int | None:
        """The last sequence number, for ``starting_after``."""
        return self._sequence

    def feed(self, event: str, data: str, events: list[ChatEvent]) -> None:
        """Read one event.

        :param event: its name.
        :param data: its data.
        :param events: what comes of it is put here, before anything is raised.
        :raises ProviderStreamError: when it is an error.
        :raises MalformedChunk: when it is no JSON object, and no keep-alive either.
        :raises NotResumed: after :meth:`resume`, when events are missing.
        """
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            self._refuse(event, data, body)
            return
        number = body.get("sequence_number")
        if self._resuming:
            self._check_continuity(number, body.get("response"))
        if isinstance(number, int):
            if self._sequence is not None and number <= self._sequence:
                return  # a repetition, after resuming
            self._sequence = number
        kind = body.get("type")
        if kind == "error" or event == "error" or "error" in body:
            error = provider_error(body) or (body if event == "error" else None)
            if error is not None:
                raise ProviderStreamError(error, self.answer)
        self._take(kind if isinstance(kind, str) else event, body, events)

    def _check_continuity(self, number: Any, response: Any) -> None:
        """Nothing may be missing between the cursor and the first event after it."""
        if isinstance(response, dict) and response.get("id") not in (self.answer.id, None):
            raise not_resumed(self.answer, "it began another response")
        if not isinstance(number, int) or self._sequence is None:
            raise not_resumed(self.answer, "its events have no sequence numbers")
        if number > self._sequence + 1:
            missing = f"events {self._sequence + 1} to {number - 1} are missing"
            raise not_resumed(self.answer, missing)
        self._resuming = number <= self._sequence  # a repetition proves nothing yet

    def _refuse(self, event: str, data: str, body: Any) -> None:
        if event == "error":
            raise ProviderStreamError(data if body is None else body, self.answer)
        text = data.strip()
        named = event != "message" and not event.startswith("response.")
        if not text or text == "[DONE]" or named:
            return
        if self._malformed == "raise":
            raise MalformedChunk(data, self.answer)
        self.answer.malformed_chunks += 1

    def _take(self, kind: str, body: dict[str, Any], events: list[ChatEvent]) -> None:
        if kind in PART_DELTAS:
            delta = body.get("delta")
            if isinstance(delta, str) and delta:
                self._piece(self._part(PART_DELTAS[kind], body), delta, events)
            if body.get("logprobs"):
                events.append(Other({"logprobs": body["logprobs"]}))
        elif kind in PART_ENDS:
            part = PART_ENDS[kind]
            self._whole(self._part(part, body), body.get(PARTS[part][1]), events)
        elif kind in CALL_DELTAS:
            call = self._call(CALL_DELTAS[kind], self._where(body), {}, events)
            self._arguments(call, body.get("delta"), events)
        elif kind in CALL_ENDS:
            item = CALL_ENDS[kind]
            call = self._call(item, self._where(body), {}, events)
            self._whole_arguments(call, body.get(CALLS[item][1]), events)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(kind, body, events)
        elif kind in WHOLE_PARTS and is_known_part(body.get("part")):
            part = body["part"]
            self._whole(self._part(part["type"], body), part.get(PARTS[part["type"]][1]), events)
        elif isinstance(body.get("response"), dict):
            self._response(kind, body["response"], events)
        elif kind.startswith("response.") and kind not in SILENT:
            # Annotations are about the text; whatever else makes a tool of the server's run, or
            # comes in deltas, would be had twice if the request were repeated.
            content = kind.endswith((".delta", ".done")) or "_call" in kind
            self._other({"type": kind, **body}, kind if content else None, events)

    # ------------------------------------------------------------------ parts

    def _where(self, body: dict[str, Any]) -> Where:
        """Which item an event is about."""
        index, item = body.get("output_index"), body.get("item")
        id = item.get("id") if isinstance(item, dict) else body.get("item_id")
        if isinstance(index, int):
            if isinstance(id, str) and id not in self._places:
                self._places[id] = index
            self._latest = index
        elif isinstance(id, str) and id:
            self._latest = self._places.get(id, id)
        return self._latest

    def _part(self, type: str, body: dict[str, Any]) -> _Part:
        """The part that an event is about."""
        index = body.get("summary_index" if type == "summary_text" else "content_index")
        return self._part_at(type, self._where(body), index if isinstance(index, int) else 0)

    def _part_at(self, type: str, where: Where, index: int) -> _Part:
        key = (type, where, index)
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = _Part(type, len(self._parts))
        return found

    def _piece(self, part: _Part, piece: str, events: list[ChatEvent]) -> None:
        self.progress += 1
        kind = PARTS[part.type][0]
        piece = self._pieces.join(kind, piece, place=part.number)
        if piece:
            part.pieces.append(piece)
            self._pieces.put(kind, piece, events)

    def _whole(self, part: _Part, whole: Any, events: list[ChatEvent]) -> None:
        """A part came whole: give what had not come of it.  Text that does not go on from what had
        come is not spliced to it."""
        if not isinstance(whole, str):
            return
        self._pieces.forget(PARTS[part.type][0], part.number)
        had = "".join(part.pieces)
        rest = rest_of(repaired(whole), had)
        part.pieces[:] = [had]
        if rest:
            self._piece(part, rest, events)

    # ------------------------------------------------------------------ calls

    def _call(
        self, type: str, where: Where, item: dict[str, Any], events: list[ChatEvent]
    ) -> _Call:
        """The call at a place of the output, which begins with this if it had not."""
        choice = self.answer.choice(0)
        id, name = str(item.get("call_id") or ""), str(item.get("name") or "")
        call = self._calls.get(where)
        if call is None:
            call = self._calls[where] = _Call(len(choice.tool_calls))
            choice.tool_calls.append(ToolCall(type=CALLS[type][0]))
            new = bool(item)
        else:
            new = False
        known = choice.tool_calls[call.place]
        if new or (id and not known.id) or (name and not known.name):
            known.id, known.name = known.id or id, known.name or name
            events.append(ToolCallDelta(call.place, "", id or None, name or None))
            self.progress += 1
        return call

    def _arguments(self, call: _Call, piece: Any, events: list[ChatEvent]) -> None:
        if not isinstance(piece, str) or not piece:
            return
        self.progress += 1
        if call.repeated is not None:  # a whole JSON value cannot go on: this is the same again
            if self._known(call).arguments.startswith(piece, call.repeated):
                call.repeated += len(piece)
                return
            call.repeated = None
        self._pieces.add("arguments", piece, events, place=call.place)

    def _whole_arguments(
        self, call: _Call, whole: Any, events: list[ChatEvent], *, status: object = None
    ) -> None:
        self._pieces.forget("arguments", call.place)
        call.repeated = None
        self._arguments(call, rest_of(as_text(whole), self._known(call).arguments), events)
        self._known(call).ended = status != "incomplete"

    def _known(self, call: _Call) -> ToolCall:
        return self.answer.choice(0).tool_calls[call.place]

    # ------------------------------------------------------------------ items

    def _item(self, kind: str, body: dict[str, Any], events: list[ChatEvent]) -> None:
        item, where = body.get("item"), self._where(body)
        if not isinstance(item, dict):
            return
        type, done = as_text(item.get("type")), kind.endswith("done")
        if type in CALLS:
            call = self._call(type, where, item, events)
            arguments = item.get(CALLS[type][1])
            if done:
                self._whole_arguments(call, arguments, events, status=item.get("status"))
            elif arguments:
                self._arguments(call, as_text(arguments), events)
                known = self._known(call)
                if known.type == "function" and known.complete:
                    call.repeated = 0
        elif type in ("message", "reasoning"):
            if done:
                for part, index, text in self._texts(item, where):
                    self._whole(self._part_at(part, where, index), text, events)
        else:
            self._others.add(where)
            self._other({"type": kind, **body}, type, events)

    def _texts(self, item: dict[str, Any], where: Where) -> list[tuple[str, int, Any]]:
        """The texts of a whole item: their type, index and text.

        Of reasoning there is the summary, or all of it; one of them is enough.
        """
        names = ["content"]
        if item.get("type") == "reasoning":
            summarized = any(key[:2] == ("summary_text", where) for key in self._parts)
            names = ["summary"] if summarized or not item.get("content") else ["content"]
        return [
            (part["type"], index, part.get(PARTS[part["type"]][1]))
            for name in names
            for index, part in enumerate(as_list(item.get(name)))
            if is_known_part(part)
        ]

    def _other(self, fields: dict[str, Any], content: str | None, events: list[ChatEvent]) -> None:
        """Something that no other event carries.

        :param content: what to call it if it is content.
        """
        if content is not None:
            self.answer.choice(0).other_content.add(content)
            self.progress += 1
        events.append(Other(fields))

    # ------------------------------------------------------------------ the response as a whole

    def _response(self, kind: str, response: dict[str, Any], events: list[ChatEvent]) -> None:
        answer = self.answer
        answer.id = answer.id or str(response.get("id") or "")
        answer.model = answer.model or str(response.get("model") or "")
        if kind == "response.failed":
            raise ProviderStreamError(response.get("error") or response, answer)
        if kind not in ("response.completed", "response.incomplete"):
            return
        self._output(as_list(response.get("output")), events)
        self._pieces.end(events)
        if (usage := Usage.parse(response.get("usage"))) is not None:
            answer.usage = usage
            events.append(UsageReported(usage))
        choice = answer.choice(0)
        reason = finish_reason_of(kind, response, bool(choice.tool_calls))
        answer.done = True
        if reason != choice.finish_reason:
            choice.finish_reason = reason
            events.append(Finished(reason))
            self.progress += 1

    def _output(self, output: list[Any], events: list[ChatEvent]) -> None:
        """The whole output: give what nothing else brought.

        Servers number its items otherwise than in their events: texts are compared all together,
        and calls by their ids.
        """
        items = [(n, item) for n, item in enumerate(output) if isinstance(item, dict)]
        texts: dict[str, list[str]] = {}
        for where, item in items:
            for part, _, text in self._texts(item, where):
                texts.setdefault(part, []).append(as_text(text))
        for type, pieces in texts.items():
            kind = PARTS[type][0]
            parts = [part for part in self._parts.values() if PARTS[part.type][0] == kind]
            had = "".join(piece for part in parts for piece in part.pieces)
            self._pieces.forget(kind)
            if rest := rest_of(repaired("".join(pieces)), had):
                self._piece(self._part_at(type, "response", 0), rest, events)
        claimed: set[int] = set()
        for where, item in items:
            type = as_text(item.get("type"))
            if type in CALLS:
                call = self._call_in_output(type, where, item, claimed, events)
                claimed.add(call.place)
                arguments = item.get(CALLS[type][1])
                self._whole_arguments(call, arguments, events, status=item.get("status"))
            elif type not in ("message", "reasoning"):
                id = str(item.get("id"))
                known = {where, id, self._places.get(id)}
                if not known & self._others:
                    self._other({"output_index": where, "item": item}, type, events)

    def _call_in_output(
        self,
        type: str,
        where: int,
        item: dict[str, Any],
        claimed: set[int],
        events: list[ChatEvent],
    ) -> _Call:
        at_place = self._calls.get(where)
        candidates = [*([at_place] if at_place is not None else []), *self._calls.values()]
        for call in candidates:
            known = self._known(call)
            same = known.id == str(item.get("call_id") or "") if known.id else call is at_place
            if same and call.place not in claimed:
                return call
        unused: Where = where if at_place is None else f"response {where}"
        return self._call(type, unused, item, events)
