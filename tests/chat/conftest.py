"""Providers in memory.  Whatever the test did, nothing may be left of a reply after it."""

from __future__ import annotations

import gc

import pytest

from ..stream.support import Network, our_tasks, settled
from .support import Provider


@pytest.fixture
def clock(autojump_clock):
    """A virtual clock, which begins at 0."""
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
def transport():
    """Over which the provider speaks; tests parametrize it."""
    return "sse"


@pytest.fixture
def provider(network, transport):
    """A provider that plays scripts."""
    return Provider(network, transport)
