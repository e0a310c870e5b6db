import json

import pytest

from moored.faults.replies import BadRequest, ChatRequest, Reply

HELLO = [{"role": "user", "content": "hello"}]


def request(**fields):
    return ChatRequest.parse(json.dumps({"model": "m", "messages": HELLO, **fields}))


def test_the_same_prompt_gives_the_same_answer_and_another_another():
    assert list(Reply(request()).chunks()) == list(Reply(request()).chunks())
    assert Reply(request()).completion() == Reply(request(temperature=1)).completion()
    others = [
        Reply(request(model="n")),
        Reply(request(messages=[{"role": "user", "content": "x"}])),
    ]
    assert len({reply.text for reply in [Reply(request()), *others]}) == 3


def test_the_answer_to_a_prompt_never_changes():
    # Recorded conversations, and other people's tests, may hold it.
    assert Reply(request(max_tokens=5)).text == "wave and rope its wind"


def test_the_chunks_are_those_of_openai():
    reply = Reply(request(stream=True, max_tokens=2))
    chunks = [json.loads(chunk) for chunk in reply.chunks()]
    assert {(c["object"], c["model"], c["id"]) for c in chunks} == {
        ("chat.completion.chunk", "m", reply.id)
    }
    assert [c["choices"] for c in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": reply.tokens[0]}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": reply.tokens[1]}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "length"}],
    ]
    assert all("usage" not in c for c in chunks)


def test_usage_comes_last_without_choices_if_asked_for():
    reply = Reply(request(stream=True, stream_options={"include_usage": True}))
    *chunks, last = [json.loads(chunk) for chunk in reply.chunks()]
    assert all(c["usage"] is None for c in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    tokens = len(reply.tokens)
    assert last["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": tokens,
        "total_tokens": tokens + 1,
    }


def test_the_whole_answer_is_the_chunks_together():
    reply = Reply(request())
    whole = json.loads(reply.completion())
    pieces = [json.loads(c)["choices"][0]["delta"].get("content", "") for c in reply.chunks()]
    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(pieces)},
            "finish_reason": "stop",
        }
    ]
    assert whole["usage"] == reply.usage


def test_parts_and_empty_contents_are_understood():
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {}}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]
    assert request(messages=messages).messages == (("user", "one two "), ("assistant", ""))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"\xff", None),
        (b"[]", None),
        (b"{}", "model"),
        (b'{"model": 3}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": ["hi"]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"content": "x"}]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 1}]}', "messages[0].content"),
    ],
)
def test_the_field_that_is_wrong_is_named(body, param):
    with pytest.raises(BadRequest) as caught:
        ChatRequest.parse(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": "yes"},
        {"stream_options": 1},
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"max_completion_tokens": True},
    ],
)
def test_options_that_are_wrong_are_named(fields):
    with pytest.raises(BadRequest) as caught:
        request(**fields)
    assert caught.value.param in fields
