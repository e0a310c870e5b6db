"""For the tests of the limits: a virtual clock that begins at 0 and jumps."""

import gc

import pytest
from trio.testing import MockClock

from ..redis_server import running


@pytest.fixture
def clock():
    return MockClock(autojump_threshold=0)


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """A redis-server for the tests of one module."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path):
    """A redis-server that the test may stop."""
    with running(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def _collected(request):
    """What coredis leaves behind is collected here, not in somebody else's test."""
    yield
    if {"redis", "own_redis"} & set(request.fixturenames):
        gc.collect()
