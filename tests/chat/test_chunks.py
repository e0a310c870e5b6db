"""Chunks, read into events and an answer: what providers make of the format, and no network."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored import chat
from moored.chat.chunks import ChunkReader


def read(*chunks: Any, malformed: Any = "raise", answer: chat.Answer | None = None):
    """The events and the answer; a chunk is an object, or an event's name and data."""
    answer = answer or chat.Answer()
    reader = ChunkReader(answer, malformed=malformed)
    events: list[chat.ChatEvent] = []
    for chunk in chunks:
        name, data = chunk if isinstance(chunk, tuple) else ("message", chunk)
        reader.feed(name, data if isinstance(data, str) else json.dumps(data), events)
    return events, answer, reader.progress


def of(choice: int = 0, finish: str | None = None, extra: Any = None, **delta: Any):
    body = {"index": choice, "delta": delta, "finish_reason": finish, **(extra or {})}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [body]}


def call(index=None, id=None, name=None, arguments=None):
    """A fragment of a tool call, with the fields that are given."""
    function = {"name": name, "arguments": arguments}
    body = {"index": index, "id": id, "type": "function"}
    return {
        **{k: v for k, v in body.items() if v is not None},
        "function": {k: v for k, v in function.items() if v is not None},
    }


def calls_of(answer: chat.Answer, choice: int = 0):
    return [(c.id, c.name, c.arguments) for c in answer.choice(choice).tool_calls]


# ---------------------------------------------------------------------- tool calls


X, Y = '{"x":1}', '{"y":2}'

MERGES = {
    "no index, empty ids": (
        [call(None, "", "f", X), call(None, "", "g", Y)],
        [("", "f", X), ("", "g", Y)],
    ),
    "no index, no ids": (
        [call(None, None, "f", X), call(None, None, "g", Y)],
        [("", "f", X), ("", "g", Y)],
    ),
    "no index, one tool twice": (
        [call(None, "", "f", X), call(None, "", "f", Y)],
        [("", "f", X), ("", "f", Y)],
    ),
    "every index 0, empty ids": (
        [call(0, "", "f", X), call(0, "", "g", Y)],
        [("", "f", X), ("", "g", Y)],
    ),
    "every index 0, one tool twice": (
        [call(0, "", "f", X), call(0, "", "f", Y)],
        [("", "f", X), ("", "f", Y)],
    ),
    "every index 0, ids": (
        [call(0, "a", "f", X), call(0, "b", "g", Y)],
        [("a", "f", X), ("b", "g", Y)],
    ),
    "two indices, one id": (
        [call(0, "a", "f", ""), call(1, "a", "g", ""), call(0, arguments=X), call(1, arguments=Y)],
        [("a", "f", X), ("a", "g", Y)],
    ),
    "no index at first": (
        [call(None, "a", "f", '{"x"'), call(0, "a", None, ":1}")],
        [("a", "f", X)],
    ),
    "the name in each fragment": (
        [call(0, "", "f", '{"x"'), call(0, "", "f", ":1"), call(0, "", "f", "}")],
        [("", "f", X)],
    ),
    "the name once more, and nothing else": (
        [call(0, "", "f", X), call(0, "", "f", "")],
        [("", "f", X)],
    ),
    "another id in each fragment": (
        [call(0, "a", "f", ""), call(0, "b", None, X)],
        [("a", "f", X)],
    ),
    "by id": (
        [call(None, "a", "f", '{"x"'), call(None, "b", "g", Y), call(None, "a", None, ":1}")],
        [("a", "f", X), ("b", "g", Y)],
    ),
    "a name at a known index": (
        [call(0, "a", "get_", ""), call(0, None, "weather", X)],
        [("a", "get_", X)],
    ),
}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("name", MERGES)
def test_fragments_of_calls_are_merged(name, together):
    fragments, expected = MERGES[name]
    groups = [fragments] if together else [[each] for each in fragments]
    events, answer, _ = read(*(of(tool_calls=group) for group in groups))
    assert calls_of(answer) == expected
    assert [e.arguments for e in events] == [
        each["function"].get("arguments", "") for each in fragments
    ]


