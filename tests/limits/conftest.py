"""For the tests of the limits: a virtual clock that begins at 0 and jumps."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def clock():
    return MockClock(autojump_threshold=0)
