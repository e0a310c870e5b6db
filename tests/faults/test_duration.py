import pytest

from moored.faults.duration import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (9.304e-06, "0 ms"),
        (0.0126, "13 ms"),
        (0.25, "250 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.2500001, "1.25 s"),
        (1.5, "1.5 s"),
        (10, "10 s"),
        (59.999, "60 s"),
        (1234567.0, "1234567 s"),
    ],
)
def test_it_reads_well(seconds, words):
    assert duration(seconds) == words
