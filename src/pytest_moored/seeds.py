"""The seed of a run, and the seed of each test that follows from it."""

from __future__ import annotations

import hashlib
import secrets

import pytest

__all__ = ["WORKER_INPUT", "of_run", "of_test", "settle", "words"]

WORKER_INPUT = "moored_seed"
"""Under which name a worker of pytest-xdist is given the seed of the run."""

_SEED = pytest.StashKey[int]()


def settle(config: pytest.Config) -> None:
    """Settle the seed of the run: the option's, the one that a worker was given, or a new one.

    A new one comes from the system, since a seeded global generator would always give the same.
    """
    seed = config.getoption("--moored-seed")
    if seed is None:
        seed = getattr(config, "workerinput", {}).get(WORKER_INPUT)
    config.stash[_SEED] = secrets.randbits(32) if seed is None else seed


def of_run(config: pytest.Config) -> int:
    """The seed of the run."""
    return config.stash[_SEED]


def of_test(item: pytest.Item) -> int:
    """The seed of one test: its marker's, or one from the run's seed and the test's node id.

    It does not depend on which other tests run, in what order, or in which process.
    """
    given = _given(item)
    if given is not None:
        return given
    text = f"{of_run(item.config)}/{item.nodeid}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def words(item: pytest.Item) -> str:
    """The seed of one test, and how to have it again."""
    if _given(item) is not None:
        return f"seed {of_test(item)}, as the marker says"
    return f"seed {of_test(item)}: the same faults again with --moored-seed={of_run(item.config)}"


def _given(item: pytest.Item) -> int | None:
    mark = item.get_closest_marker("faults")
    seed = None if mark is None else mark.kwargs.get("seed")
    return seed if isinstance(seed, int) else None
