"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE; a veil, a key and a folder to work with; and
what no test may leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dcmveil import Veil, write_key

# a failed assertion in one of these tells as much as one in a test
pytest.register_assert_rewrite("both_ways", "samples", "verdicts")

KEY = bytes(range(32))

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
for name, examples in (("default", 50), ("ci", 300), ("expensive", 20_000)):
    settings.register_profile(
        name, max_examples=examples, deadline=None, suppress_health_check=SLOW_IS_FINE
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def veil() -> Veil:
    return Veil("basic", key=KEY)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file with the key of the veil."""
    path = tmp_path / "project.key"
    write_key(path, KEY)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests of a module."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture
def batches_of_32(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they take."""
    for name, value in (("FIRST", 32), ("MOST", 32), ("LONG", 1e9)):
        monkeypatch.setattr(f"dcmveil.trees.batches.{name}", value)


@pytest.fixture
def no_descriptor_stays_open() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before
