"""A file treated both ways, by a session with its face and by `Ordinary`, and the two compared."""

from __future__ import annotations

import functools
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dcmveil import DicomError, FileError, Veil
from dcmveil.engine import Engine
from dcmveil.faces import patch
from dcmveil.faces.files import KernelCopy
from dcmveil.faces.ordinary import Ordinary

KEY = bytes(range(32))
HEAD = 32 << 10  # the defaults
WINDOW = 256 << 10
NAME = b"folder/name"
BEFORE = b"records of files before this one"
# what the key decides: pseudonyms, and dates that are moved
SITE = """
extends = "basic"
[rules]
StudyDate = "shift"
SeriesDate = "shift"
PatientID = { pseudonym = "patient" }
PatientName = { pseudonym = "patient-id" }
AccessionNumber = { pseudonym = "accession" }
StudyID = "pseudonym"
"""
PROFILES: dict[str, dict[str, Any]] = {
    "basic": {},
    "with options": {
        "options": ["retain-safe-private", "clean-graphics", "retain-patient-characteristics"]
    },
    "sup142": {"profile": "sup142"},
    "omidb": {"profile": "omidb"},
    "retain-uids": {"options": ["retain-uids"]},
    "a site's": {"profile": SITE},
}
# (first read, window): such that nothing fits, that much is read again and again, and the defaults
SIZES = [(132, 132), (600, 600), (1000, 1400), (2048, 2048), (4096, 5000), (HEAD, WINDOW)]


def veil_of(place: Path, profile: str = "basic", **options: Any) -> Veil:
    if "\n" in profile:
        (place / "site.toml").write_text(profile)
        profile = str(place / "site.toml")
    return Veil(profile, key=KEY, **options)


@pytest.fixture(params=PROFILES, scope="module")
def each_veil(request: pytest.FixtureRequest, place: Path) -> Veil:
    """For tests that are run under every profile."""
    return veil_of(place, **PROFILES[request.param])


def engine_of(veil: Veil) -> Engine:
    return veil._engine


def ordinary(veil: Veil, size: tuple[int, int] = (HEAD, WINDOW), gap: int = patch.GAP) -> Ordinary:
    head, window = size
    return Ordinary(engine_of(veil), gap=gap, head=head, window=window)


Edits = list[tuple[int, bytes]]


@dataclass
class Done:
    edits: Edits
    report: str
    directory: bool = False


class Opened:
    """A file for both ways, with another one to copy into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.target = Path(f"{path}.out")

    @classmethod
    def of(cls, place: Path, data: bytes) -> Opened:
        path = place / "file"
        path.unlink(missing_ok=True)  # another inode
        path.write_bytes(data)
        return cls(path)

    @functools.cached_property
    def data(self) -> bytes:
        return self.path.read_bytes()

    def by_session(self, veil: Veil) -> Done | None:
        """None: it is refused, or would change its length."""
        edits: Edits = []

        def note(offset: int, new: bytes) -> None:
            edits.append((offset, new))

        session = veil.session()
        with self.path.open("rb") as file:
            try:
                report = patch.plan(session, file.fileno(), note, lambda: None)
            except (DicomError, FileError):
                return None
        return Done(edits, repr(report), session.directory)

    def planned(self, way: Ordinary) -> Done | None:
        records = bytearray(BEFORE)
        with self.path.open("rb") as file:
            done = way.plan(file.fileno(), NAME, records)
            inode = os.fstat(file.fileno()).st_ino
        assert records.startswith(BEFORE)
        if not done:
            return None
        head = b"FILE" + struct.pack("<H", len(NAME)) + NAME
        head += struct.pack("<QQ", inode, self.size)
        assert records.startswith(BEFORE + head)
        return Done(edits_in(records[len(BEFORE + head) :]), repr(way.report()))

    def copied(self, way: Ordinary) -> tuple[bytes, str] | None:
        with self.path.open("rb") as src, self.target.open("w+b") as dst:
            done = way.copy(src.fileno(), dst.fileno(), KernelCopy().bulk)
            return (self.target.read_bytes(), repr(way.report())) if done else None


def edits_in(records: bytearray) -> Edits:
    found: Edits = []
    at = 0
    while at < len(records):
        assert records[at : at + 4] == b"EDIT"
        offset, n = struct.unpack_from("<QI", records, at + 4)
        found.append((offset, bytes(records[at + 16 : at + 16 + n])))
        assert len(found[-1][1]) == n
        at += 16 + n
    return found


def applied(data: bytes, edits: Edits) -> bytes:
    new = bytearray(data)
    for offset, span in edits:
        new[offset : offset + len(span)] = span
    assert len(new) == len(data)
    return bytes(new)


def check_edits(data: bytes, edits: Edits, gap: int) -> None:
    """Each begins and ends with a byte that changes, has no long stretch of others, and they are in
    order. At the end of a window an edit ends too, so two may stand side by side."""
    at = 0
    for offset, new in edits:
        assert at <= offset
        old = data[offset : offset + len(new)]
        assert old[0] != new[0]
        assert old[-1] != new[-1]
        same = 0
        for one, other in zip(old, new, strict=True):
            same = same + 1 if one == other else 0
            assert same < gap
        at = offset + len(new)


def held_together(
    opened: Opened, way: Ordinary, expected: Done | None, new: bytes | None, gap: int
) -> bool:
    """Whether it was ordinary; then both ways must have said the same."""
    planned, copied = opened.planned(way), opened.copied(way)
    if planned is None or copied is None:
        assert planned is None
        assert copied is None
        return False
    assert expected is not None, "a session refuses it"
    assert planned.report == expected.report == copied[1]
    assert copied[0] == new
    assert applied(opened.data, planned.edits) == new
    if sum(len(span) for _, span in planned.edits) < 1 << 14:
        check_edits(opened.data, planned.edits, gap)
    return True


def expected_of(veil: Veil, opened: Opened) -> tuple[Done | None, bytes | None]:
    expected = opened.by_session(veil)
    if expected is None:
        return None, None
    new = veil.bytes(opened.data)
    assert applied(opened.data, expected.edits) == new
    return expected, new


def check(veil: Veil, opened: Opened) -> bool:
    """Held together under all sizes. Whether it was ordinary under the defaults."""
    expected, new = expected_of(veil, opened)
    taken = False
    for size in SIZES if opened.size < 1 << 20 else SIZES[-2:]:
        gap = patch.GAP if size[0] % 1000 else 1
        taken = held_together(opened, ordinary(veil, size, gap), expected, new, gap)
    if taken and expected and opened.size <= HEAD:
        done = opened.planned(ordinary(veil))
        assert done
        assert done.edits == expected.edits
    return taken
