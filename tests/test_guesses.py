"""Files of a run one after the other: each comes out as if it were the first, whatever came before.

An Ordinary that has seen two files with the same facts takes the third for one more of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build import EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE, E, Item, part10, sample_elements
from dcmveil.faces.files import KernelCopy
from dcmveil.faces.ordinary import Ordinary
from dcmveil.trees.record import Counts
from made_files import MADE, not_ordinary
from test_counts import site
from test_faults import FAULTS, NOTES

MR = "1.2.840.10008.5.1.4.1.1.4"
VOICE = "1.2.840.10008.5.1.4.1.1.9.4.1"


def made(
    *, patient: str | None = "HOSP-004711", sop_class: str = MR, media_class: str = MR,
    syntax: str = EXPLICIT_LE, before: int = 0, behind: int = 64,
) -> bytes:  # fmt: skip
    """A file whose facts are these, with so many bytes before the Patient ID, and behind it."""
    elements = [
        E(0x00080016, "UI", sop_class),
        E(0x00080018, "UI", "1.2.826.0.1.3680043.9.7.1.1"),
        E(0x00080020, "DA", "20240229"),
        *(E(0x00090011 + i, "LO", "x" * 60) for i in range(before // 68)),
        E(0x00100010, "PN", "DOE^JOHANNA"),
        *([] if patient is None else [E(0x00100020, "LO", patient)]),
        E(0x0020000D, "UI", "1.2.826.0.1.3680043.9.7.1"),
        E(0x0020000E, "UI", "1.2.826.0.1.3680043.9.7.1.2"),
        E(0x54000100, "SQ", [Item([E(0x54001010, "OW", bytes(range(64)))])]),
        E(0x7FE00010, "OW", bytes(behind)),
    ]
    meta = [E(0x00020002, "UI", media_class), E(0x00020010, "UI", syntax)]
    return part10(elements, syntax, meta=meta)


BASES = {"all facts": made(), "no patient": made(patient=None)}


def others() -> dict[str, bytes]:
    """Each with a fact of its own, or none that is known."""
    return {
        "the same facts": made(behind=80),
        "another patient": made(patient="HOSP-004712"),
        "a longer Patient ID": made(patient="HOSP-0047110"),
        "an empty Patient ID": made(patient=""),
        "no Patient ID": made(patient=None),
        "implicit VR": made(syntax=IMPLICIT_LE),
        "another transfer syntax": made(syntax=JPEG_BASELINE),
        "no transfer syntax": part10(sample_elements(), meta=[]),
        "another class": made(sop_class="1.2.840.10008.5.1.4.1.1.2"),
        "a voice": made(sop_class=VOICE),
        "a voice by its meta": made(media_class=VOICE),
        "a barrier that is not read at first": made(before=9000, behind=40_000),
        "a barrier that is not read at once": made(before=40_000, behind=40_000),
        "a patient behind what is read first": made(
            patient="HOSP-004712", before=9000, behind=40_000
        ),
        "no barrier": part10([E(0x00080018, "UI", "1.2.3.4.5.6.7.8")]),
        "no identity": part10([E(0x00280010, "US", [8]), E(0x7FE00010, "OW", bytes(64))]),
        "cut": made()[:-20],
        **{f"made: {name}": data for name, data in MADE.items()},
        **{f"not ordinary: {name}": data for name, data in not_ordinary().items()},
        **{f"noted: {name}": data for name, (data, _) in NOTES.items()},
        **{f"a fault: {name}": data for name, (data, _) in FAULTS.items() if len(data) < 1 << 16},
    }


class Way:
    """Planned or copied, by one Ordinary or by a new one for each file; what comes of it."""

    def __init__(self, place: Path, act: str, **options: Any) -> None:
        self.place = place
        self.act = act
        # one whose profile moves dates and makes pseudonyms by the patient
        self.make: Callable[[], Ordinary] = site(place, **options).ordinary
        self.ordinary = self.make()

    def run(self, data: bytes) -> tuple[Any, ...]:
        one = self.ordinary
        (self.place / "in").write_bytes(data)
        records = bytearray()
        with (self.place / "in").open("rb") as src, (self.place / "out").open("w+b") as dst:
            if self.act == "plan":
                done = one.plan(src.fileno(), b"in", records)
            else:
                done = one.copy(src.fileno(), dst.fileno(), KernelCopy().bulk)
            dst.seek(0)
            made = dst.read() if self.act == "copy" else patched(data, bytes(records))
        if not done:
            return (False,)
        told = {name: getattr(one.report(), name) for name in type(one.report()).__slots__}
        counts = Counts(one, "a run")
        counts.look()
        return True, made, told, counts.rest, counts.warnings

    def alone(self, data: bytes) -> tuple[Any, ...]:
        self.ordinary = self.make()
        return self.run(data)


def patched(data: bytes, records: bytes) -> bytes:
    """With the edits of a journal, wherever one ends and the next begins."""
    new = bytearray(data)
    at = 6 + int.from_bytes(records[4:6], "little") + 16
    while records[at : at + 4] == b"EDIT":
        offset, n = struct.unpack_from("<QI", records, at + 4)
        new[offset : offset + n] = records[at + 16 : at + 16 + n]
        at += 16 + n
    return bytes(new)


@pytest.mark.parametrize("act", ["plan", "copy"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", others())
def test_between_files_that_are_alike(tmp_path: Path, act: str, base: str, name: str) -> None:
    one, other = BASES[base], others()[name]
    way = Way(tmp_path, act)
    wanted = {data: way.alone(data) for data in (one, other)}
    assert wanted[one][0]
    way.ordinary = way.make()
    for data in (one, one, one, other, other, other, one, other, one, one, one, one):
        assert way.run(data) == wanted[data]


@pytest.mark.parametrize("act", ["plan", "copy"])
def test_in_a_long_row(tmp_path: Path, act: str) -> None:
    """All of them, each twice in two orders."""
    files = list(others().values())
    way = Way(tmp_path, act)
    wanted = [way.alone(data) for data in files]
    way.ordinary = way.make()
    for order in (1, -1):
        for data, result in list(zip(files, wanted, strict=True))[::order]:
            assert [way.run(data), way.run(data)] == [result, result]


def test_what_may_be_held_is_the_same(tmp_path: Path) -> None:
    """A barrier behind the limit is none of the ordinary way's, whatever came before."""
    near, far = made(behind=2000), made(before=1000, behind=2000)
    way = Way(tmp_path, "copy", hold_limit=900)
    assert [way.run(data)[0] for data in (near, near, near, far, near, far)] == [
        True, True, True, False, True, False
    ]  # fmt: skip
    way = Way(tmp_path, "copy", hold_limit=1 << 14)
    assert [way.run(data)[0] for data in (near, near, near, far)] == [True] * 4
