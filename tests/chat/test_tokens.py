"""How many tokens a text takes, before the provider says it."""

import base64
import hashlib
import socket
import sys

import pytest
import tiktoken
import tiktoken_ext.openai_public
from hypothesis import given
from hypothesis import strategies as st

from moored.chat import tokens
from moored.chat.tokens import (
    IMAGE_TOKENS,
    LOW_DETAIL_IMAGE_TOKENS,
    CalibratedCounter,
    CharacterCounter,
    TiktokenCounter,
    default_counter,
    estimate_messages,
    observe_messages,
)

ENGLISH = "The quick brown fox jumps over the lazy dog, and then it rests for a while. " * 20


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def connect(*args):
        raise AssertionError("tokens are counted without a network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


class Words:
    """Counts words, and keeps what it was told."""

    name = "words"

    def __init__(self):
        self.observed = []

    def count(self, text, model):
        return len(text.split())

    def observe(self, text, tokens, model):
        self.observed.append((text, tokens, model))


# ---------------------------------------------------------------------------- characters


@pytest.mark.parametrize(
    ("text", "least", "most"),
    # By o200k_base: 361, 8, 11, 12, 24, 8.
    [
        (ENGLISH, 300, 420),
        ("Соединение будет восстановлено автоматически.", 9, 21),
        ("服务器将自动重新连接。请稍候片刻", 8, 16),
        ("接続は自動的に回復されます。", 7, 15),
        ('{"id": 17, "score": [1.25, 3.5, 4.75]}', 12, 25),
        ("🚀🚀🔥🔥✨✨", 6, 14),
    ],
)
def test_characters_give_about_the_number_of_tokens_in_any_script(text, least, most):
    assert least <= CharacterCounter().count(text, "m") <= most


def test_an_estimate_is_never_nothing_for_something():
    assert CharacterCounter().count("", "m") == 0
    assert CharacterCounter().count("a", "m") == 1


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_longer_text_has_no_fewer_tokens(one, other):
    counter = CharacterCounter()
    assert counter.count(one + other, "m") >= counter.count(one, "m")
    assert counter.count(one, "m") <= 2 * len(one)


def test_each_model_learns_its_own_ratio():
    counter = CharacterCounter()
    before = counter.count(ENGLISH, "m")
    for _ in range(30):
        counter.observe(ENGLISH, 2 * before, "m")
    assert counter.count(ENGLISH, "m") == pytest.approx(2 * before, rel=0.01)
    assert counter.count(ENGLISH, "n") == before


def test_the_first_observations_count_for_more():
    counter = CharacterCounter()
    counter.observe(ENGLISH, 4 * counter.count(ENGLISH, "m"), "m")
    assert counter.ratio("m") == pytest.approx(2, rel=0.01)  # half of the way, in logarithms


def test_one_absurd_report_does_little_and_many_stay_within_bounds():
    counter = CharacterCounter()
    honest = counter.count(ENGLISH, "m")
    for _ in range(20):
        counter.observe(ENGLISH, honest, "m")
    counter.observe(ENGLISH, 10**12, "m")
    assert counter.ratio("m") < 1.4
    for _ in range(100):
        counter.observe(ENGLISH, 10**12, "m")
    assert counter.ratio("m") == pytest.approx(4)
    for _ in range(100):
        counter.observe(ENGLISH, 1, "m")
    assert counter.ratio("m") == pytest.approx(0.25)


@pytest.mark.parametrize(("text", "reported"), [("Hi!", 9), (ENGLISH, 0), (ENGLISH, -3), ("", 5)])
def test_what_says_nothing_is_not_learned_from(text, reported):
    counter = CharacterCounter()
    counter.observe(text, reported, "m")
    assert counter.ratio("m") == 1


@pytest.mark.parametrize(
    "reported",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        pytest.param(10**400, id="huge"),
        True,
        "300",
        None,
    ],
)
def test_what_is_no_finite_number_above_0_is_not_learned_from(reported):
    counter = CharacterCounter()
    counter.observe(ENGLISH, 2 * counter.count(ENGLISH, "m"), "m")
    before = counter.ratio("m")
    counter.observe(ENGLISH, reported, "m")
    assert counter.ratio("m") == before
    assert counter._ratios["m"][1] == 1


