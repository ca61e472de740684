"""The counts of ordinary files: of files that differ from the one before in one thing alone, they
are told as if each were the first."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from both_ways import PROFILES, veil_of
from build import EXPLICIT_LE, JPEG_BASELINE, E, part10
from dcmveil import Report, Veil, core
from dcmveil.faces import patch
from dcmveil.faces.files import KernelCopy
from dcmveil.faces.ordinary import Ordinary
from dcmveil.faces.records import first_of
from dcmveil.trees.record import Counts, _counts_of, _warnings_of

ROOT = "1.2.826.0.1.3680043.9.7.20240229"
STRAY = b"\xfe\xff\x0d\xe0" + bytes(4)  # a delimiter of an item
BASE: dict[int, tuple[str, Any]] = {
    0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.4"),
    0x00080018: ("UI", f"{ROOT}.1.1.1"),
    0x00080050: ("SH", "ACC-77881234"),
    0x00100010: ("PN", "DOE^JOHANNA"),
    0x00100020: ("LO", "HOSP-004711"),
    0x0020000D: ("UI", f"{ROOT}.1"),
    0x0020000E: ("UI", f"{ROOT}.1.1"),
    0x00200052: ("UI", "1.2.826.10008.99.1"),
    0x00280010: ("US", [8]),
    0x7FE00010: ("OW", bytes(range(64))),
}


def made(
    change: dict[int, tuple[str, Any]] | None = None, syntax: str = EXPLICIT_LE, tail: bytes = b""
) -> bytes:
    both = BASE | (change or {})
    elements: list[E | bytes] = [E(tag, vr, value) for tag, (vr, value) in sorted(both.items())]
    return part10([*elements, tail], syntax)


# What a file has of its own, and what of its report differs from that of the first one. That of
# `alike` may differ in nothing but size, elements and instance.
FIELDS = ("actions", "notes", "uids", "transfer_syntax", "study", "series")
FIRST = made()
OTHERS: dict[str, tuple[bytes, set[str]]] = {
    "study": (made({0x0020000D: ("UI", f"{ROOT}.2")}), {"study"}),
    "series": (made({0x0020000E: ("UI", f"{ROOT}.1.2")}), {"series"}),
    "instance": (made({0x00080018: ("UI", f"{ROOT}.1.1.2")}), set()),
    "elements": (made({0x00280011: ("US", [4])}), set()),
    "size": (made({0x7FE00010: ("OW", bytes(range(80)))}), set()),
    "actions": (made({0x00081030: ("LO", "Knee")}), {"actions"}),
    "notes": (made(tail=STRAY), {"notes"}),
    "notes of answers": (made({0x00080050: ("SH", "7")}), {"notes"}),
    "UIDs": (made({0x00200052: ("UI", "1.2.840.10008.99.1")}), {"uids"}),
    "transfer syntax": (made(syntax=JPEG_BASELINE), {"transfer_syntax"}),
}


class Way:
    """Files one after the other, by one Ordinary."""

    def __init__(self, place: Path, act: str) -> None:
        self.place = place
        self.act = act
        self.ordinary: Ordinary = site(place).ordinary()
        self.counts = Counts(self.ordinary, "a run")
        self.records = bytearray()

    def take(self, data: bytes) -> None:
        path = self.place / "file"
        path.write_bytes(data)
        with path.open("rb") as src, (self.place / "out").open("wb") as dst:
            if self.act == "plan":
                assert self.ordinary.plan(src.fileno(), b"file", self.records)
            else:
                assert self.ordinary.copy(src.fileno(), dst.fileno(), KernelCopy().bulk)

    def check(self, data: bytes, report: Report) -> None:
        self.take(data)
        self.counts.look()
        one = self.ordinary
        first = first_of(one.size, one.size, one.elements, one.instance)
        text = _counts_of(report)
        assert (first + self.counts.rest).decode() == f'{text},"seconds":'
        if self.act == "plan":
            self.records.clear()
            one.add_line(self.records, self.counts.start, self.counts.rest)
            assert self.records[:4] == b"DONE"
            kept = json.loads(self.records[8:])
            assert kept["run"] == "a run"
            assert 0 <= kept["record"].pop("seconds") < 60
            assert kept["record"] == {"outcome": "rewritten"} | json.loads(f"{{{text}}}")
        assert self.counts.warnings == _warnings_of(report)


def site(place: Path, **more: Any) -> Veil:
    """One with pseudonyms, so that there are notes of all kinds."""
    return veil_of(place, **PROFILES["a site's"], **more)


@pytest.fixture(scope="module")
def reports(place: Path) -> dict[bytes, Report]:
    """What a session says of each file, as the first of a new engine."""
    found = {}
    for data in (FIRST, *(data for data, _ in OTHERS.values())):
        (place / "file").write_bytes(data)
        with (place / "file").open("rb") as file:
            found[data] = patch.plan(
                site(place).session(), file.fileno(), lambda offset, new: None, lambda: None
            )
    return found


@pytest.mark.parametrize("name", OTHERS)
def test_they_differ_in_one_thing(reports: dict[bytes, Report], name: str) -> None:
    """Else what follows would be worth less."""
    data, fields = OTHERS[name]
    one, other = reports[FIRST], reports[data]
    assert {f for f in FIELDS if getattr(one, f) != getattr(other, f)} == fields
    if name.startswith("notes"):
        noted = set(other.notes) - set(one.notes)
        assert len(noted) == 1
        assert noted.isdisjoint(core.NOTE_NAMES) == (name == "notes of answers")


@pytest.mark.parametrize("act", ["plan", "copy"])
@pytest.mark.parametrize("name", OTHERS)
def test_after_another_file(place: Path, reports: dict[bytes, Report], name: str, act: str) -> None:
    """There and back; and what can be the same text is not put together again."""
    way = Way(place, act)
    data, fields = OTHERS[name]
    for one in (FIRST, FIRST, data, data, FIRST):
        way.check(one, reports[one])
    way.take(FIRST)
    assert way.ordinary.alike
    way.take(data)
    assert way.ordinary.alike == (not fields)


@pytest.mark.parametrize("act", ["plan", "copy"])
def test_in_any_order(place: Path, reports: dict[bytes, Report], act: str) -> None:
    chance = random.Random(act)
    way = Way(place, act)
    files = [FIRST, *(data for data, _ in OTHERS.values())]
    for _ in range(20):
        chance.shuffle(files)
        for data in files:
            way.check(data, reports[data])


def test_a_file_that_is_left_in_between(place: Path, reports: dict[bytes, Report]) -> None:
    """It has been read in part, and has notes and UIDs of its own."""
    way = Way(place, "plan")
    for name in ("UIDs", "notes of answers", "study"):
        data, _ = OTHERS[name]
        for cut in (data[:-3], FIRST[:-3], data[:600]):
            way.check(FIRST, reports[FIRST])
            (place / "file").write_bytes(cut)
            with (place / "file").open("rb") as file:
                assert not way.ordinary.plan(file.fileno(), b"file", bytearray())
            way.check(data, reports[data])
