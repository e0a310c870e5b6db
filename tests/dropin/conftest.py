"""For the tests of the drop-in: each runs with httpx and with httpx2, and leaves nothing open."""

from __future__ import annotations

import gc
import os

import pytest

from .support import LIBRARIES, Library, NoJitter, memory_transport


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def library(request) -> Library:
    return request.param


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """What was there before the first test is not searched again for each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left_open(_quick_collections):
    """No descriptor stays open.  (Warnings of collected generators are errors.)"""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def make_client(library, nursery):
    """Call it with a server and the transport's parameters: a client of the library."""
    clients = []

    def make(server, **parameters):
        inner = memory_transport(library, server.serve_connection, nursery)
        parameters.setdefault("rng", NoJitter())
        transport = library.transport(inner, **parameters)
        clients.append(
            library.module.AsyncClient(
                transport=transport, timeout=None, base_url="http://server.test"
            )
        )
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