def test_a_custom_tool_is_called():
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    more = {"index": 0, "custom": {"input": " -l"}}
    _, answer, _ = read(of(tool_calls=[custom]), of(tool_calls=[more]))
    [made] = answer.tool_calls
    assert (made.type, made.name, made.arguments, made.complete) == ("custom", "sh", "ls -l", False)
    _, answer, _ = read(of(finish="tool_calls"), answer=answer)
    assert made.complete
    assert made.message() == {
        "id": "a",
        "type": "custom",
        "custom": {"name": "sh", "input": "ls -l"},
    }


def test_a_custom_call_that_was_cut_is_not_complete():
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sh", "input": "rm /tm"}}
    _, answer, _ = read(of(tool_calls=[custom]), of(finish="length"), "[DONE]")
    assert not answer.tool_calls[0].complete


arguments = st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=3)


@st.composite
def interleaved(draw):
    """Calls and texts of several choices, split anywhere, and mixed; each in its own order."""
    style = draw(st.sampled_from(["indices", "no indices"]))
    rows: list[list[dict[str, Any]]] = []
    whole: dict[int, Any] = {}
    for choice in range(draw(st.integers(1, 3))):
        text = draw(st.text(max_size=12))
        cuts = [0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=4))), len(text)]
        pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
        row = [of(choice, content=piece) for piece in pieces]
        calls = []
        for number in range(draw(st.integers(0, 3))):
            made = json.dumps(draw(arguments), ensure_ascii=draw(st.booleans()))
            calls.append((f"id{number}", draw(st.sampled_from("fg")), made))
            cut = draw(st.integers(0, len(made)))
            index = number if style == "indices" else None
            row.append(of(choice, tool_calls=[call(index, *calls[-1][:2], made[:cut])]))
            row.append(of(choice, tool_calls=[call(index, arguments=made[cut:])]))
        whole[choice] = (text, calls)
        rows.append([*row, of(choice, finish="stop")])
    chunks = []
    while any(rows):
        row = draw(st.sampled_from([row for row in rows if row]))
        chunks.append(row.pop(0))
    return chunks, whole


@given(interleaved())
def test_what_is_merged_equals_the_whole(case):
    chunks, whole = case
    events, answer, _ = read(*chunks, "[DONE]")
    for choice, (text, calls) in whole.items():
        assert answer.choice(choice).text == text
        assert calls_of(answer, choice) == calls
        given_ = [e for e in events if isinstance(e, chat.Text) and e.choice == choice]
        assert "".join(e.text for e in given_) == text
        deltas = [e for e in events if isinstance(e, chat.ToolCallDelta) and e.choice == choice]
        for place, (_, _, arguments) in enumerate(calls):
            assert "".join(e.arguments for e in deltas if e.index == place) == arguments
    assert answer.finished(len(whole))


# ---------------------------------------------------------------------- characters cut in half


def test_a_character_cut_in_half_is_joined():
    events, answer, progress = read(of(content="a\ud83d"), of(content="\ude00b"))
    assert [e.text for e in events] == ["a", "\U0001f600b"]
    assert answer.text == "a\U0001f600b"
    assert progress == 2


def test_halves_of_one_choice_do_not_meet_those_of_another():
    chunks = [of(0, content="\ud83d"), of(1, content="\ud83e"), of(0, content="\ude00")]
    events, answer, _ = read(*chunks, of(1, content="\udd16"))
    assert (answer.choice(0).text, answer.choice(1).text) == ("\U0001f600", "\U0001f916")
    assert events == [chat.Text("\U0001f600", 0), chat.Text("\U0001f916", 1)]


@pytest.mark.parametrize("end", [of(finish="stop"), "[DONE]"])
def test_half_a_character_alone_is_replaced_at_the_end(end):
    events, answer, _ = read(of(content="a\ud83d"), of(reasoning="\ud83d"), end)
    assert answer.text == "a\ufffd"
    assert answer.reasoning == "\ufffd"
    assert chat.Text("\ufffd") in events


