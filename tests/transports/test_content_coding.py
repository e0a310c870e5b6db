"""Content codings, undone piece by piece."""

from __future__ import annotations

import gzip
import zlib

import pytest

from moored.transports.content_coding import ContentDecoder, UnknownCoding

PIECE = 256 * 1024


def decoded(decoder, chunks):
    out = []
    for chunk in chunks:
        decoder.feed(chunk)
        out.append(decoder.take())
        while decoder.pending:
            out.append(decoder.take())
    return b"".join(out)


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_no_coding(coding):
    decoder = ContentDecoder(coding)
    assert decoded(decoder, [b"a", b"", b"bc"]) == b"abc"
    assert not decoder.incomplete


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), (" X-GZip ", gzip.compress), ("deflate", zlib.compress)],
)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_codings_in_pieces(coding, pack, size):
    data = bytes(range(256)) * 40
    packed = pack(data)
    decoder = ContentDecoder(coding)
    assert not decoder.incomplete  # nothing has come: there may be no body at all
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    start = decoded(decoder, pieces[:-1])
    assert decoder.incomplete == (len(pieces) > 1)
    assert start + decoded(decoder, pieces[-1:]) == data
    assert not decoder.incomplete


def test_many_members_split_anywhere():
    packed = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")
    for at in range(len(packed)):
        decoder = ContentDecoder("gzip")
        assert decoded(decoder, [packed[:at], packed[at:]]) == b"onetwo"
        assert not decoder.incomplete


def test_a_second_member_that_is_cut_is_incomplete():
    first, second = gzip.compress(b"one"), gzip.compress(b"two")
    for at in range(1, len(second)):
        decoder = ContentDecoder("gzip")
        decoded(decoder, [first, second[:at]])
        assert decoder.incomplete, at


def test_a_little_that_inflates_into_much_comes_in_pieces():
    decoder = ContentDecoder("gzip")
    decoder.feed(gzip.compress(bytes(10 * PIECE)))
    total = 0
    while decoder.pending:
        piece = decoder.take()
        assert len(piece) <= PIECE
        total += len(piece)
    assert total == 10 * PIECE


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "x" * 1000])
def test_unknown_codings(coding):
    with pytest.raises(UnknownCoding) as caught:
        ContentDecoder(coding)
    assert repr(coding[:40]) in str(caught.value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_not_what_it_says(coding):
    decoder = ContentDecoder(coding)
    decoder.feed(b"data: plain text\n\n")
    with pytest.raises(zlib.error):
        decoder.take()


def test_a_wrong_checksum_is_noticed():
    packed = bytearray(gzip.compress(b"x" * 100))
    packed[-8] ^= 1
    decoder = ContentDecoder("gzip")
    decoder.feed(bytes(packed))
    with pytest.raises(zlib.error):
        decoder.take()


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_deflate_without_its_header(size):
    """RFC 9110 asks for zlib's; many servers send none, and every browser takes it."""
    data = b"data: raw\n\n" * 100
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(data) + deflater.flush()
    decoder = ContentDecoder("deflate")
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert decoded(decoder, pieces) == data
    assert not decoder.incomplete


def test_what_stands_behind_the_end_of_deflate_is_ignored():
    decoder = ContentDecoder("deflate")
    assert decoded(decoder, [zlib.compress(b"all") + b"junk", b"more"]) == b"all"
    assert not decoder.pending
