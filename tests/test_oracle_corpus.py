"""Every file of the corpus through the product, judged by the pydicom oracle and other readers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import corpus
import oracle

KEY = bytes(range(32))
FILES = corpus.files()
# Files that are refused, and a part of the reason.
REFUSED: dict[str, str] = {}

Rewrite = Callable[[Path], bytes | str]


@pytest.fixture(scope="module")
def rewrite() -> Rewrite:
    """path -> the rewritten bytes, or the reason of the refusal. Any other exception passes."""
    import dcmveil

    veil: Any = dcmveil.Veil("basic", key=KEY)

    @functools.cache
    def rewritten(path: Path) -> bytes | str:
        try:
            return bytes(veil.bytes(path.read_bytes()))
        except dcmveil.DicomError as error:
            return str(error.reason)

    return rewritten


@pytest.fixture(scope="module")
def uids() -> dict[bytes, bytes]:
    """One UID map for all files: the same UID must become the same one everywhere."""
    return {}


@pytest.fixture(params=FILES, ids=[name for name, _ in FILES])
def named(request: pytest.FixtureRequest) -> tuple[str, Path]:
    param: tuple[str, Path] = request.param
    return param


def test_refused_only_what_is_listed(named: tuple[str, Path], rewrite: Rewrite) -> None:
    name, path = named
    after = rewrite(path)
    if name in REFUSED:
        assert isinstance(after, str), "listed as refused, but it was rewritten"
        assert REFUSED[name] in after
    else:
        assert not isinstance(after, str), after


def test_the_profile_is_kept(
    named: tuple[str, Path], rewrite: Rewrite, uids: dict[bytes, bytes]
) -> None:
    before, after = named[1].read_bytes(), rewrite(named[1])
    if isinstance(after, str):
        pytest.skip("refused")
    assert oracle.compare(before, after, uids=uids) == []
    assert oracle.leaks(before, after) == []


def test_twice_is_once(named: tuple[str, Path], rewrite: Rewrite) -> None:
    import dcmveil

    before, after = named[1].read_bytes(), rewrite(named[1])
    if isinstance(after, str) or before[128:132] != b"DICM":
        pytest.skip("refused, or without the preamble that the run mark needs")
    assert dcmveil.Veil("basic", key=KEY).bytes(after) == after


@pytest.mark.parametrize("reader", corpus.READERS)
def test_readers_open_what_they_opened(reader: str, rewrite: Rewrite) -> None:
    opens = corpus.READERS[reader]

    def broken(path: Path) -> bool:
        after = rewrite(path)
        return (
            not isinstance(after, str)
            and corpus.pydicom_reads(path.read_bytes()) is not None
            and opens(path.read_bytes())
            and not opens(after)
        )

    for _, path in FILES:  # before the threads start: the product makes each file once
        rewrite(path)
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(broken, [path for _, path in FILES])
        assert [name for (name, _), bad in zip(FILES, answers, strict=True) if bad] == []


def test_pydicom_reads_what_it_read(named: tuple[str, Path], rewrite: Rewrite) -> None:
    after = rewrite(named[1])
    if isinstance(after, str) or corpus.pydicom_reads(named[1].read_bytes()) is None:
        pytest.skip("refused, or not read before")
    dataset = corpus.pydicom_reads(after)
    assert dataset is not None
    str(dataset)  # converts every value
