"""What the tests of verify share: a file with room for what hides, and the verdict on an output."""

from __future__ import annotations

import io
from functools import cache

import dcmveil
from build import EXPLICIT_LE, E, part10
from dcmveil.verify import Finding, Verdict

KEY = bytes(range(32))
NAME, OTHER, NUMBER = "WINTERBOTTOM^AGATHA", "ÅKERLUND^BIRGITTA", "KX-4471193"
STUDY = "1.2.826.0.1.3680043.9.7.5550142.1"
BIRTH = "19610704"
ROOM = 200
# attributes that the profile basic keeps
TEXT, TABLE, PIXELS = 0x00201040, 0x00281201, 0x7FE00010
WORD = b"Winterbottom"


@cache
def veil(profile: str = "basic", options: tuple[str, ...] = (), key: bytes = KEY) -> dcmveil.Veil:
    return dcmveil.Veil(profile, options=options, key=key)


def verdict(before: bytes, after: bytes, **more: bool) -> Verdict:
    return veil().verify(io.BytesIO(before), io.BytesIO(after), **more)


def image(
    text: bytes = b"",
    table: bytes = b"",
    syntax: str = EXPLICIT_LE,
    charset: str = "ISO_IR 100",
    name: bytes = NAME.encode(),
    private: bytes = b"",
    pixels: E | None = None,
    more: tuple[E, ...] = (),
) -> bytes:
    """A file with room for bytes in a kept text, a kept table and a safe private attribute."""
    elements = [
        E(0x00080005, "CS", charset),
        E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"),
        E(0x00080018, "UI", STUDY + ".4.17"),
        E(0x00080020, "DA", "20240229"),
        E(0x00080060, "CS", "MR"),
        E(0x00080070, "LO", "Acme Magnets"),
        E(0x00080090, "PN", name),
        E(0x00100010, "PN", NAME),
        E(0x00100020, "LO", NUMBER),
        E(0x00100030, "DA", BIRTH),
        E(0x00101000, "LO", "OLD.88.1200"),
        E(0x00102154, "SH", "+44 20 7946 0018"),
        E(0x0020000D, "UI", STUDY),
        E(TEXT, "LO", text.ljust(ROOM)),
        E(TABLE, "OW", table.ljust(ROOM, b"\0")),
        *more,
        E(0x00E10010, "LO", "ELSCINT1"),
        E(0x00E11021, "DS", private.ljust(ROOM)),
        pixels or E(PIXELS, "OW", list(range(500, 1524))),
    ]
    return part10(sorted(elements, key=lambda element: element.tag), syntax)


def identifiers(found: Verdict) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == "identifier"]


def only(found: Verdict) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def put(data: bytes, at: int, word: bytes) -> bytes:
    return data[:at] + word + data[at + len(word) :]