def test_half_a_character_is_joined_in_a_tools_arguments():
    chunks = [call(0, "a", "f", '{"x":"\ud83d'), call(0, arguments='\ude00"}')]
    _, answer, _ = read(*(of(tool_calls=[each]) for each in chunks))
    assert json.loads(answer.tool_calls[0].arguments) == {"x": "\U0001f600"}


halves = st.text(st.sampled_from("a\u00e9\ud83d\ude00\U0001f600"), min_size=1, max_size=5)


@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning", "refusal"]), halves)))
def test_whatever_comes_can_be_encoded(pieces):
    events, answer, _ = read(*(of(**{kind: piece}) for kind, piece in pieces), of(finish="stop"))
    for kind, got in (
        ("content", answer.text),
        ("reasoning", answer.reasoning),
        ("refusal", answer.refusal),
    ):
        sent = "".join(piece for name, piece in pieces if name == kind)
        joined = sent.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert got == joined
    for event in events[:-1]:
        assert event.text  # type: ignore[union-attr]
        event.text.encode()  # type: ignore[union-attr]


# ---------------------------------------------------------------------- what is no chunk


@pytest.mark.parametrize(
    "event",
    [
        ("ping", "2024-01-01T00:00:00Z"),
        ("ping", {"type": "ping"}),
        ("metadata", [1]),
        ("message", ""),
        ("message", "  "),
        ("keepalive", ""),
    ],
)
def test_what_is_no_chunk_is_passed_over(event):
    events, answer, _ = read(of(content="a"), event, of(content="b"))
    assert answer.text == "ab"
    assert events == [chat.Text("a"), chat.Text("b")]
    assert answer.malformed_chunks == 0


def test_a_chunk_may_have_a_name():
    _, answer, _ = read(("delta", of(content="a")), ("x", {"usage": USAGE, "choices": []}))
    assert answer.text == "a"
    assert answer.usage == chat.Usage(3, 4)
    with pytest.raises(chat.ProviderStreamError, match="busy"):
        read(("oops", {"error": {"message": "busy"}}))


@pytest.mark.parametrize("data", ["", "boom", {"message": "boom"}])
def test_an_event_named_error_is_one(data):
    with pytest.raises(chat.ProviderStreamError):
        read(("error", data))


@pytest.mark.parametrize("data", ["{oops", "[1]", "null", "2024"])
def test_what_is_malformed_is_still_refused(data):
    with pytest.raises(chat.MalformedChunk):
        read(data)
    assert read(data, malformed="skip")[1].malformed_chunks == 1


# ---------------------------------------------------------------------- of the answer as a whole

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}


def test_fields_of_the_chunk_are_given_when_they_are_new():
    first = {**of(content="a"), "citations": ["u"], "provider": "P", "created": 1, "x": None}
    second = {**of(content="b"), "citations": ["u"], "provider": "P", "created": 2}
    third = {**of(content="c"), "citations": ["u", "v"], "provider": "P", "usage": None}
    events, answer, progress = read(first, second, third)
    assert events == [
        chat.Text("a"),
        chat.Other({"citations": ["u"], "provider": "P"}),
        chat.Text("b"),
        chat.Text("c"),
        chat.Other({"citations": ["u", "v"]}),
    ]
    assert progress == 3
    assert answer.choice(0).only_text


def test_groqs_usage_is_usage():
    events, answer, _ = read({**of(finish="stop"), "x_groq": {"id": "r", "usage": USAGE}})
    assert answer.usage == chat.Usage(3, 4)
    assert chat.UsageReported(chat.Usage(3, 4)) in events
    other = {**of(), "usage": USAGE, "x_groq": {"usage": {**USAGE, "prompt_tokens": 9}}}
    assert read(other)[1].usage == chat.Usage(3, 4)


def test_groqs_error_is_one():
    with pytest.raises(chat.ProviderStreamError, match="over capacity"):
        read({**of(finish="stop"), "x_groq": {"error": "over capacity"}})


# ---------------------------------------------------------------------- messages, ends, errors


