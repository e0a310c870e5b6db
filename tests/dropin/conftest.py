"""For the tests of the drop-in: each runs with httpx and with httpx2, and leaves nothing open."""

from __future__ import annotations

import gc
import os

import pytest

from .support import LIBRARIES, Library, NoJitter, memory_transport


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def library(request) -> Library:
    return request.param


@pytest.fixture(scope="session")
def _thaw():
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_left_open(_thaw):
    """No descriptor stays open.  (Warnings of collected generators are errors.)"""
    gc.collect()
    gc.freeze()  # the SDKs' models are many, and made as they are used: search none of it twice
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def make_client(library, nursery, nothing_left_open):
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