def test_no_more_models_are_remembered_than_the_bound():
    counter = CharacterCounter()
    for number in range(counter.MODELS + 1):
        counter.observe(ENGLISH, 1000, f"m{number}")
    assert counter.ratio("m0") == 1
    assert counter.ratio("m1") != 1
    assert len(counter._ratios) == counter.MODELS


# ---------------------------------------------------------------------------- tiktoken

PIECES = ["th", "the", " th", " the", "in", "ing"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """tiktoken's cache, with a small vocabulary as its o200k_base."""
    ranks = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in PIECES]
    content = b"".join(
        base64.b64encode(token) + b" " + str(rank).encode() + b"\n"
        for rank, token in enumerate(ranks)
    )
    _, pattern = tokens._ENCODINGS["o200k_base"]
    monkeypatch.setitem(
        tokens._ENCODINGS, "o200k_base", (hashlib.sha256(content).hexdigest(), pattern)
    )
    place = tokens._PLACE.format("o200k_base")
    file = tmp_path / hashlib.sha1(place.encode()).hexdigest()
    file.write_bytes(content)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return file


def test_a_vocabulary_in_the_cache_is_counted_with(cache):
    counter = default_counter()
    assert isinstance(counter, TiktokenCounter)
    assert counter.name == (
        f"tiktoken {tiktoken.__version__} (o200k_base), characters for other models"
    )
    assert counter.count("the thing", "gpt-4o") == 3  # the, " th", ing
    assert counter.count("the thing", "openai/gpt-4o-2024-08-06") == 3
    assert counter.count("<|endoftext|>", "gpt-4o") == 13  # as text, which it is
    assert counter.count("\ud800", "gpt-4o") == 3


def test_other_models_are_left_to_the_other_counter(cache):
    words = Words()
    counter = TiktokenCounter(words)
    # An unknown model, and one whose vocabulary is not there.
    assert counter.count("one two", "claude-sonnet-4-5") == 2
    assert counter.count("one two", "gpt-4") == 2
    assert counter.encoding("gpt-4") is None
    assert counter.encoding("gpt-oss-120b") == "o200k_base"
    assert counter.name.endswith("(o200k_base), words for other models")
    counter.observe("one two", 7, "claude-sonnet-4-5")
    counter.observe("one two", 7, "gpt-4o")  # counted exactly: nothing to learn
    assert words.observed == [("one two", 7, "claude-sonnet-4-5")]


def test_a_text_that_tiktoken_panics_on_is_counted(cache):
    assert TiktokenCounter().count(" " * 1_000_000, "gpt-4o") == 1_000_000


def test_a_damaged_vocabulary_is_neither_used_nor_deleted(cache):
    cache.write_bytes(cache.read_bytes()[:-1])
    assert default_counter().name == "characters"
    assert cache.exists()
    with pytest.raises(FileNotFoundError, match="holds neither of o200k_base and cl100k_base"):
        TiktokenCounter()


def test_without_a_vocabulary_characters_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "nothing"))
    assert default_counter().name == "characters"


def test_a_cache_that_is_switched_off_holds_nothing(cache, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert default_counter().name == "characters"


def test_the_cache_is_where_tiktoken_looks(cache, monkeypatch):
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(cache.parent))
    assert isinstance(default_counter(), TiktokenCounter)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR")
    default = cache.parent / "data-gym-cache"
    default.mkdir()
    cache.rename(default / cache.name)
    monkeypatch.setattr(tokens.tempfile, "gettempdir", lambda: str(cache.parent))
    assert isinstance(default_counter(), TiktokenCounter)


