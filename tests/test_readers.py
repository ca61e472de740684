"""pydicom, DCMTK and GDCM read the output as they read the input: the same elements in the same
order and nesting, no listed attribute with its old value, and every file that they opened.

What is listed comes from the table alone (PS3.15 Table E.1-1), not from the profile made of it.
"""

from __future__ import annotations

import functools
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import dcmveil
import readers
from build import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, encode, sample_elements
from build import part10 as part_10
from expectations import TABLES, rows_of
from test_canaries import file_of

KEY = bytes(range(32))
READERS = ["pydicom", "dcmdump", "gdcmdump"]
SYNTAXES = {"explicit": EXPLICIT_LE, "implicit": IMPLICIT_LE, "big": EXPLICIT_BE,
            "deflated": DEFLATED[0]}  # fmt: skip
# what a dummy, a blank or a fixed value looks like: an old value may happen to be one of them
NOTHING = re.compile(
    r"(ANON|99ANON|99AN|000Y|0|YES|REMOVED|19000101(0+(\.0+)?)?|1900\.01\.01|0+(\.0+)?"
    r"|[\\ 0\n]*|(00)(\\00)*|(0+)(\\0+)*|\(no value.*|\(no value available\)|)"
)


@functools.cache
def files() -> dict[str, tuple[bytes, bytes]]:
    """name -> (input, output) of the public sets and of generated files, refused ones left out."""
    veil = dcmveil.Veil("basic", key=KEY)
    made = {
        f"made/{name} {'un' * undefined}defined": part_10(sample_elements(undefined), syntax)
        for name, syntax in SYNTAXES.items()
        for undefined in (False, True)
    }
    for name in ("explicit", "implicit"):  # a canary in every row, but no bytes after the last one
        file = file_of(SYNTAXES[name], False)
        made[f"canaries/{name}"] = file.data[: file.tail]
    made["raw/explicit"] = encode(sample_elements())
    made["raw/implicit"] = encode(sample_elements(True), "implicit-le")
    found = {}
    for name, data in [*readers.corpus_files(), *made.items()]:
        try:
            found[name] = data, veil.bytes(data)
        except dcmveil.DicomError:
            assert name not in made
    assert len(found) > 250
    return found


@functools.cache
def dumps(reader: str) -> dict[str, tuple[readers.Dump, readers.Dump]]:
    names = list(files())
    both = [data for name in names for data in files()[name]]
    if reader == "pydicom":
        seen = [readers.pydicom_dump(data, force=True) for data in both]
    elif reader == "dcmdump":
        with ThreadPoolExecutor(2) as threads:
            parts = threads.map(readers.dcmdump, readers.batches(both))
            seen = [dump for part in parts for dump in part]
    else:
        seen = readers.gdcmdump(both)
    found = {name: (seen[2 * i], seen[2 * i + 1]) for i, name in enumerate(names)}
    return {name: (old, new) for name, (old, new) in found.items() if old.opened}


@functools.cache
def listed(tag: int) -> bool:
    """A row of the table names it, with an action that takes the value away."""
    text = f"{tag:08X}"
    return any(
        len(pattern) == 8
        and all(a in ("x", b) for a, b in zip(pattern.lower(), text.lower(), strict=False))
        for pattern in patterns()
    )


@functools.cache
def registered() -> frozenset[str]:
    """UIDs of PS3.6 Annex A, which stay."""
    return frozenset((TABLES / "registered_uids.txt").read_text().split("\n"))


@functools.cache
def patterns() -> list[str]:
    return [re.sub("[(,)]", "", cells[0]) for cells in rows_of("e1_1_2026d.tsv")]


needs = [
    pytest.param(
        reader,
        marks=pytest.mark.skipif(
            not readers.INSTALLED.get(reader, True), reason=f"{reader} is not installed"
        ),
    )
    for reader in READERS
]


@pytest.mark.parametrize("reader", needs)
def test_readers_open_what_they_opened(reader: str) -> None:
    seen = dumps(reader)
    assert [name for name, (_, new) in seen.items() if not new.opened] == []
    assert len(seen) > 240


@pytest.mark.parametrize("reader", needs)
def test_readers_meet_the_same_elements_in_the_same_order_and_nesting(reader: str) -> None:
    def shape(dump: readers.Dump) -> list[tuple[int, int]]:
        return [(line.depth, line.tag) for line in dump.lines]

    seen = dumps(reader)
    assert [name for name, (old, new) in seen.items() if shape(old) != shape(new)] == []
    assert sum(len(old.lines) for old, _ in seen.values()) > 20_000


@pytest.mark.parametrize("reader", needs)
def test_no_listed_attribute_is_seen_with_its_old_value(reader: str) -> None:
    left, changed = [], 0
    for name, (old, new) in dumps(reader).items():
        for before, after in zip(old.lines, new.lines, strict=True):
            if not listed(before.tag) or NOTHING.fullmatch(before.value):
                continue
            if before.value == after.value and before.value not in registered():
                left.append(f"{name} {before}")
            changed += 1
    assert left == []
    assert changed > 4000
