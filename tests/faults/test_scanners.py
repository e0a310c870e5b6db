import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from moored.core.sse import EventDecoder
from moored.faults.scanners import EventScanner, FrameScanner, PlainScanner

pieces = st.sampled_from(
    b"\n|\r|\r\n|data|data:|data: x|data |:|: c|id: 1|event: e|retry: 5|dat|a|\xef\xbb\xbf|"
    b"\xe2\x80\xa8|a line that is longer than any field's name".split(b"|")
)
streams = st.lists(pieces, max_size=30).map(b"".join)


def split(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(streams, st.lists(st.integers(0, 500), max_size=6))
@example(b"data: x\r\n\r\n", [10])
@example(b"data: x\r\nid: 1\n\n", [8])
@example(b"\xef\xbb\xbfdata: x\n\n", [1, 2, 5])
def test_what_is_cut_at_the_end_of_event_n_holds_exactly_n_events(data, cuts):
    scanner, ends, position = EventScanner(), [], 0
    for piece in split(data, cuts):
        ends += [position + end for end in scanner.scan(piece).messages]
        position += len(piece)
    assert len(ends) == len(EventDecoder().feed(data))
    for n, end in enumerate(ends, 1):
        decoder = EventDecoder()
        assert len(decoder.feed(data[:end])) == n
        assert not decoder.incomplete


def test_crlf_passes_whole_where_it_came_whole():
    assert EventScanner().scan(b"data: x\r\n\r\n: next").messages == [11]


def test_a_long_line_is_not_kept():
    scanner = EventScanner()
    for _ in range(100):
        scanner.scan(b"x" * 10_000)
    assert len(scanner._line) < 20


def test_frames_and_the_pongs_and_closes_among_them(make_frame):
    scanner = FrameScanner()
    data = make_frame(1, b"a", fin=False) + make_frame(10, b"p") + make_frame(0, b"b")
    assert scanner.scan(data + make_frame(2, b"c")[:1]) == ([9], [3, 6, 9])
    assert scanner.pongs == [(6, b"p")]
    assert not scanner.at_boundary
    assert not scanner.closing
    scanner.scan(make_frame(2, b"c")[1:] + make_frame(8))
    assert scanner.pongs == []
    assert scanner.at_boundary
    assert scanner.closing


def test_a_plain_body_has_no_messages():
    assert PlainScanner().scan(b"data: x\n\n") == ([], [])
