"""The two ways of a file held together: what `Ordinary` takes it treats as a session and a face do,
byte by byte and count by count; what it leaves has no trace in it."""

from __future__ import annotations

import functools
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import corpus
from build import (
    DEFLATED,
    EXPLICIT_BE,
    JPEG_BASELINE,
    E,
    Fragments,
    Item,
    part10,
    sample,
    sample_elements,
)
from dcmveil import DicomError, FileError, Veil, load_pseudonyms
from dcmveil.engine import Engine
from dcmveil.faces import patch
from dcmveil.faces.files import KernelCopy
from dcmveil.faces.ordinary import Ordinary
from faces import environment
from folders import instance
from preloaded import library
from test_documents import PDF
from test_faults import FAULTS, NOTES

KEY = bytes(range(32))
HEAD = 32 << 10  # the defaults
WINDOW = 256 << 10
NAME = b"folder/name"
BEFORE = b"records of files before this one"
BASIC_VOICE = "1.2.840.10008.5.1.4.1.1.9.4.1"
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


@pytest.fixture(params=PROFILES, scope="module")
def veil(request: pytest.FixtureRequest, place: Path) -> Veil:
    return veil_of(place, **PROFILES[request.param])


def veil_of(place: Path, profile: str = "basic", **options: Any) -> Veil:
    if "\n" in profile:
        (place / "site.toml").write_text(profile)
        profile = str(place / "site.toml")
    return Veil(profile, key=KEY, **options)


def engine_of(veil: Veil) -> Engine:
    return veil._engine


def ordinary(veil: Veil, size: tuple[int, int] = (HEAD, WINDOW), gap: int = patch.GAP) -> Ordinary:
    head, window = size
    return Ordinary(engine_of(veil), gap=gap, head=head, window=window)


# -- either way ------------------------------------------------------------------------------------

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


# -- files as they are -----------------------------------------------------------------------------


def test_the_corpus(veil: Veil) -> None:
    """And what must be ordinary is: no file goes the long way without a reason."""
    taken = 0
    for name, path in corpus.files():
        opened = Opened(path)
        expected = opened.by_session(veil)
        should = (
            expected is not None
            and opened.data[128:134] == b"DICM\2\0"
            and not opened.data.startswith(b"DCMVEIL")
            and not expected.directory
            and BASIC_VOICE[:-1].encode() not in opened.data[:2000]
        )
        assert should == (opened.planned(ordinary(veil)) is not None), name
        taken += should
    assert taken > 180


def test_the_corpus_under_all_sizes(veil: Veil, place: Path) -> None:
    for _, path in corpus.files():
        opened = Opened(path)
        opened.target = place / "out"
        check(veil, opened)


# -- made files ------------------------------------------------------------------------------------

ICON = [
    E(0x00280002, "US", [1]),
    E(0x00280004, "CS", "MONOCHROME2"),
    E(0x00280010, "US", [8]),
    E(0x00280011, "US", [8]),
    E(0x00280100, "US", [8]),
    E(0x00280101, "US", [8]),
    E(0x00280102, "US", [7]),
    E(0x00280103, "US", [0]),
]


