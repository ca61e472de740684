"""The rewriting itself, without a process around it: ns an element, bytes a second.

pytest benches --benchmark-only          (record.py keeps the results)
"""

from __future__ import annotations

from collections.abc import Callable

import inputs
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import dcmveil
from dcmveil import core
from dcmveil.faces.stream import stream

KEY = bytes(range(32))
INPUTS: dict[str, Callable[[], bytes]] = {
    "mr": inputs.mr,
    "ct": inputs.ct,
    "enhanced": inputs.enhanced,
    "contours": inputs.contours,
    "fragments": inputs.fragments,
}
# At one byte a time each step finds too little, so this is for a small input alone.
READS = {"ct": [4 << 10, 64 << 10, 1 << 20], "enhanced": [4 << 10, 64 << 10, 1 << 20], "mr": [1]}


class Source:
    """A readable that never gives more than `most` bytes."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = memoryview(data)
        self._most = most
        self._at = 0

    def readinto(self, room: memoryview) -> int:
        n = min(len(room), self._most, len(self._data) - self._at)
        room[:n] = self._data[self._at : self._at + n]
        self._at += n
        return n

    def read(self, size: int, /) -> bytes:
        raise AssertionError("readinto is asked for")


class Sink:
    def write(self, data: bytes | memoryview, /) -> int:
        return len(data)


@pytest.fixture(scope="session")
def veil() -> dcmveil.Veil:
    return dcmveil.Veil(key=KEY)


@pytest.mark.parametrize("name", INPUTS)
def test_bytes(benchmark: BenchmarkFixture, veil: dcmveil.Veil, name: str) -> None:
    """Veil.bytes: a whole input in memory, the UIDs of its study already in the cache."""
    data = INPUTS[name]()
    report = veil.stream(Source(data, 1 << 18), Sink())
    benchmark.extra_info.update(elements=report.elements, bytes=len(data))
    assert len(benchmark(veil.bytes, data)) == len(data)


@pytest.mark.parametrize(
    ("name", "most"), [(n, most) for n, all_ in READS.items() for most in all_]
)
def test_reads(benchmark: BenchmarkFixture, veil: dcmveil.Veil, name: str, most: int) -> None:
    """A session whose source gives so many bytes at a time."""
    data = INPUTS[name]()
    report = benchmark(lambda: stream(veil.session(), Source(data, most), Sink()))
    benchmark.extra_info.update(elements=report.elements, bytes=len(data), read=most)
    assert report.bytes_out == len(data)


@pytest.mark.parametrize("name", ["enhanced", "contours"])
def test_core(benchmark: BenchmarkFixture, veil: dcmveil.Veil, name: str) -> None:
    """The compiled core alone, over a header that is all in the window."""
    data = INPUTS[name]()
    encoding = core.IMPLICIT_LE if name == "contours" else core.EXPLICIT_LE

    def fresh() -> tuple[tuple[core.Rewriter, bytearray], dict[str, object]]:
        rewriter = core.Rewriter(veil.profile.rules, lambda asks: [ask[1] for ask in asks])
        return (rewriter, bytearray(data)), {}

    def walk(rewriter: core.Rewriter, window: bytearray) -> int:
        assert rewriter.step(window, len(window), True) == core.SYNTAX
        rewriter.set_encoding(encoding)
        assert rewriter.step(window, len(window), True) == core.DONE
        return rewriter.elements

    elements = benchmark.pedantic(walk, setup=fresh, rounds=50)
    benchmark.extra_info.update(elements=elements, bytes=len(data))


def test_veil(benchmark: BenchmarkFixture) -> None:
    """Making a veil: tables read, rules frozen. A pipe does this once for each file."""
    benchmark(lambda: dcmveil.Veil(key=KEY))


def test_session(benchmark: BenchmarkFixture, veil: dcmveil.Veil) -> None:
    """Making a session, as each input needs one."""
    benchmark(veil.session)