def whole(content: str, **extra: Any):
    return {"message": {"role": "assistant", "content": content}, **extra}


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"content": ""}])
def test_a_whole_message_does_not_double_what_was_streamed(delta):
    events, answer, _ = read(
        of(content="Hel"), of(content="lo"), of(0, "stop", whole("Hello"), **delta)
    )
    assert answer.text == "Hello"
    assert events == [chat.Text("Hel"), chat.Text("lo"), chat.Finished("stop")]


@pytest.mark.parametrize("delta", [{}, {"role": "assistant"}, {"content": ""}])
def test_a_whole_message_counts_where_nothing_was_streamed(delta):
    _, answer, _ = read(of(1, content="other"), of(0, "stop", whole("Hello"), **delta))
    assert answer.text == "Hello"


def test_a_finish_reason_is_given_once_unless_it_changes():
    chunks = [of(finish=reason) for reason in ("stop", "stop", "tool_calls", "tool_calls")]
    events, answer, _ = read(*chunks, of(1, finish="stop"))
    assert events == [
        chat.Finished("stop"),
        chat.Finished("tool_calls"),
        chat.Finished("stop", 1),
    ]
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("inside", [True, False])
def test_content_comes_before_the_error_beside_it(inside):
    error = {"error": {"code": 502, "message": "upstream"}}
    chunk = of(0, "error", error if inside else None, content="tail")
    chunk["choices"].append({"index": 1, "delta": {"content": "too"}, "finish_reason": None})
    answer, events = chat.Answer(), []
    with pytest.raises(chat.ProviderStreamError, match="upstream") as caught:
        ChunkReader(answer).feed(
            "message", json.dumps(chunk if inside else {**chunk, **error}), events
        )
    assert events == [chat.Text("tail"), chat.Text("too", 1)]
    assert caught.value.answer.text == "tail"
    assert answer.finish_reason is None  # an error proves nothing


# ---------------------------------------------------------------------- other content


@pytest.mark.parametrize(
    ("delta", "name"),
    [
        ({"audio": {"data": "AA"}}, "audio"),
        ({"images": [{"image_url": {"url": "data:"}}]}, "images"),
        ({"content": [{"type": "image_url", "image_url": "data:"}]}, "image_url"),
    ],
)
def test_other_content_is_content(delta, name):
    events, answer, progress = read(of(**delta))
    assert events == [chat.Other(delta)]
    assert progress == 1
    assert answer.begun
    assert answer.choice(0).other_content == {name}
    assert not answer.choice(0).only_text


def test_reasoning_in_the_providers_own_form_is_content_and_leaves_plain_text():
    _, answer, progress = read(of(reasoning_details=[{"data": "x"}]), of(content="a"))
    assert answer.begun
    assert answer.choice(0).only_text
    assert progress == 2


@pytest.mark.parametrize(
    "chunk",
    [
        of(role="assistant", content=""),
        of(extra={"logprobs": {"content": []}}),
        of(annotations=[{"type": "url_citation"}]),
        of(audio={}),
        of(obfuscation="xyz"),
        {**of(), "citations": ["u"]},
        of(extra={"content_filter_results": {"hate": {}}}),
    ],
)
def test_what_is_about_the_answer_is_no_content(chunk):
    _, answer, progress = read(chunk)
    assert progress == 0
    assert not answer.begun


# ---------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"completion_tokens": 4}, None),
        ({"prompt_tokens": 3}, None),
        ({"output_tokens": 4}, None),
        ({"total_tokens": 7}, None),
        ({"completion_tokens": 4, "total_tokens": 7}, chat.Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 7}, chat.Usage(3, 4)),
        ({"prompt_tokens": 9, "total_tokens": 7}, None),
        ({"prompt_tokens": 3.0, "completion_tokens": 4.0}, chat.Usage(3, 4)),
        ({"prompt_tokens": 3.5, "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": -1, "completion_tokens": 4}, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, chat.Usage(0, 0)),
    ],
)
def test_usage_is_whole_or_unknown(body, expected):
    assert chat.Usage.parse(body) == expected
