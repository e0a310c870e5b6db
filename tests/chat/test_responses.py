"""The events of the Responses API, read into events and an answer; no network."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored import chat
from moored.chat.responses import ResponseReader


def read(*bodies: Any):
    """The events, the answer and the progress; a body is an object, or an event's name and data."""
    answer = chat.Answer()
    reader = ResponseReader(answer)
    events: list[chat.ChatEvent] = []
    for body in bodies:
        name, data = body if isinstance(body, tuple) else (body["type"], json.dumps(body))
        reader.feed(name, data, events)
    return events, answer, reader.progress


def ev(kind: str, **fields: Any):
    return {"type": f"response.{kind}", **fields}


def text(piece: str, index: int = 0, part: int = 0):
    return ev("output_text.delta", output_index=index, content_index=part, delta=piece)


def message(*texts: str, **fields: Any):
    parts = [{"type": "output_text", "text": each, "annotations": []} for each in texts]
    return {"type": "message", "role": "assistant", "content": parts, **fields}


def item(kind: str, body: dict[str, Any], index: int = 0):
    return ev(f"output_item.{kind}", output_index=index, item=body)


def function(name: str, arguments: str, call_id: str, **fields: Any):
    call = {"name": name, "arguments": arguments, "call_id": call_id}
    return {"type": "function_call", **call, **fields}


def completed(*output: Any, **fields: Any):
    return ev("completed", response={"id": "r", "model": "m", "output": [*output], **fields})


def calls_of(answer: chat.Answer):
    return [(c.id, c.name, c.arguments) for c in answer.tool_calls]


def pieces(events: list[chat.ChatEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, chat.Text))


# ---------------------------------------------------------------------- what comes whole

WHOLES = [
    ev("output_text.done", output_index=0, content_index=0, text="Hello"),
    ev(
        "content_part.done",
        output_index=0,
        content_index=0,
        part={"type": "output_text", "text": "Hello"},
    ),
    item("done", message("Hello")),
    completed(message("Hello")),
]


@pytest.mark.parametrize("before", [[], ["Hel"], ["Hel", "lo"]])
@pytest.mark.parametrize("first", range(4))
def test_text_that_comes_whole_is_taken_once(before, first):
    events, answer, _ = read(*map(text, before), *WHOLES[first:])
    assert answer.text == pieces(events) == "Hello"
    assert answer.finish_reason == "stop"


def test_text_that_does_not_go_on_from_the_deltas_is_not_spliced():
    _, answer, _ = read(text("Hi"), *WHOLES)
    assert answer.text == "Hi"


def test_parts_and_items_are_told_apart():
    events, answer, _ = read(
        text("a", 0, 0),
        ev("output_text.done", output_index=0, content_index=1, text="b"),
        item("done", message("a", "b"), 0),
        item("done", message("b"), 1),
        completed(message("a", "b"), message("b"), message("c")),
    )
    assert answer.text == pieces(events) == "abbc"


def test_a_server_that_numbers_its_items_in_two_ways_does_not_double_the_text():
    _, answer, _ = read(
        text("Hello"),
        ev("output_text.done", text="Hello"),
        completed({"type": "reasoning", "summary": []}, message("Hello")),
    )
    assert answer.text == "Hello"


def test_items_are_known_by_their_ids_too():
    _, answer, _ = read(
        item("added", function("f", "", "a", id="i1"), 0),
        item("added", function("g", "", "b", id="i2"), 1),
        ev("function_call_arguments.delta", item_id="i1", delta='{"x"'),
        ev("function_call_arguments.delta", item_id="i2", delta="{}"),
        ev("function_call_arguments.delta", item_id="i1", delta=":1}"),
    )
    assert calls_of(answer) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_a_refusal_that_comes_whole_is_taken():
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    done = ev("refusal.done", output_index=0, content_index=0, refusal="No.")
    for events in ([done], [item("done", refusal)], [completed(refusal)]):
        made, answer, _ = read(*events, completed(refusal))
        assert answer.refusal == "No."
        assert made.count(chat.Refusal("No.")) == 1


