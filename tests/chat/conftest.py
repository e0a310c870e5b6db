"""Providers in memory, and a real redis-server where there is one.

Whatever the test did, nothing may be left of a reply after it.
"""

from __future__ import annotations

import gc

import pytest

from ..redis_server import running
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


# ---------------------------------------------------------------------------- Redis


@pytest.fixture(scope="session")
def _shared_redis_server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(_shared_redis_server):
    """One that is empty, and has to stay alive."""
    _shared_redis_server.flush()
    return _shared_redis_server


@pytest.fixture
def own_redis_server(tmp_path):
    """One that the test may stop."""
    with running(tmp_path) as server:
        yield server
