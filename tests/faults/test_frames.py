import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.faults.frames import Frame, FrameSplitter, pong_frame


def split(data, cuts):
    edges = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


SIZES = [0, 1, 125, 126, 127, 65535, 65536]


@pytest.mark.parametrize("mask", [None, b"\x01\x02\x03\x04"])
@pytest.mark.parametrize("size", SIZES)
def test_every_form_of_length_is_understood(make_frame, size, mask):
    data = make_frame(2, b"x" * size, mask=mask)
    assert FrameSplitter().feed(data) == [Frame(len(data), 2, True, size)]


@pytest.mark.parametrize("mask", [None, b"\x01\x02\x03\x04"])
@pytest.mark.parametrize("size", [0, 5, 126, 65536])
def test_byte_by_byte_a_frame_ends_with_its_last_byte(make_frame, size, mask):
    data = make_frame(1, b"x" * size, mask=mask)
    splitter = FrameSplitter()
    for byte in data[:-1]:
        assert splitter.feed(bytes([byte])) == []
        assert not splitter.at_boundary
    assert splitter.feed(data[-1:]) == [Frame(1, 1, True, size)]
    assert splitter.at_boundary


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 8, 9, 10]),
            st.one_of(st.integers(0, 125), st.sampled_from(SIZES)),
            st.booleans(),
            st.sampled_from([None, b"\xa0\x00\xff\x17"]),
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_any_cut_gives_the_same_frames(make_frame, specs, rng: random.Random):
    expected, data = [], b""
    for opcode, length, fin, mask in specs:
        size = min(length, 125) if opcode >= 8 else length
        payload = rng.randbytes(size)
        data += make_frame(opcode, payload, fin=fin, mask=mask)
        expected.append(Frame(len(data), opcode, fin, size, payload if opcode >= 8 else b""))
    splitter, frames, position = FrameSplitter(), [], 0
    for piece in split(data, [rng.randint(0, len(data)) for _ in range(12)]):
        for found in splitter.feed(piece):
            frames.append(found._replace(end=found.end + position))
        position += len(piece)
    assert frames == expected


@pytest.mark.parametrize(
    ("opcode", "fin", "ends"),
    [(1, True, True), (2, True, True), (0, True, True), (1, False, False), (9, True, False)],
)
def test_a_message_ends_with_its_last_data_frame(make_frame, opcode, fin, ends):
    (found,) = FrameSplitter().feed(make_frame(opcode, b"x", fin=fin))
    assert found.ends_message is ends


def test_a_payload_passes_without_being_kept(make_frame):
    splitter = FrameSplitter()
    assert len(splitter.feed(make_frame(2, bytes(10**6)))) == 1
    assert not splitter.feed(
        b"\x89\xff" + (2**62).to_bytes(8, "big") + bytes(10**6)
    )  # an impossible ping
    kept = sum(len(value) for value in vars(splitter).values() if isinstance(value, bytearray))
    assert kept <= 125 + 14


def test_a_pong_is_a_servers_frame(make_frame):
    assert pong_frame(b"abc") == make_frame(10, b"abc")
