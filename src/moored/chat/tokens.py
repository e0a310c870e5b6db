"""How many tokens a text takes, before the provider says it: exactly if possible, else estimated.

Nothing here reads the network.  A counter says by its name how it counts.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import tiktoken

__all__ = [
    "IMAGE_TOKENS",
    "LOW_DETAIL_IMAGE_TOKENS",
    "CalibratedCounter",
    "CharacterCounter",
    "TiktokenCounter",
    "TokenCounter",
    "default_counter",
    "estimate_messages",
    "observe_messages",
]


class TokenCounter(Protocol):
    """Counts the tokens of a text.  Anything with these two will do."""

    @property
    def name(self) -> str:
        """How it counts, to be shown beside its figures."""
        ...

    def count(self, text: str, model: str) -> int:
        """How many tokens ``model`` makes of ``text``."""
        ...


@runtime_checkable
class CalibratedCounter(TokenCounter, Protocol):
    """One that learns from what servers report."""

    def observe(self, text: str, tokens: int, model: str) -> None:
        """``model`` was reported to have made ``tokens`` of ``text``."""
        ...


# ---------------------------------------------------------------------------- characters

# Tokens for each character, fitted by hand to o200k_base on the translated messages of a web
# framework in 22 languages, on English, Python and JSON: from 25% too few (Polish) to 40% too many
# (Russian).  Older vocabularies need up to four times as many for scripts other than Latin, which
# is what calibration is for.
_KINDS = (
    (re.compile(r"[^A-Za-z \t\r\n\v\f]+"), 0.22),  # Latin letters and spaces
    (re.compile(r"[^!-@\[-`{-~]+"), 0.45),  # digits and signs
    (re.compile("[^\x80-\u2e7f]+"), 0.4),  # other alphabets
    (re.compile("[^\u2e80-\uffff]+"), 0.75),  # Chinese, Japanese, Korean
    (re.compile("[^\U00010000-\U0010ffff]+"), 1.5),  # emoji, rare characters
)
_ASCII_KINDS = 2


def _by_characters(text: str) -> float:
    kinds = _KINDS[:_ASCII_KINDS] if text.isascii() else _KINDS
    return sum(each * len(others.sub("", text)) for others, each in kinds)


def _positive(tokens: Any) -> float | None:
    """``tokens``, if that is a finite number above 0; one that no float can hold is none."""
    if isinstance(tokens, bool) or not isinstance(tokens, Real):
        return None
    try:
        number = float(tokens)
    except OverflowError:
        return None
    return number if 0 < number < math.inf else None


class CharacterCounter:
    """Estimates tokens from characters and their scripts, and learns each model's own ratio.

    A ratio is an exponential average: each observation counts for a fifth, the first ones
    for more.  None can move it past the bounds, whatever a server reports.
    """

    RATIO_BOUNDS: tuple[float, float] = (0.25, 4.0)
    """Of the tokens reported to those estimated without calibration."""

    SHORTEST: float = 16.0
    """Estimated tokens below which a text says nothing: its rounding and overhead would."""

    MODELS: int = 256
    """Ratios kept; beyond them that which was observed longest ago is forgotten."""

    def __init__(self) -> None:
        self._ratios: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @property
    def name(self) -> str:
        """``"characters"``."""
        return "characters"

    def ratio(self, model: str) -> float:
        """What estimates for ``model`` are multiplied by; 1 before anything was observed."""
        return self._ratios.get(model, (1.0, 0))[0]

    def count(self, text: str, model: str) -> int:
        """About how many tokens ``model`` makes of ``text``, rounded up.

        Takes up to 50 milliseconds for a million characters.
        """
        return math.ceil(_by_characters(text) * self.ratio(model))

    def observe(self, text: str, tokens: int, model: str) -> None:
        """Learn that ``model`` was reported to have made ``tokens`` of ``text``.

        What is no finite number above 0 teaches nothing.
        """
        estimate, reported = _by_characters(text), _positive(tokens)
        if estimate < self.SHORTEST or reported is None:
            return
        low, high = self.RATIO_BOUNDS
        seen = min(max(reported / estimate, low), high)
        ratio, times = self._ratios.pop(model, (1.0, 0))
        weight = max(0.2, 1 / (times + 2))  # the ratio of 1 at the start counts as one observation
        ratio = math.exp((1 - weight) * math.log(ratio) + weight * math.log(seen))
        self._ratios[model] = (min(max(ratio, low), high), times + 1)
        while len(self._ratios) > self.MODELS:
            self._ratios.popitem(last=False)


# ---------------------------------------------------------------------------- tiktoken

# From tiktoken_ext/openai_public.py.  Not by tiktoken.get_encoding(), which downloads a vocabulary
# that is not in its cache, and deletes one there that it does not like.
_PLACE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_CASED = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_UNCASED = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_ENCODINGS = {
    "o200k_base": (
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_CASED}*{_UNCASED}+{_ENDING}"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{_CASED}+{_UNCASED}*{_ENDING}"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "cl100k_base": (
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
}
_SAME_VOCABULARY = {"o200k_harmony": "o200k_base"}
_BLOCK_CHARACTERS = 20_000


def _cache_directory() -> Path | None:
    """Where tiktoken keeps vocabularies; ``None`` where the user told it to keep none."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if (place := os.environ.get(variable)) is not None:
            return Path(place) if place else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _vocabulary(encoding: str, directory: Path) -> bytes | None:
    """The vocabulary as it lies in tiktoken's cache, if it is there and whole."""
    file = directory / hashlib.sha1(_PLACE.format(encoding).encode()).hexdigest()
    try:
        content = file.read_bytes()
    except OSError:
        return None
    sound = hashlib.sha256(content).hexdigest() == _ENCODINGS[encoding][0]
    return content if sound else None


