"""Every file of the corpus through the product, judged by the pydicom oracle and other readers."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import corpus
import oracle

KEY = bytes(range(32))
FILES = corpus.files()
NOT_DICOM = "not a DICOM file or data set"
# Name without its folder -> part of the reason. What pydicom does not read as DICOM either is not
# listed: it must be refused as such.
REFUSED = {
    "emri_small_jpeg_2k_lossless_too_short.dcm": "the input ends too early",
    "MR_truncated.dcm": "the input ends too early",
    "rtplan_truncated.dcm": "the input ends too early",
    # the last item claims 24 bytes more than the file has
    "DICOMDIR-nooffset": "the length reaches past the end of what encloses it",
    # the data set starts with an unknown private element
    "meta_missing_tsyntax.dcm": "no transfer syntax is named",
}

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


def check_refusal(path: Path, reason: str) -> None:
    """A refusal is one that is listed, or of a file that pydicom does not read either."""
    if path.name in REFUSED:
        assert REFUSED[path.name] in reason
    else:
        assert reason == NOT_DICOM
        assert corpus.pydicom_reads(path) is None


def test_every_file_is_rewritten_as_the_profile_says_or_refused_for_its_reason(
    named: tuple[str, Path], rewrite: Rewrite, uids: dict[bytes, bytes]
) -> None:
    path = named[1]
    before, after = path.read_bytes(), rewrite(path)
    if isinstance(after, str):
        check_refusal(path, after)
        return
    assert path.name not in REFUSED, "listed as refused, but it was rewritten"
    assert oracle.compare(before, after, uids=uids) == []
    assert oracle.leaks(before, after) == []


def test_twice_is_once(named: tuple[str, Path], rewrite: Rewrite) -> None:
    """Without a preamble there is no run mark: then new UIDs are mapped again, and nothing else
    changes, so that a third run maps each old UID to one new one again."""
    import dcmveil

    veil = dcmveil.Veil("basic", key=KEY)
    once = rewrite(named[1])
    if isinstance(once, str):
        check_refusal(named[1], once)
    elif once[128:132] == b"DICM":
        assert veil.bytes(once) == once
    else:
        twice = veil.bytes(once)
        assert oracle.compare(once, twice) == []
        assert blind(once) == blind(twice)


def blind(data: bytes) -> bytes:
    """A data set with the digits of every UID that was mapped made equal."""
    return re.sub(rb"2\.25\.[0-9.]+", lambda uid: b"#" * len(uid.group()), data)


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(
            reader,
            marks=pytest.mark.skipif(
                shutil.which(corpus.COMMAND_OF[reader]) is None,
                reason=f"{corpus.COMMAND_OF[reader]} is not installed",
            ),
        )
        for reader in corpus.READERS
    ],
)
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


@pytest.mark.filterwarnings("ignore")  # of values that were odd before
def test_pydicom_reads_what_it_read(named: tuple[str, Path], rewrite: Rewrite) -> None:
    after = rewrite(named[1])
    if isinstance(after, str):
        check_refusal(named[1], after)
        return
    assert corpus.pydicom_reads(named[1]) is not None, "what it does not read is refused"
    dataset = corpus.pydicom_reads(after)
    assert dataset is not None
    str(dataset)  # converts every value
