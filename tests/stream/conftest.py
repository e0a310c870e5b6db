"""The network in memory.  Whatever the test did, nothing may be left of a stream after it."""

from __future__ import annotations

import gc

import pytest

from .support import Network, our_tasks, settled


@pytest.fixture
def clock(autojump_clock):
    """A virtual clock, which begins at 0.  pytest-trio uses it where the test itself names it."""
    return autojump_clock


@pytest.fixture
async def network(nursery, clock):
    """Dials in memory."""
    network = Network(nursery)
    yield network
    await settled()
    assert our_tasks() == []
    assert [stream.closed for stream in network.streams] == [True] * len(network.streams)
    gc.collect()  # what is found unclosed warns, and warnings are errors


@pytest.fixture
async def clean(clock):
    """For tests without a network: no task may be left."""
    yield clock
    await settled()
    assert our_tasks() == []
    gc.collect()