def with_elements(*more: E, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """The sample with these in place of its own."""
    tags = {e.tag for e in more}
    own = [e for e in sample_elements() if isinstance(e, E) and e.tag not in tags]
    both: list[E] = sorted([*own, *more], key=lambda e: e.tag)
    return part10(both, syntax)


def uids(*values: str) -> E:
    return E(0x00081115, "SQ", [Item([E(0x00081155, "UI", value)]) for value in values])


def made() -> dict[str, bytes]:
    """Whole files that are ordinary."""
    encapsulated = Fragments([b"", bytes(range(256)) * 20, b"\xff\xd8" + bytes(5000)])
    small = [*ICON, E(0x7FE00010, "OB", Fragments([b"", bytes(range(200)) * 10]))]
    return {
        **{f"sample, {encoding}, {undefined}": sample(encoding, undefined)
           for encoding in ("explicit-le", "implicit-le", "explicit-be")
           for undefined in (False, True)},
        "bulk": with_elements(E(0x7FE00010, "OW", bytes(range(250)) * 200)),
        "bulk, big endian": with_elements(
            E(0x7FE00010, "OW", bytes(range(250)) * 200), syntax=EXPLICIT_BE),
        "bulk at the end": instance(pixels=bytes(range(250)) * 200),
        "fragments": with_elements(E(0x7FE00010, "OB", encapsulated), syntax=JPEG_BASELINE),
        "document": with_elements(E(0x00420011, "OB", PDF + bytes(range(256)) * 300)),
        "native icon": with_elements(E(0x00880200, "SQ", [Item(
            [*ICON, E(0x7FE00010, "OW", bytes(range(64)))])])),
        "encapsulated icon": with_elements(
            E(0x00880200, "SQ", [Item(small)]), E(0x7FE00010, "OB", encapsulated),
            syntax=JPEG_BASELINE),
        "short UIDs": with_elements(
            uids("1.2.3.4.5.6", "1.2", "1.2.840.10008.99.1", "1.2.3.4.5.6")),
        "several UIDs": with_elements(E(0x00081199, "SQ", [Item([E(
            0x00081155, "UI", "1.2.826.0.1.3680043.9.7.1\\1.2.826.0.1.3680043.9.7.2")])])),
        "no Patient ID": with_elements(E(0x00100020, "LO", "")),
        "pseudonym with a note": with_elements(
            E(0x00100020, "LO", b"M\xfcller 1"), E(0x00080050, "SH", "7")),
        "another patient": with_elements(E(0x00100020, "LO", "HOSP-990123")),
        "long text": with_elements(E(0x00104000, "LT", "Daughter calls. " * 600)),
        "private bulk": with_elements(
            E(0x00110010, "LO", "ACME MAGNETS 1.0"),
            E(0x00111003, "OB", bytes(range(1, 251)) * 60)),
        "private before the patient": with_elements(E(0x00091003, "OB", b"raw doe bytes\0" * 50)),
        "nothing after the patient": part10(
            [E(0x00080018, "UI", "1.2.3.4.5.6.7"), E(0x00100020, "LO", "4711")]),
        "no more than meta": part10([]),
        "no meta": bytes(128) + b"DICM" + instance(preamble=None),
    }  # fmt: skip


MADE = made()


@pytest.mark.parametrize("name", MADE)
def test_made_files(veil: Veil, place: Path, name: str) -> None:
    opened = Opened.of(place, MADE[name])
    refused = opened.by_session(veil) is None
    assert check(veil, opened) == (not refused)


def test_most_made_files_are_accepted(veil: Veil, place: Path) -> None:
    refused = [name for name in MADE if Opened.of(place, MADE[name]).by_session(veil) is None]
    assert set(refused) <= {"no more than meta"}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(veil: Veil, place: Path, name: str) -> None:
    data, _ = FAULTS[name]
    if len(data) < 1 << 20:
        opened = Opened.of(place, data)
        taken = check(veil, opened)
        assert not (taken and opened.by_session(veil) is None)


def test_faults_are_faults(place: Path) -> None:
    """Under the profile that they were made for none of them is ordinary."""
    basic = veil_of(place)
    for data, _ in FAULTS.values():
        if len(data) < 1 << 20:
            assert Opened.of(place, data).planned(ordinary(basic)) is None


@pytest.mark.parametrize("name", NOTES)
def test_tolerated(veil: Veil, place: Path, name: str) -> None:
    """As they are, without a preamble, and in a file that has one."""
    data, _ = NOTES[name]
    check(veil, Opened.of(place, data))
    if data[128:132] != b"DICM":
        data = part10([data])
    cut = name == "pixel data cut short"
    assert check(veil, Opened.of(place, data)) == (not cut)


@pytest.mark.parametrize("name", [
    "sample, explicit-le, False", "sample, implicit-le, True", "bulk", "fragments", "document",
    "encapsulated icon", "long text", "private bulk",
])  # fmt: skip
@pytest.mark.parametrize("gap", [1, patch.GAP])
def test_every_first_read(place: Path, name: str, gap: int) -> None:
    """From too short for anything to the whole file: an edge falls everywhere."""
    basic = veil_of(place)
    opened = Opened.of(place, MADE[name])
    expected, new = expected_of(basic, opened)
    taken = 0
    for head in [*range(132, min(opened.size + 2, 3000), 5), opened.size - 1, opened.size]:
        for window in (head, 2 * head + 1, head + 20_000):
            way = ordinary(basic, (head, window), gap)
            taken += held_together(opened, way, expected, new, gap)
    assert taken > 20


@pytest.mark.parametrize("name", ["sample, explicit-le, False", "bulk", "fragments"])
def test_every_window(place: Path, name: str) -> None:
    """What is read next begins at another byte each time."""
    basic = veil_of(place)
    opened = Opened.of(place, MADE[name])
    expected, new = expected_of(basic, opened)
    least = next(
        head
        for head in range(132, opened.size)
        if opened.planned(ordinary(basic, (head, WINDOW))) is not None
    )
    for window in range(least, least + 300):
        held_together(opened, ordinary(basic, (least, window), 1), expected, new, 1)
    assert all(
        held_together(opened, ordinary(basic, (least, window), 1), expected, new, 1)
        for window in range(least + 4096, least + 4396)  # the rest of a fragment that is no skip
    )


def test_damaged_files(veil: Veil, place: Path) -> None:
    """Bytes changed, taken out or put in anywhere behind the preamble."""
    chance = random.Random(20240229)
    files = [data for data in MADE.values() if len(data) < 20_000]
    way = ordinary(veil)
    accepted = taken = 0
    for _ in range(1000):
        data = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(132, len(data))
            how = chance.randrange(3)
            if how == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif how == 1:
                del data[at : at + chance.choice((1, 2, 8))]
            else:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.choice((2, 8, 60))]
        opened = Opened.of(place, bytes(data))
        expected, new = expected_of(veil, opened)
        accepted += expected is not None
        taken += held_together(opened, way, expected, new, patch.GAP)
        head = chance.randrange(132, len(data))
        small = ordinary(veil, (head, head + chance.choice((0, 300, 5000))), 1)
        held_together(opened, small, expected, new, 1)
    assert accepted >= taken > accepted - 10  # a damaged transfer syntax may be one of a DICOMDIR
    assert 100 < accepted < 900