def _load(encoding: str, content: bytes) -> tiktoken.Encoding:
    import tiktoken

    pairs = (line.split() for line in content.splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    return tiktoken.Encoding(
        encoding, pat_str=_ENCODINGS[encoding][1], mergeable_ranks=ranks, special_tokens={}
    )


class TiktokenCounter:
    """Counts with tiktoken (``pip install moored[tokens]``) what it knows: models of OpenAI's.

    Others it leaves to ``others``.  The vocabularies come from tiktoken's cache, as it finds it
    (``TIKTOKEN_CACHE_DIR``, else ``DATA_GYM_CACHE_DIR``, else ``data-gym-cache`` in the directory
    for temporary files), and are never downloaded.  ``tiktoken.get_encoding("o200k_base")``, run
    once where there is a network, puts one there.

    They are loaded here, which takes about a quarter of a second for each: make it when the
    program starts.  Counting a million characters takes up to a fifth of a second.

    :param others: counts for models that are unknown, or whose vocabulary is not there; by default
        a :class:`moored.chat.CharacterCounter`.
    :raises ModuleNotFoundError: where tiktoken is not installed.
    :raises FileNotFoundError: where none of its vocabularies is there.
    """

    def __init__(self, others: TokenCounter | None = None) -> None:
        import tiktoken  # noqa: F401 - before anything is read for it

        self._others: TokenCounter = CharacterCounter() if others is None else others
        directory = _cache_directory()
        self._encodings: dict[str, tiktoken.Encoding] = {}
        for encoding in _ENCODINGS if directory is not None else ():
            assert directory is not None
            if (content := _vocabulary(encoding, directory)) is not None:
                self._encodings[encoding] = _load(encoding, content)
        if not self._encodings:
            raise FileNotFoundError(
                f"tiktoken's cache ({directory or 'switched off'}) holds neither of "
                f"{' and '.join(_ENCODINGS)}"
            )

    @property
    def name(self) -> str:
        """Such as ``"tiktoken 0.14.0 (o200k_base), characters for other models"``."""
        version = importlib.metadata.version("tiktoken")
        return (
            f"tiktoken {version} ({', '.join(self._encodings)}), "
            f"{self._others.name} for other models"
        )

    def encoding(self, model: str) -> str | None:
        """The vocabulary that ``model`` is counted with; ``None`` where ``others`` counts."""
        import tiktoken.model

        try:
            name = tiktoken.model.encoding_name_for_model(model.rpartition("/")[2])
        except KeyError:
            return None
        name = _SAME_VOCABULARY.get(name, name)
        return name if name in self._encodings else None

    def count(self, text: str, model: str) -> int:
        """How many tokens ``model`` makes of ``text``."""
        if (name := self.encoding(model)) is None:
            return self._others.count(text, model)
        encode = self._encodings[name].encode_ordinary
        # In blocks, each of which may add a few: on a million spaces tiktoken 0.14 panics, with
        # what is no Exception.
        starts = range(0, len(text), _BLOCK_CHARACTERS)
        return sum(len(encode(text[start : start + _BLOCK_CHARACTERS])) for start in starts)

    def observe(self, text: str, tokens: int, model: str) -> None:
        """Let ``others`` learn, where they count ``model`` and can."""
        if self.encoding(model) is None and isinstance(self._others, CalibratedCounter):
            self._others.observe(text, tokens, model)


def default_counter() -> TokenCounter:
    """A :class:`moored.chat.TiktokenCounter` where tiktoken and a vocabulary are there; else one
    by characters."""
    if importlib.util.find_spec("tiktoken") is None:
        return CharacterCounter()
    try:
        return TiktokenCounter()
    except FileNotFoundError:
        return CharacterCounter()


# ---------------------------------------------------------------------------- requests

IMAGE_TOKENS: int = 765
"""Taken for an image, and for any other part that is no text.  It is what OpenAI charges for
1024 by 1024 pixels in high detail (85 and 4 tiles of 170 each); true figures lie between 85 and
1,600."""

LOW_DETAIL_IMAGE_TOKENS: int = 85
"""Taken for an image with ``"detail": "low"``, as OpenAI charges it."""

# "How to count tokens with tiktoken", OpenAI's cookbook: every message is wrapped in three tokens,
# and every answer begins with three.
_MESSAGE_TOKENS = 3
_NAME_TOKENS = 1
_ANSWER_TOKENS = 3


def estimate_messages(
    counter: TokenCounter,
    messages: Iterable[Mapping[str, Any]],
    model: str,
    tools: Iterable[Mapping[str, Any]] | None = None,
) -> int:
    """About how many input tokens a request takes.

    Counted are roles, names, text, refusals, calls of tools and their results, the schemas of
    ``tools`` as JSON, and a constant for each image (:data:`IMAGE_TOKENS`) and message.  What is
    not as it should be is counted as far as it can be: to refuse it is the server's part.

    :param counter: counts the texts.
    :param messages: as they are sent, for Chat Completions or as ``input`` for Responses.
    :param model: the model that they are sent to.
    :param tools: as they are sent.
    """
    texts, constant, _ = _measure(messages, tools)
    return constant + sum(counter.count(text, model) for text in texts)


def observe_messages(
    counter: TokenCounter,
    messages: Iterable[Mapping[str, Any]],
    model: str,
    tokens: int,
    tools: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """Let ``counter`` learn from the input tokens that a server reported, if it is one that can.

    Requests with images or other parts that are no text teach nothing: what those took is unknown.
    """
    texts, constant, parts = _measure(messages, tools)
    if not parts and isinstance(counter, CalibratedCounter):
        counter.observe("\n".join(texts), tokens - constant, model)


def _measure(
    messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] | None
) -> tuple[list[str], int, int]:
    """The texts of a request, its tokens that are no text's, and how many parts are no text."""
    texts: list[str] = []
    constant, parts = _ANSWER_TOKENS, 0
    for message in messages:
        constant += _MESSAGE_TOKENS
        for part in _parts(message):
            if isinstance(part, str):
                texts.append(part)
            else:
                parts += 1
                constant += _part_tokens(part)
        if isinstance(message.get("name"), str):
            constant += _NAME_TOKENS
    texts.extend(_as_json(tool) for tool in tools or ())
    return texts, constant, parts


def _parts(message: Mapping[str, Any]) -> Iterator[str | Mapping[str, Any]]:
    """The texts of a message, and the parts that are none."""
    # A call of a tool and its result are members of a list in Chat Completions, and messages of
    # their own in Responses.
    for key in ("role", "name", "refusal", "reasoning_content", "arguments", "output"):
        if isinstance(value := message.get(key), str):
            yield value
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, Iterable) and not isinstance(content, Mapping):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Mapping):
                text = part.get("text", part.get("refusal"))
                yield text if isinstance(text, str) else part
    if message.get("tool_calls"):
        yield _as_json(message["tool_calls"])


def _part_tokens(part: Mapping[str, Any]) -> int:
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, Mapping) else part.get("detail")
    return LOW_DETAIL_IMAGE_TOKENS if detail == "low" else IMAGE_TOKENS


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
