"""Providers in memory, and a real redis-server where there is one.

Whatever the test did, nothing may be left of a reply after it.
"""

from __future__ import annotations

import pytest

from ..redis_server import running
from ..stream.conftest import clock, network
from .support import Provider

__all__ = ["clock", "network"]


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
