"""core.differences: where two buffers of one length differ."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmveil import core


@given(st.binary(max_size=400), st.lists(st.integers(0, 399), max_size=12), st.integers(1, 200))
def test_every_difference_and_no_long_run_of_equal_bytes(
    before: bytes, places: list[int], gap: int
) -> None:
    after = bytearray(before)
    for place in places:
        if place < len(after):
            after[place] ^= 0xFF
    changed = {i for i in range(len(before)) if before[i] != after[i]}
    spans = core.differences(before, after, gap)
    assert changed <= {i for start, end in spans for i in range(start, end)}
    for start, end in spans:
        assert {start, end - 1} <= changed
        inside = sorted(i for i in changed if start <= i < end)
        assert all(b - a - 1 < gap for a, b in itertools.pairwise(inside))
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert start - end >= gap


@given(
    st.integers(0, 9000),
    st.lists(st.integers(0, 8999), max_size=12),
    st.integers(1, 8).flatmap(lambda n: st.integers(n * 600 - 70, n * 600)),
    st.sampled_from([1, 3, 64, 65, 100]),
)
def test_long_stretches(size: int, places: list[int], gap: int, run: int) -> None:
    """Of equal bytes, and of others: these are looked at many at a time."""
    before = bytes(size)
    changed = {i for place in places for i in range(place, place + run) if i < size}
    after = bytes(i in changed for i in range(size))
    wanted: list[tuple[int, int]] = []
    for i in sorted(changed):
        if wanted and i - wanted[-1][1] < gap:
            wanted[-1] = (wanted[-1][0], i + 1)
        else:
            wanted.append((i, i + 1))
    assert core.differences(before, after, gap) == wanted


def test_buffers_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        core.differences(b"ab", b"abc", 1)