# -- what is not ordinary --------------------------------------------------------------------------


def directory() -> bytes:
    record = Item([E(0x00041400, "UL", [0]), E(0x00041410, "US", [0xFFFF]),
                   E(0x00041420, "UL", [0]), E(0x00041430, "CS", "PATIENT"),
                   E(0x00100010, "PN", "DOE^J"), E(0x00100020, "LO", "4711")])  # fmt: skip
    return part10([E(0x00041220, "SQ", [record])], meta=[
        E(0x00020002, "UI", "1.2.840.10008.1.3.10"), E(0x00020003, "UI", "1.2.3.4.5.6.7.8"),
        E(0x00020010, "UI", "1.2.840.10008.1.2.1")])  # fmt: skip


def voice(in_meta: bool) -> bytes:
    class_ = E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4" if in_meta else BASIC_VOICE)
    meta = [E(0x00020002, "UI", BASIC_VOICE if in_meta else "1.2.840.10008.5.1.4.1.1.4"),
            E(0x00020010, "UI", "1.2.840.10008.1.2.1")]  # fmt: skip
    return part10([class_, E(0x00100020, "LO", "4711"),
                   E(0x54000100, "SQ", [Item([E(0x54001010, "OW", bytes(range(64)))])])],
                  meta=meta)  # fmt: skip


def characteristics() -> bytes:
    block = Item([E(0x00080303, "CS", "SAFE"), E(0x00080304, "US", [0x0011]),
                  E(0x00080301, "US", [0x0011])])  # fmt: skip
    return with_elements(E(0x00080300, "SQ", [block]))


