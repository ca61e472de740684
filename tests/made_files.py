"""Whole files made by code: ordinary ones, each with something else in it, and one for each reason
not to be ordinary."""

from __future__ import annotations

from both_ways import KEY
from build import (
    DEFLATED,
    EXPLICIT_BE,
    JPEG_BASELINE,
    PDF,
    E,
    Fragments,
    Item,
    part10,
    sample,
    sample_elements,
)
from dcmveil import Veil
from folders import instance

BASIC_VOICE = "1.2.840.10008.5.1.4.1.1.9.4.1"

# -- ordinary ones ---------------------------------------------------------------------------------

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


# -- others ----------------------------------------------------------------------------------------


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
