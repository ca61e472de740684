"""The rewriting itself, without a process around it: ns an element, bytes a second.

pytest benches --benchmark-only          (record.py keeps the results)
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import inputs
import pytest
from contest import default_folder
from pytest_benchmark.fixture import BenchmarkFixture
from windows import walk

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
    assert len(benchmark(veil.bytes, data)) == len(data)
    _note_rates(benchmark, report.elements, len(data))


@pytest.mark.parametrize(
    ("name", "most"), [(n, most) for n, all_ in READS.items() for most in all_]
)
def test_reads(benchmark: BenchmarkFixture, veil: dcmveil.Veil, name: str, most: int) -> None:
    """A session whose source gives so many bytes at a time."""
    data = INPUTS[name]()
    report = benchmark(lambda: stream(veil.session(), Source(data, most), Sink()))
    assert report.bytes_out == len(data)
    _note_rates(benchmark, report.elements, len(data))


CORE: dict[str, Callable[[], bytes]] = {
    "ct-header": inputs.ct_header,
    "no-hit": lambda: inputs.hits(0),
    "20-hits": lambda: inputs.hits(20),
    "all-hit": lambda: inputs.hits(2000),
    "enhanced": inputs.enhanced,
    "contours": inputs.contours,
    "fragments": inputs.fragments,
    # the worst that was thought of
    "deep": inputs.deep,
    "blocks": inputs.blocks,
    "unknown": inputs.unknown,
    "other-uids": inputs.other_uids,
}
WINDOWS = {
    1: ["ct-header"],
    4 << 10: list(CORE),
    64 << 10: ["enhanced", "contours"],
    1 << 20: list(CORE),
}


@pytest.mark.parametrize(
    ("name", "size"), [(n, size) for size, all_ in WINDOWS.items() for n in all_]
)
def test_core(benchmark: BenchmarkFixture, veil: dcmveil.Veil, name: str, size: int) -> None:
    """The compiled core alone, in a window that gets `size` bytes more at a time. Questions about
    UIDs are answered with what is there, except by other-uids."""
    data = CORE[name]()
    answer = veil.session()._engine.answers("", b"", False) if name == "other-uids" else _same
    rewriter = core.Rewriter(veil.profile.rules, answer)

    def fresh() -> tuple[tuple[core.Rewriter, memoryview, int], dict[str, object]]:
        rewriter.restart(answer)
        return (rewriter, memoryview(bytearray(data)), size), {}

    benchmark.pedantic(walk, setup=fresh, rounds=30)
    assert rewriter.position == len(data)
    _note_rates(benchmark, rewriter.elements, len(data))


def _same(asks: list[core.Ask]) -> list[core.Answer]:
    return [value for _, value, _, _ in asks]


def _note_rates(benchmark: BenchmarkFixture, elements: int, size: int) -> None:
    benchmark.extra_info.update(elements=elements, bytes=size)
    if benchmark.stats is not None:  # not with --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info.update(
            ns_per_element=round(median * 1e9 / elements, 2),
            gb_per_s=round(size / median / 1e9, 3),
        )


FACES: dict[str, Callable[[dcmveil.Veil, Path, Path], object]] = {
    "copy": lambda veil, src, dst: veil.copy(src, dst),
    "patch": lambda veil, src, dst: veil.patch(dst),
    "stream": lambda veil, src, dst: veil.stream(src.open("rb", 0), dst.open("wb", 0)),
    "reader": lambda veil, src, dst: dst.write_bytes(veil.reader(src.open("rb", 0)).read()),
    "plan": lambda veil, src, dst: sum(1 for _ in veil.plan(src)),
    "tar": lambda veil, src, dst: veil.tar(src.with_suffix(".tar").open("rb"), dst.open("wb")),
    "zip": lambda veil, src, dst: veil.tar(src.with_suffix(".zip").open("rb"), dst.open("wb")),
}


@pytest.mark.parametrize(("face", "name"), [(face, n) for n in ("mr", "ct") for face in FACES])
def test_face(
    benchmark: BenchmarkFixture, veil: dcmveil.Veil, memory: Path, face: str, name: str
) -> None:
    """One file by each face, its opening and closing with it; an archive has it as its only
    member."""
    src, dst = memory / "in.dcm", memory / "out.dcm"
    src.write_bytes(INPUTS[name]())
    with tarfile.open(src.with_suffix(".tar"), "w") as tar:
        tar.add(src, "in.dcm")
    with zipfile.ZipFile(src.with_suffix(".zip"), "w") as archive:
        archive.write(src, "in.dcm")

    def fresh() -> None:
        if face == "patch":
            shutil.copy(src, dst)
        else:
            dst.unlink(missing_ok=True)

    benchmark.pedantic(FACES[face], (veil, src, dst), setup=fresh, rounds=200, warmup_rounds=5)
    if face != "plan":
        assert dst.read_bytes() not in (b"", src.read_bytes())


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=default_folder()) as folder:
        yield Path(folder)


def test_veil(benchmark: BenchmarkFixture) -> None:
    """Making a veil: tables read, rules frozen. A pipe does this once for each file."""
    assert benchmark(lambda: dcmveil.Veil(key=KEY)).profile.name == "basic"


@pytest.mark.parametrize("name", ["mr", "ct-small"])
def test_session(benchmark: BenchmarkFixture, veil: dcmveil.Veil, name: str) -> None:
    """A small file through a session, as the faces for files do it: one push, and no copy."""
    data = {"mr": inputs.mr, "ct-small": inputs.ct_small}[name]()

    def run() -> int:
        session = veil.session()
        with session.room() as room:
            room[: len(data)] = data
        for _ in session.push(len(data), True):
            pass
        assert session.done
        return session.report.elements

    _note_rates(benchmark, benchmark(run), len(data))