def not_ordinary() -> dict[str, bytes]:
    plain = sample()
    veil = Veil(key=KEY)
    return {
        "marked": veil.bytes(plain),
        "marked by another": Veil(key=bytes(range(1, 33))).bytes(plain),
        "marked, and changed since": veil.bytes(plain).replace(b"ANON", b"MONA"),
        "a mark's name": b"DCMVEIL" + plain[7:],
        **{f"deflated {syntax}": part10(sample_elements(), syntax) for syntax in DEFLATED},
        **{f"deflated by its name alone, {syntax}": part10(
            sample_elements(), meta=[E(0x00020010, "UI", syntax)]) for syntax in DEFLATED},
        "a DICOMDIR": directory(),
        "a voice": voice(in_meta=False),
        "a voice by its meta": voice(in_meta=True),
        "characteristics of private elements": characteristics(),
        "no preamble": plain[132:],
        "a data set": instance(preamble=None),
        "no DICM": plain[:128] + b"DICN" + plain[132:],
        "unknown transfer syntax": part10([E(0x00100020, "LO", "1")], "1.2.840.10008.1.2.9"),
        "text": b"no DICOM at all\n" * 40,
        "empty": b"",
        "one byte": b"\0",
        "a preamble alone": bytes(128),
        "a preamble and DICM": bytes(128) + b"DICM",
        "half a UID": plain[:150],
    }  # fmt: skip


@pytest.mark.parametrize("name", not_ordinary())
def test_not_ordinary(veil: Veil, place: Path, name: str) -> None:
    opened = Opened.of(place, not_ordinary()[name])
    for size in SIZES:
        assert opened.planned(ordinary(veil, size)) is None
        assert opened.copied(ordinary(veil, size)) is None


def test_what_is_cut_off_at_any_byte(place: Path) -> None:
    """What a session accepts, since it ends between two elements, is ordinary."""
    basic = veil_of(place)
    opened = Opened.of(place, sample())
    way, small = ordinary(basic), ordinary(basic, (700, 700))
    accepted = 0
    for size in range(opened.size - 1, -1, -1):
        os.truncate(opened.path, size)
        cut = Opened(opened.path)
        expected, new = expected_of(basic, cut)
        taken = held_together(cut, way, expected, new, patch.GAP)
        assert taken == (expected is not None and size > 132)
        held_together(cut, small, expected, new, patch.GAP)
        accepted += taken
    assert 30 < accepted < 150


def test_limit_of_the_size(place: Path) -> None:
    basic = veil_of(place)
    for data in (sample(), MADE["bulk"]):
        opened = Opened.of(place, data)
        for limit, taken in ((len(data) - 1, False), (len(data), True), (0, False)):
            way = Ordinary(engine_of(basic), gap=1, size_limit=limit)
            assert (opened.planned(way) is not None) == taken
            assert (opened.copied(way) is not None) == taken


def test_limit_of_what_is_held(place: Path) -> None:
    """To the byte that of a session."""
    edge = 0
    opened = Opened.of(place, MADE["private before the patient"])
    basic = veil_of(place)
    for limit in range(1200, 3000):
        basic._hold_limit = limit
        accepted = opened.by_session(basic) is not None
        assert (opened.planned(basic.ordinary()) is not None) == accepted
        edge += accepted
    assert 0 < edge < 1800


def test_more_edits_than_a_journal_should_hold_in_memory(place: Path) -> None:
    """In place it goes by way of the journal's file; a copy has no edits."""
    basic = veil_of(place)
    data = with_elements(E(0x00110010, "LO", "ACME MAGNETS 1.0"),
                         E(0x00111003, "OB", bytes(range(1, 251)) * 6000))  # fmt: skip
    opened = Opened.of(place, data)
    assert opened.planned(ordinary(basic)) is None
    copied = opened.copied(ordinary(basic))
    assert copied
    assert copied[0] == basic.bytes(data)


def test_a_second_name(place: Path) -> None:
    """A copy does not care; in place the other name would change too."""
    basic = veil_of(place)
    opened = Opened.of(place, sample())
    other = place / "second name"
    os.link(opened.path, other)
    assert opened.planned(ordinary(basic)) is None
    assert opened.copied(ordinary(basic)) is not None
    other.unlink()
    assert opened.planned(ordinary(basic)) is not None