def test_reasoning_that_comes_whole_is_taken_once():
    thought = {"summary": [{"type": "summary_text", "text": "So."}]}
    reasoning = {"type": "reasoning", **thought}
    delta = ev("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="So.")
    both = {**reasoning, "content": [{"type": "reasoning_text", "text": "So, so."}]}
    for events in ([delta], [item("done", reasoning)], [delta, item("done", both)]):
        _, answer, _ = read(*events, completed(reasoning))
        assert answer.reasoning == "So."


# ---------------------------------------------------------------------- calls

X, Y = '{"x": 1}', '{"y": 2}'


def arguments(kind: str, value: str, index: int = 0):
    field = "delta" if kind == "delta" else "arguments"
    return ev(f"function_call_arguments.{kind}", output_index=index, **{field: value})


CALLS = {
    "done": [item("added", function("f", "", "a")), arguments("done", X)],
    "done after some": [
        item("added", function("f", "", "a")),
        arguments("delta", X[:3]),
        arguments("done", X),
    ],
    "added": [item("added", function("f", X, "a"))],
    "added, and deltas that say it again": [
        item("added", function("f", X, "a")),
        arguments("delta", X[:3]),
        arguments("delta", X[3:]),
        arguments("done", X),
    ],
    "begun in added": [item("added", function("f", X[:2], "a")), arguments("delta", X[2:])],
    "item done": [item("done", function("f", X, "a"))],
    "deltas before anything": [arguments("delta", X), item("done", function("f", X, "a"))],
    "nothing": [],
}


@pytest.mark.parametrize("output", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_taken_once(name, output):
    if not (output or CALLS[name]):
        return
    call = function("f", X, "a")
    events, answer, _ = read(*CALLS[name], completed(*([call] if output else [])))
    assert calls_of(answer) == [("a", "f", X)]
    deltas = [e for e in events if isinstance(e, chat.ToolCallDelta)]
    assert "".join(e.arguments for e in deltas) == X
    assert [e.name for e in deltas if e.name] == ["f"]
    assert answer.tool_calls[0].complete
    assert answer.finish_reason == "tool_calls"


def test_calls_in_the_output_are_found_by_their_ids():
    _, answer, _ = read(
        item("added", function("f", "", "a"), 1),
        arguments("done", X, 1),
        completed(function("g", Y, "b"), function("f", X, "a")),
    )
    assert calls_of(answer) == [("a", "f", X), ("b", "g", Y)]


def test_two_calls_with_one_id_are_two():
    output = [function("f", X, "a"), function("g", Y, "a")]
    expected = [("a", "f", X), ("a", "g", Y)]
    assert calls_of(read(completed(*output))[1]) == expected
    items = [item("done", each, index) for index, each in enumerate(output)]
    assert calls_of(read(*items, completed(*output))[1]) == expected


def test_a_custom_tool_is_called():
    custom = {"type": "custom_tool_call", "name": "sh", "call_id": "a", "input": ""}
    begin = item("added", custom)
    delta = ev("custom_tool_call_input.delta", output_index=0, delta="ls")
    events, answer, progress = read(begin, delta)
    [made] = answer.tool_calls
    assert events == [chat.ToolCallDelta(0, "", "a", "sh"), chat.ToolCallDelta(0, "ls")]
    assert (made.type, made.arguments, made.complete, progress) == ("custom", "ls", False, 2)
    done = ev("custom_tool_call_input.done", output_index=0, input="ls -l")
    _, answer, _ = read(begin, delta, done, item("done", {**custom, "input": "ls -l"}))
    assert (answer.tool_calls[0].arguments, answer.tool_calls[0].complete) == ("ls -l", True)


def test_a_custom_call_that_was_cut_is_not_complete():
    custom = {"type": "custom_tool_call", "name": "sh", "call_id": "a", "input": "rm /tm"}
    incomplete = ev("incomplete", response={"output": [{**custom, "status": "incomplete"}]})
    _, answer, _ = read(item("added", custom), incomplete)
    assert not answer.tool_calls[0].complete


# ---------------------------------------------------------------------- merged equals whole


@st.composite
def streams(draw):
    """A response as one server or another streams it: some repeat everything, some say it once."""
    output: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    last = draw(st.integers(0, 2))
    for index in range(last + 1):
        row = []
        if draw(st.booleans()):
            made = json.dumps(draw(st.dictionaries(st.text(max_size=3), st.text(max_size=5))))
            body = function(draw(st.sampled_from("fg")), made, f"id{index}")
            if draw(st.booleans()):
                row.append(
                    item("added", {**body, "arguments": draw(st.sampled_from(["", made]))}, index)
                )
            upto = draw(st.integers(0, len(made))) if row else 0
            cut = draw(st.integers(0, upto))
            row += [arguments("delta", each, index) for each in (made[:cut], made[cut:upto]) if row]
            ends = [arguments("done", made, index)] if row else []
        else:
            whole = draw(st.text("ab\u00e9\U0001f600 ", max_size=8))
            body = message(whole)
            units = whole.encode("utf-16-le")
            cuts = [
                2 * each for each in draw(st.lists(st.integers(0, len(units) // 2), max_size=3))
            ]
            cuts = [0, *sorted(cuts)]
            for start, end in itertools.pairwise(cuts):
                row.append(text(units[start:end].decode("utf-16-le", "surrogatepass"), index))
            ends = [ev("output_text.done", output_index=index, content_index=0, text=whole)]
        ends.append(item("done", body, index))
        kept = [each for each in ends if draw(st.booleans())]
        if index < last and not kept:  # what a later item went past cannot be made good at the end
            kept = ends[-1:]
        events += [*row, *kept]
        output.append(body)
    return [*events, completed(*output, usage={"input_tokens": 1, "output_tokens": 2})], output


@given(streams())
def test_what_is_merged_equals_the_whole(case):
    stream, output = case
    events, answer, _ = read(*stream)
    texts = [part["text"] for each in output for part in each.get("content", [])]
    calls = [each for each in output if each["type"] == "function_call"]
    assert answer.text == pieces(events) == "".join(texts)
    assert calls_of(answer) == [(c["call_id"], c["name"], c["arguments"]) for c in calls]
    for place, call in enumerate(calls):
        deltas = [e for e in events if isinstance(e, chat.ToolCallDelta) and e.index == place]
        assert "".join(e.arguments for e in deltas) == call["arguments"]


# ---------------------------------------------------------------------- everything else


def test_half_a_character_is_joined():
    events, answer, _ = read(text("a\ud83d"), text("\ude00"), completed())
    assert answer.text == pieces(events) == "a\U0001f600"
    events, answer, _ = read(text("a\ud83d"), completed())
    assert answer.text == pieces(events) == "a\ufffd"
    done = ev("output_text.done", output_index=0, content_index=0, text="a\U0001f600")
    assert read(text("a\ud83d"), done, completed())[1].text == "a\U0001f600"


def test_halves_of_two_parts_do_not_meet():
    _, answer, _ = read(text("\ud83d", 0), text("\ud83e", 1), text("\ude00", 0), text("\udd16", 1))
    assert answer.text == "\U0001f600\U0001f916"


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (ev("audio.delta", delta="AA"), True),
        (ev("image_generation_call.partial_image", partial_image_b64="AA"), True),
        (ev("code_interpreter_call_code.delta", delta="1+"), True),
        (ev("mcp_call_arguments.delta", delta="{"), True),
        (ev("web_search_call.searching", item_id="w"), True),
        (item("added", {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}"}), True),
        (ev("output_text.annotation.added", annotation={"type": "url_citation"}), False),
        (ev("something.new", what=1), False),
    ],
)
def test_other_events_are_given_with_their_fields(body, content):
    events, answer, progress = read(body)
    assert events == [chat.Other(body)]
    assert answer.begun is content
    assert (progress == 1) is content


@pytest.mark.parametrize(
    "body",
    [
        ev("created", response={"id": "r"}),
        ev("in_progress", response={"id": "r"}),
        ev("content_part.added", part={"type": "output_text", "text": ""}),
        item("added", message()),
        {"type": "keepalive"},
        ("keepalive", ""),
        ("ping", "2024-01-01"),
        ("message", ""),
    ],
)
def test_what_says_nothing_gives_nothing(body):
    events, answer, progress = read(body)
    assert events == []
    assert not answer.begun
    assert progress == 0


def test_other_items_of_the_output_are_given_once():
    search = {"type": "web_search_call", "id": "w", "status": "completed"}
    image = {"type": "image_generation_call", "id": "g", "result": "AA"}
    events, answer, _ = read(item("done", search), completed(search, image))
    assert [e for e in events if isinstance(e, chat.Other)] == [
        chat.Other(item("done", search)),
        chat.Other({"output_index": 1, "item": image}),
    ]
    assert answer.choice(0).other_content == {"web_search_call", "image_generation_call"}


def test_the_end_is_told_once():
    events, _, _ = read(text("a"), completed(), completed())
    assert events.count(chat.Finished("stop")) == 1


@pytest.mark.parametrize(
    "body",
    [
        ev("output_item.done", item={"type": [], "id": {}}, output_index="x"),
        ev("output_item.added", item=3),
        ev("output_text.delta", delta={"a": 1}, content_index=[]),
        ev("output_text.done", text=None),
        ev("content_part.done", part={"type": {}}),
        ev("function_call_arguments.done", arguments=None, output_index=None),
        completed({"type": {}}, 3, message(), {"type": "message", "content": 3}),
        ev("completed", response={"output": {"a": 1}, "usage": []}),
    ],
)
def test_strange_shapes_break_nothing(body):
    read(body)


def test_what_is_malformed_is_still_refused():
    for event in (("message", "{oops"), ("response.output_text.delta", "{oops")):
        with pytest.raises(chat.MalformedChunk):
            read(event)
    with pytest.raises(chat.ProviderStreamError):
        read(("error", "boom"))


def test_a_failure_comes_after_what_came_before():
    answer, events = chat.Answer(), []
    reader = ResponseReader(answer)
    reader.feed("message", json.dumps(text("a")), events)
    failed = ev("failed", response={"error": {"message": "boom"}})
    with pytest.raises(chat.ProviderStreamError, match="boom"):
        reader.feed("message", json.dumps(failed), events)
    assert events == [chat.Text("a")]