def test_without_tiktoken_characters_are_counted(monkeypatch):
    monkeypatch.setattr(tokens.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert default_counter().name == "characters"
    with pytest.raises(ModuleNotFoundError):
        TiktokenCounter()


@pytest.mark.parametrize("encoding", tokens._ENCODINGS)
def test_the_vocabularies_are_those_that_tiktoken_asks_for(encoding, monkeypatch):
    asked = []

    def load(place, expected_hash):
        asked.append((place, expected_hash))
        return {}

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", load)
    tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS[encoding]()
    assert asked == [(tokens._PLACE.format(encoding), tokens._ENCODINGS[encoding][0])]


@pytest.mark.parametrize(
    ("encoding", "model"), [("o200k_base", "gpt-4o"), ("cl100k_base", "gpt-4")]
)
def test_a_real_vocabulary_counts_as_tiktoken_does(encoding, model):
    directory = tokens._cache_directory()
    if directory is None or tokens._vocabulary(encoding, directory) is None:
        pytest.skip(f"no {encoding} in tiktoken's cache")
    text = ENGLISH + "Ünïcode: 服务器 接続 сервер 12345 'll \r\n\t  x" * 3
    expected = len(tiktoken.get_encoding(encoding).encode_ordinary(text))
    assert TiktokenCounter().count(text, model) == expected


# ---------------------------------------------------------------------------- requests


def estimate(*messages, tools=None):
    return estimate_messages(Words(), messages, "m", tools)


def test_a_message_costs_its_role_its_text_and_its_wrapping():
    assert estimate() == 3
    assert estimate({"role": "user", "content": "two words"}) == 3 + 3 + 1 + 2
    assert estimate({"role": "user", "name": "Ann", "content": "two words"}) == 3 + 3 + 1 + 2 + 2


def test_parts_are_counted_by_their_kind():
    parts = [
        {"type": "text", "text": "two words"},
        {"type": "input_text", "text": "three more words"},
        {"type": "refusal", "refusal": "no"},
        "bare",
        {"type": "image_url", "image_url": {"url": "data:..." + "A" * 10_000}},
        {"type": "image_url", "image_url": {"url": "data:...", "detail": "low"}},
        {"type": "input_image", "image_url": "data:...", "detail": "low"},
        {"type": "input_audio", "input_audio": {"data": "A" * 10_000}},
    ]
    texts = 2 + 3 + 1 + 1
    images = 2 * IMAGE_TOKENS + 2 * LOW_DETAIL_IMAGE_TOKENS
    assert estimate({"role": "user", "content": parts}) == 3 + 3 + 1 + texts + images


def test_calls_of_tools_and_their_schemas_are_counted():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    plain = estimate({"role": "assistant", "content": None})
    assert estimate({"role": "assistant", "content": None, "tool_calls": [call]}) > plain
    result = {"type": "function_call_output", "call_id": "1", "output": "four words of it"}
    assert estimate(result) == 3 + 3 + 4
    characters = CharacterCounter()
    tool = {"type": "function", "function": {"name": "f", "description": "много слов " * 30}}
    with_tool = estimate_messages(characters, [], "m", [tool])
    assert with_tool > 3 + characters.count("много слов " * 30, "m")


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": 1, "content": 2},
        {"content": [None, 3, {"text": None}, {"image_url": None}]},
        {"content": {"a": 1}, "tool_calls": object()},
    ],
)
def test_what_is_malformed_is_counted_as_far_as_it_can_be(message):
    assert estimate(message) >= 6


def test_a_report_teaches_what_the_texts_took():
    words = Words()
    messages = [{"role": "user", "content": "two words"}]
    observe_messages(words, messages, "m", 20)
    assert words.observed == [("user\ntwo words", 20 - 3 - 3, "m")]


def test_a_report_on_images_teaches_nothing():
    words = Words()
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    observe_messages(words, [{"role": "user", "content": [image]}], "m", 900)
    assert words.observed == []


def test_a_counter_that_cannot_learn_is_left_alone():
    class Fixed:
        name = "fixed"

        def count(self, text, model):
            return 1

    assert not isinstance(Fixed(), CalibratedCounter)
    observe_messages(Fixed(), [{"role": "user", "content": "x"}], "m", 10)