def test_files_that_cannot_be_read_or_written(place: Path) -> None:
    basic = veil_of(place)
    way = ordinary(basic)
    opened = Opened.of(place, MADE["bulk"])
    file = os.open(opened.path, os.O_RDONLY)
    full = os.open("/dev/full", os.O_WRONLY)
    assert not way.copy(file, full, KernelCopy().bulk)
    assert not way.copy(file, file, KernelCopy().bulk)  # not open for writing

    def fail(src: int, dst: int, n: int) -> int:
        raise OSError(28, "No space left on device")

    # the kernel does not copy to the end of such a file by the call that is tried first
    with opened.target.open("ab") as dst, pytest.raises(OSError, match="No space left"):
        way.copy(file, dst.fileno(), fail)
    os.close(file)
    os.close(full)
    assert not way.plan(file, NAME, bytearray())
    assert not way.copy(file, full, KernelCopy().bulk)
    expected, new = expected_of(basic, opened)
    assert held_together(opened, way, expected, new, patch.GAP)


def test_wrong_windows(place: Path) -> None:
    engine = engine_of(veil_of(place))
    for head, window in ((131, 1000), (1000, 999), (0, 0)):
        with pytest.raises(ValueError, match="smaller"):
            Ordinary(engine, gap=1, head=head, window=window)
    Ordinary(engine, gap=1, head=132, window=132)


# -- one after the other ---------------------------------------------------------------------------


