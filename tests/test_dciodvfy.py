"""dciodvfy (dicom3tools) before and after, on every file of the public sets: no new error but those
that dciodvfy.tsv lists, each with its reason. docs/testing.md shows the list."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import dcmveil
import readers

KEY = bytes(range(32))
HERE = Path(__file__).parent
DOCS = HERE.parent / "docs/testing.md"
SECONDS = 300

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed"
)


def known() -> list[tuple[str, str]]:
    lines = (HERE / "dciodvfy.tsv").read_text().splitlines()
    return [(a, b) for a, b in (line.split("\t") for line in lines if not line.startswith("#"))]


def errors(data: bytes) -> Counter[str]:
    """Its errors, with UIDs made equal: that they are others is no news."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(
            ["dciodvfy", file.name], capture_output=True, timeout=SECONDS, check=False
        )
    lines = (done.stderr + done.stdout).decode("latin-1").splitlines()
    texts = [line.removeprefix("Error - ") for line in lines if line.startswith("Error - ")]
    return Counter(re.sub(r"[0-9]+(\.[0-9]+)+|(?<=UID) +$", "", text).strip() for text in texts)


@needs_dciodvfy
def test_no_new_errors_but_the_listed_ones() -> None:
    veil = dcmveil.Veil("basic", key=KEY)

    def new_errors(named: tuple[str, bytes]) -> list[tuple[str, str]]:
        try:
            output = veil_bytes[named[0]]
        except KeyError:  # refused
            return []
        return [(named[0], text) for text in errors(output) - errors(named[1])]

    veil_bytes = {}
    for name, data in readers.corpus_files():
        try:
            veil_bytes[name] = veil.bytes(data)
        except dcmveil.DicomError:
            continue
    with ThreadPoolExecutor(2) as threads:
        found = [new for part in threads.map(new_errors, readers.corpus_files()) for new in part]
    patterns = [re.compile(pattern) for pattern, _ in known()]
    unknown = [new for new in found if not any(p.fullmatch(new[1]) for p in patterns)]
    assert unknown == []
    stale = [p.pattern for p in patterns if not any(p.fullmatch(text) for _, text in found)]
    assert stale == []
    assert len(veil_bytes) > 240


@needs_dciodvfy
def test_dciodvfy_sees_a_new_error() -> None:
    """The comparison can fail: a required attribute that becomes empty is an error of its own."""
    name, data = next(n for n in readers.corpus_files() if n[0].endswith("/CT_small.dcm"))
    assert errors(data.replace(b"ORIGINAL", b"        ", 1)) - errors(data), name


def test_the_docs_show_the_list() -> None:
    text = " ".join(DOCS.read_text("utf-8").split())
    assert [reason for _, reason in known() if reason not in text] == []
