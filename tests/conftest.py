"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE, a veil to work with, and what no test may
leave."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from dcmveil import Veil

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
for name, examples in (("default", 50), ("ci", 300), ("expensive", 20_000)):
    settings.register_profile(
        name, max_examples=examples, deadline=None, suppress_health_check=SLOW_IS_FINE
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def veil() -> Veil:
    return Veil("basic", key=bytes(range(32)))


@pytest.fixture
def no_descriptor_stays_open() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before