def shuffled(files: list[bytes], seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(3):
        chance.shuffle(files)
        yield from files


def test_nothing_stays_from_the_file_before(place: Path) -> None:
    """Ordinary ones, those that are left at every point, refused ones, and sessions in between,
    with one engine: each is as the first of a new engine."""
    options = PROFILES["a site's"]
    files = [*MADE.values(), *not_ordinary().values()]
    for name in ("short UIDs", "pseudonym with a note", "several UIDs", "no Patient ID"):
        whole = MADE[name]
        files += [whole[:-3], whole[: len(whole) // 2], whole + b"\1"]
    alone: dict[bytes, tuple[Done | None, bytes | None]] = {
        data: expected_of(veil_of(place, **options), Opened.of(place, data)) for data in files
    }
    noted = [done.report for done, _ in alone.values() if done]
    assert sum("pseudonym" in report for report in noted) > 0
    assert sum("date blanked" in report for report in noted) > 0
    assert sum("'vanished': 1" in report for report in noted) > 0
    for seed in range(3):
        veil = veil_of(place, **options)
        ways = [ordinary(veil, size) for size in SIZES[-3:]]
        chance = random.Random(seed)
        taken = 0
        for data in shuffled(files, seed):
            opened = Opened.of(place, data)
            expected, new = alone[data]
            for way in chance.sample(ways, 2):
                taken += held_together(opened, way, expected, new, patch.GAP)
            if chance.random() < 0.5:
                assert opened.by_session(veil) == expected
        assert taken > 100


def test_days_of_two_patients(place: Path) -> None:
    """In turn, by one Ordinary: each patient's dates move by days of their own, always the same."""
    veil = veil_of(place, **PROFILES["a site's"])
    way = ordinary(veil)
    dates: dict[str, set[bytes]] = {}
    names: dict[str, set[str]] = {}
    for number, patient in enumerate(["HOSP-004711", "HOSP-990123"] * 3 + ["HOSP-004711"] * 2):
        data = instance(number, patient=patient)
        opened = Opened.of(place, data)
        expected, new = expected_of(veil, opened)
        assert held_together(opened, way, expected, new, patch.GAP)
        assert new
        at = data.index(b"DA\x08\x0020240229") + 4
        dates.setdefault(patient, set()).add(new[at : at + 8])
        names.setdefault(patient, set()).add(new[data.index(b"DOE^J") :][:10].decode())
    assert [len(found) for found in dates.values()] == [1, 1]
    assert [len(found) for found in names.values()] == [1, 1]
    one, other = dates.values()
    assert one != other
    assert b"20240229" not in one | other


def test_a_table_that_lacks_a_patient(place: Path) -> None:
    """The refusal is the session's; the next file of a patient who is there is ordinary."""
    table = place / "table.csv"
    table.write_text("old,new,shift_days\nHOSP-004711,TRIAL-01,-40\n")
    table.chmod(0o600)
    veil = veil_of(place, **PROFILES["a site's"], pseudonyms=load_pseudonyms(table))
    way = ordinary(veil)
    for patient in ["HOSP-004711", "HOSP-990123", "HOSP-990123", "HOSP-004711"]:
        opened = Opened.of(place, instance(patient=patient))
        expected, new = expected_of(veil, opened)
        assert (expected is not None) == (patient == "HOSP-004711")
        assert held_together(opened, way, expected, new, patch.GAP) == bool(expected)
        if new:
            assert b"TRIAL-01" in new
            assert b"20240120" in new


# -- a file that changes meanwhile -----------------------------------------------------------------


class Meddling:
    """An engine that lets something happen once the start of a file was read."""

    def __init__(self, engine: Engine, what: Callable[[], None]) -> None:
        self._engine, self._what = engine, what

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def answers(self, *arguments: Any) -> Any:
        self._what()
        return self._engine.answers(*arguments)


@pytest.mark.parametrize("change", [-1, -100, -30000, 1, 100, 70000])
@pytest.mark.parametrize("name", ["bulk", "bulk at the end", "long text", "fragments", "document"])
def test_a_file_that_shrinks_or_grows(place: Path, name: str, change: int) -> None:
    """What comes out is the file as it was when its length was asked for, or nothing."""
    basic = veil_of(place)
    data = MADE[name]

    def meddle() -> None:
        os.truncate(opened.path, max(0, len(data) + change))

    for size in ((2048, 4096), (2048, WINDOW), (HEAD, WINDOW)):
        for act in ("plan", "copy"):
            opened = Opened.of(place, data)
            engine: Any = Meddling(engine_of(basic), meddle)
            way = Ordinary(engine, gap=patch.GAP, head=size[0], window=size[1])
            if act == "plan":
                planned = opened.planned(way)
                assert planned is None or applied(data, planned.edits) == basic.bytes(data)
            else:
                copied = opened.copied(way)
                assert copied is None or copied[0] == basic.bytes(data)
                if change < 0 and len(data) > size[0]:
                    assert copied is None


# Somebody else sets the length of a file to LENGTH right before its first byte is read.
_SETS_LENGTH = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static void set_length(void) {
    static int done;
    if (!done++ && truncate(getenv("VICTIM"), atol(getenv("LENGTH"))) != 0)
        abort();
}

ssize_t pread(int file, void *data, size_t n, off_t offset) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    set_length();
    return real(file, data, n, offset);
}

ssize_t pread64(int file, void *data, size_t n, off64_t offset) {
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    set_length();
    return real(file, data, n, offset);
}
"""
_READS = """
import os, sys
from dcmveil import Veil
from dcmveil.faces.files import KernelCopy
way = Veil(key=bytes(range(32))).ordinary()
act, path = sys.argv[1:3]
with open(path, "rb") as src, open(path + ".out", "w+b") as dst:
    before = os.fstat(src.fileno()).st_size
    if act == "plan":
        done = way.plan(src.fileno(), b"name", bytearray())
    else:
        done = way.copy(src.fileno(), dst.fileno(), KernelCopy().bulk)
    assert os.fstat(src.fileno()).st_size != before
print(done)
"""


@pytest.fixture(scope="module")
def setting_length(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("length"), _SETS_LENGTH)


@pytest.mark.parametrize("act", ["plan", "copy"])
@pytest.mark.parametrize("change", [-(1 << 30), -1, 1, 100_000])
def test_a_length_that_changes_before_the_first_read(
    place: Path, setting_length: Path, act: str, change: int
) -> None:
    data = MADE["sample, explicit-le, False"]
    opened = Opened.of(place, data)
    done = subprocess.run(
        [sys.executable, "-c", _READS, act, opened.path],
        env=environment(
            LD_PRELOAD=str(setting_length),
            VICTIM=str(opened.path),
            LENGTH=str(max(0, len(data) + change)),
        ),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    taken = done.stdout == "True\n"
    assert not (taken and change < 0)
    if taken and act == "copy":
        assert opened.target.read_bytes() == Veil(key=KEY).bytes(data)
