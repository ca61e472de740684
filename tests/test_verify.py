"""Verify: right outputs are proven, and each broken promise is found at its offset."""

from __future__ import annotations

import base64
import io
import json
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import corpus
import dcmveil
from build import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    E,
    Fragments,
    Item,
    part10,
)
from build import sample as small_image
from dcmveil.verify import Checker, Finding, Verdict
from faces import run

KEY = bytes(range(32))
SETTINGS: list[tuple[str, tuple[str, ...]]] = [
    ("basic", ()),
    ("basic", ("retain-uids", "retain-longitudinal-full-dates")),
    ("basic", ("retain-safe-private", "retain-longitudinal-modified-dates", "clean-graphics")),
    ("basic", ("retain-device-identity", "retain-institution-identity", "clean-descriptors")),
    ("sup142", ()),
    ("omidb", ()),
]
NAME, OTHER, NUMBER = "WINTERBOTTOM^AGATHA", "ÅKERLUND^BIRGITTA", "KX-4471193"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
STUDY = "1.2.826.0.1.3680043.9.7.5550142.1"
BIRTH = "19610704"
ROOM = 200
# attributes that the profile basic keeps
TEXT, TABLE, PIXELS = 0x00201040, 0x00281201, 0x7FE00010


@cache
def veil(profile: str = "basic", options: tuple[str, ...] = (), key: bytes = KEY) -> dcmveil.Veil:
    return dcmveil.Veil(profile, options=options, key=key)


@cache
def checker(profile: str = "basic", options: tuple[str, ...] = ()) -> Checker:
    return Checker(veil(profile, options))


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


# -- what is right ---------------------------------------------------------------------------

# The one file in which a profile really leaves an ID: Study ID, in labels of the structure set.
LEFT = {
    ("pydicom/data/test_files/rtstruct.dcm", "sup142"),
    ("pydicom/data/test_files/rtstruct.dcm", "omidb"),
}


@pytest.mark.parametrize(("profile", "options"), SETTINGS)
def test_every_right_pair_of_the_corpus_is_proven(profile: str, options: tuple[str, ...]) -> None:
    proven = 0
    for name, path in corpus.files():
        before = path.read_bytes()
        try:
            after = veil(profile, options).bytes(before)
        except dcmveil.DicomError:
            continue
        found = checker(profile, options).check(io.BytesIO(before), io.BytesIO(after))
        if (name, profile) in LEFT:
            assert {finding.detail for finding in found.findings} == {"ID"}
            continue
        assert found.findings == [], name
        proven += 1
    assert proven > 250


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, *DEFLATED])
def test_every_encoding_is_proven(syntax: str) -> None:
    before = image(syntax=syntax)
    found = verdict(before, veil().bytes(before))
    assert found.ok
    assert found.findings == []
    assert found.sought > 8
    assert found.compared >= 2900


def test_a_raw_data_set_is_proven() -> None:
    before = image()
    start = before.index(b"\x08\0\x05\0CS")
    assert verdict(before[start:], veil().bytes(before[start:])).ok


def test_what_is_not_looked_for_is_counted() -> None:
    before = image(name=b"LI^X", more=(E(0x00104000, "LT", "fell from a horse"),))
    found = verdict(before, veil().bytes(before))
    assert found.ok
    assert found.exempt["short text"] >= 2  # LI and X
    assert found.exempt["name of software"] == 2
    assert found.exempt["free text"] == 0
    assert found.sought > 0
    short = image(more=(E(0x00104000, "LT", "fell ill"),))
    assert verdict(short, veil().bytes(short)).exempt["free text"] == 1


def test_pixels_are_left_out_on_demand() -> None:
    pixels = E(PIXELS, "OW", bytes(1 << 20))
    before = image(pixels=pixels)
    after = bytearray(veil().bytes(before))
    after[-1] ^= 1
    assert only(verdict(before, bytes(after))).kind == "changed"
    found = verdict(before, bytes(after), pixels=False)
    assert found.ok
    assert found.compared < 1 << 19


# -- one promise broken ----------------------------------------------------------------------


def broken(change: Callable[[bytearray], object], **more: object) -> tuple[bytes, bytes]:
    before = image(**more)  # type: ignore[arg-type]
    after = bytearray(veil().bytes(before))
    change(after)
    return before, bytes(after)


def test_one_byte_of_native_pixel_data() -> None:
    before, after = broken(lambda data: data.__setitem__(-7, data[-7] ^ 1))
    finding = only(verdict(before, after))
    assert (finding.kind, finding.offset) == ("changed", len(before) - 7)


def test_one_byte_of_encapsulated_pixel_data() -> None:
    pixels = E(PIXELS, "OB", Fragments([b"", b"\xff\xd8" + bytes(300) + b"\xff\xd9"]))
    before = image(pixels=pixels, syntax=JPEG_BASELINE)
    after = bytearray(veil().bytes(before))
    assert verdict(before, bytes(after)).ok
    after[-100] = 1
    finding = only(verdict(before, bytes(after)))
    assert (finding.kind, finding.offset) == ("changed", len(before) - 100)


def test_an_identifier_in_pixel_data_is_none() -> None:
    word = NAME.encode() + b" "
    before = image(pixels=E(PIXELS, "OW", bytes(100) + word + bytes(100)))
    assert verdict(before, veil().bytes(before)).ok
    pixels = E(PIXELS, "OB", Fragments([b"", bytes(100) + word, bytes(20) + word]))
    before = image(pixels=pixels, syntax=JPEG_BASELINE)
    assert verdict(before, veil().bytes(before)).ok


def test_one_byte_of_a_kept_value() -> None:
    at = image().index(b"Acme") + 2
    before, after = broken(lambda data: data.__setitem__(at, data[at] ^ 1))
    finding = only(verdict(before, after))
    assert (finding.kind, finding.offset) == ("changed", at)


def test_one_byte_of_a_kept_uid() -> None:
    at = image().index(b"1.2.840.10008.5.1.4.1.1.4\0\x08\0\x18") + 24
    before, after = broken(lambda data: data.__setitem__(at, ord("7")))
    finding = only(verdict(before, after))
    assert (finding.kind, finding.offset) == ("changed", at)


def test_one_byte_of_a_length() -> None:
    at = image().index(b"Acme") - 2
    before, after = broken(lambda data: data.__setitem__(at, data[at] + 2))
    kinds = {finding.kind for finding in verdict(before, after).findings}
    assert {"changed", "structure"} <= kinds
    assert min(f.offset or 0 for f in verdict(before, after).findings) == at


def test_an_element_more() -> None:
    at = image().index(b"\x08\0\x70\0LO")
    extra = b"\x08\0\x68\0CS\4\0FOO "
    before, after = broken(lambda data: data.__setitem__(slice(at, at), extra))
    found = verdict(before, after)
    structure = [finding for finding in found.findings if finding.kind == "structure"]
    assert [finding.offset for finding in structure] == [at + 8]
    assert found.found("length") == 1
    assert found.more["changed"] > 0
    assert len(found.findings) < 70


def test_an_element_less_at_the_end() -> None:
    before = image(more=(E(0xFFFCFFFC, "OB", bytes(20)),))
    after = veil().bytes(before)[:-32]
    found = verdict(before, after)
    assert {finding.kind for finding in found.findings} == {"length", "structure"}
    assert found.findings[-1].offset == len(after) + 12  # of its value


def test_a_file_that_is_cut() -> None:
    before, after = broken(lambda data: data.__delitem__(slice(-10, None)))
    kinds = [finding.kind for finding in verdict(before, after).findings]
    assert sorted(kinds) == ["length", "structure"]


def test_a_dummy_that_is_not_the_one_of_the_profile() -> None:
    at = image().index(NUMBER.encode())
    before, after = broken(lambda data: data.__setitem__(slice(at, at + 4), b"EVIL"))
    finding = only(verdict(before, after))
    assert (finding.kind, finding.offset, finding.path) == ("value", at, "(0010,0020)")


def test_an_old_value_put_back() -> None:
    at = image().index(NUMBER.encode())
    before, after = broken(lambda data: data.__setitem__(slice(at, at + 10), NUMBER.encode()))
    found = verdict(before, after)
    assert {(f.kind, f.offset, f.path) for f in found.findings} == {
        ("value", at, "(0010,0020)"),
        ("identifier", at, "(0010,0020)"),
    }
    assert NUMBER not in "".join(map(str, found.findings))
    assert NUMBER not in repr(found.findings)
    assert NUMBER not in repr(found)


def test_one_uid_put_back() -> None:
    at = image().rindex(STUDY.encode())
    before, after = broken(
        lambda data: data.__setitem__(slice(at, at + len(STUDY)), STUDY.encode())
    )
    found = verdict(before, after)
    assert {(f.kind, f.offset) for f in found.findings} == {("value", at), ("identifier", at)}


@pytest.mark.parametrize("kept", [b"", b"retain-uids"])
def test_bytes_of_the_preamble(kept: bytes) -> None:
    before, after = broken(lambda data: data.__setitem__(slice(70, 78), b"nonsense"))
    finding = only(verdict(before, after))
    assert (finding.kind, finding.offset, finding.path) == ("value", 70, "preamble")


def test_a_run_mark_that_is_not_ours() -> None:
    before, after = broken(lambda data: data.__setitem__(30, data[30] ^ 1))
    finding = only(verdict(before, after))
    assert (finding.kind, finding.offset, finding.path) == ("value", 30, "preamble")


def test_another_key_is_told_once() -> None:
    before = image()
    after = veil(key=bytes(range(1, 33))).bytes(before)
    assert only(verdict(before, after)).kind == "other key"
    lost = Checker(veil(), keyed=False).check(io.BytesIO(before), io.BytesIO(after))
    assert lost.ok
    same = Checker(veil(), keyed=False).check(io.BytesIO(before), io.BytesIO(before))
    assert same.found("value") > 5
    assert same.found("identifier") > 5


def test_a_copy_of_the_original_proves_nothing() -> None:
    before = small_image()
    found = verdict(before, before)
    assert found.found("value") > 20
    assert found.found("identifier") > 20
    assert found.found("other key") == 0


def test_an_original_that_is_refused() -> None:
    with pytest.raises(dcmveil.DicomError):
        verdict(image()[:-3000], image())


def test_an_output_that_is_no_dicom() -> None:
    found = verdict(image(), b"no DICOM at all")
    assert {"length", "structure"} <= {finding.kind for finding in found.findings}


def test_one_keyed_value_that_is_wrong_is_no_other_key() -> None:
    before = part10([E(0x00100020, "LO", "X"), E(0x0020000D, "UI", STUDY)], meta=[], preamble=None)
    after = veil().bytes(before)
    finding = only(verdict(before, after[:-2] + b"77"))
    assert (finding.kind, finding.path) == ("value", "(0020,000D)")


def test_twice_is_once() -> None:
    once = veil().bytes(small_image())
    found = verdict(once, veil().bytes(once))
    assert found.ok
    assert found.sought == 0


def test_a_file_that_ends_in_its_pixel_data() -> None:
    tolerant = dcmveil.Veil("basic", key=KEY, accept_cut_pixels=True)
    before = image()[:-100]
    after = tolerant.bytes(before)
    assert tolerant.verify(io.BytesIO(before), io.BytesIO(after)).ok
    finding = only(tolerant.verify(io.BytesIO(before), io.BytesIO(after[:-2])))
    assert (finding.kind, finding.offset) == ("length", len(after) - 2)


def test_pseudonyms_of_a_table(tmp_path: Path) -> None:
    """An output holds the new ID, which the table does not have."""
    table = tmp_path / "table.csv"
    table.write_text(f"old,new\n{NUMBER},P1\n")
    profile = tmp_path / "own.toml"
    profile.write_text('extends = "basic"\n[rules]\nPatientID = "pseudonym"\n')
    of = dcmveil.Veil(str(profile), key=KEY, pseudonyms=dcmveil.load_pseudonyms(table))
    before = image()
    start = before.index(b"\x08\0\x05\0CS")
    for data in (before, before[start:]):  # without a preamble there is no run mark
        after = of.bytes(data)
        assert b"P1 " in after
        assert of.verify(io.BytesIO(data), io.BytesIO(after)).ok


@settings(max_examples=150)
@given(st.sampled_from(["explicit-le", "implicit-le", "explicit-be"]), st.booleans(), st.data())
def test_any_change_of_an_output_is_found(
    encoding: str, undefined: bool, data: st.DataObject
) -> None:
    before = small_image(encoding, undefined)
    after = veil().bytes(before)
    start = data.draw(st.integers(0, len(after) - 1))
    old = after[start : start + data.draw(st.integers(0, 8))]
    new = data.draw(st.binary(max_size=8))
    changed = after[:start] + new + after[start + len(old) :]
    found = verdict(before, changed)
    assert found.ok == (changed == after)
    if len(changed) == len(after) and changed != after:
        first = next(i for i, (a, b) in enumerate(zip(after, changed, strict=True)) if a != b)
        assert first in [finding.offset for finding in found.findings]


# -- where a value may hide ------------------------------------------------------------------

UTF_16 = ["utf-16-le", "utf-16-be"]
HIDDEN: dict[str, bytes] = {
    "as it is": NAME.encode(),
    "component": b"Agatha",
    "lower case": NAME.lower().encode(),
    "separators removed": NAME.replace("^", "").encode(),
    "other separators": b"winterbottom,  agatha",
    "other order": b"AgathaWinterbottom",
    "within a word": b"xWinterbottomx",
    "utf-16-le": "Winterbottom".encode("utf-16-le"),
    "utf-16-be": "Winterbottom Agatha".encode("utf-16-be"),
    "base64": base64.b64encode(b"patient: Winterbottom; MRI"),
    "base64, shifted": base64.b64encode(b"a patient: WINTERBOTTOM^A"),
    "hexadecimal digits": b"Winterbottom".hex().encode(),
    "upper hexadecimal digits": b"WINTERBOTTOM".hex().upper().encode(),
    "ID": NUMBER.encode(),
    "ID without its hyphen": b"kx4471193",
    "digits of an ID": b"<4471193>",
    "ID with points": b"old 88 1200",
    "telephone": b"+44-20-7946-0018",
    "telephone in one": b"+442079460018",
    "UID": STUDY.encode(),
    "UID without points": STUDY.replace(".", "").encode(),
    "UID with other marks": STUDY.replace(".", "_").encode(),
    "date": b"born 1961-07-04",
    "legacy date": b"1961.07.04",
    "date as it is": b"on 19610704,",
}


@pytest.mark.parametrize("form", HIDDEN)
def test_a_form_of_a_value_in_a_kept_table(form: str) -> None:
    """It stood there before, so that nothing else is wrong."""
    table = b"\1\2\3  " + HIDDEN[form] + b"\1"
    before = image(table=table)
    after = veil().bytes(before)
    finding = only(verdict(before, after))
    start = after.index(HIDDEN[form])
    assert finding.kind == "identifier"
    assert finding.path == "(0028,1201)"
    assert finding.offset is not None
    assert start <= finding.offset < start + len(HIDDEN[form])
    assert finding.value
    assert finding.value in HIDDEN[form]
    assert finding.value.decode("latin-1") not in str(finding)


@pytest.mark.parametrize(
    "harmless",
    [
        b"4471193.5", b"94471193", b"kx-44711930", b"2.447 1193", b"KX-4\\471193", b"1961.0704",
        b"119610704", STUDY.encode() + b".5", b"7." + STUDY.encode(), b"AGATE", b"WINTER",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_value(harmless: bytes) -> None:
    before = image(table=b"\1 " + harmless + b" \1")
    found = verdict(before, veil().bytes(before))
    assert found.findings == []


CHARSETS = {
    "latin-1": ("ISO_IR 100", OTHER.encode("latin-1"), "Åkerlund"),
    "latin-2": ("ISO_IR 101", "ŁUKASIEWICZ^STANISŁAW".encode("iso8859-2"), "Łukasiewicz"),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг^Иван".encode("iso8859-5"), "Иван"),
    "greek": ("ISO_IR 126", "Διονυσιος^Ιωαννης".encode("iso8859-7"), "Διονυσιος"),
    "utf-8": ("ISO_IR 192", "Wang^XiaoDong=王^小东".encode(), "小东"),
    "gb18030": ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "小东"),
    "iso 2022 jp": ("\\ISO 2022 IR 87", JAPANESE.encode("iso2022_jp"), "山田"),
    "korean": (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C" + "洪".encode("euc_kr") + b"^\x1b$)C" + "吉洞".encode("euc_kr"),
        "吉洞",
    ),
}  # fmt: skip


@pytest.mark.parametrize("encoding", [*UTF_16, "utf-8", "own"])
@pytest.mark.parametrize("charset", CHARSETS)
def test_a_name_of_any_character_set(charset: str, encoding: str) -> None:
    term, name, word = CHARSETS[charset]
    own = {"latin-1": "latin-1", "latin-2": "iso8859-2", "cyrillic": "iso8859-5",
           "greek": "iso8859-7", "iso 2022 jp": "iso2022_jp", "korean": "euc_kr"}  # fmt: skip
    hidden = word.encode(own.get(charset, charset) if encoding == "own" else encoding)
    before = image(table=b"\1\2\1\1" + hidden + b"\1\1", charset=term, name=name)
    after = veil().bytes(before)
    finding = only(verdict(before, after))
    assert (finding.kind, finding.source) == ("identifier", "(0008,0090)")
    assert finding.value in hidden


def test_the_character_set_of_an_item() -> None:
    item = Item([
        E(0x00080005, "CS", "ISO_IR 144"), E(0x00100010, "PN", "Достоевский".encode("iso8859-5")),
    ])  # fmt: skip
    more = (E(0x00101002, "SQ", [item]), E(0x00104000, "LT", "nothing of note here, 19"))
    hidden = "достоевский".encode("utf-16-be")
    before = image(table=b"\0\0" + hidden, more=more)
    finding = only(verdict(before, veil().bytes(before)))
    assert finding.source == "(0010,1002)[0]/(0010,0010)"


def put(data: bytes, at: int, word: bytes) -> bytes:
    return data[:at] + word + data[at + len(word) :]


WORD = b"Winterbottom"


@pytest.mark.parametrize("place", ["preamble", "kept text", "private", "meta"])
def test_a_name_put_back(place: str) -> None:
    before = image()
    after = veil().bytes(before)
    at = {
        "preamble": 64,
        "kept text": after.index(b"\x20\0\x40\x10LO") + 20,
        "private": after.index(b"\xe1\0\x21\x10DS") + 20,
        "meta": after.index(b"ANON") - 6,
    }[place]
    if place == "meta":  # over the header of an AE title: structure goes, too
        at += 2
    found = verdict(before, put(after, at, WORD))
    assert [finding.offset for finding in identifiers(found)] == [at]
    assert any(finding.kind != "identifier" for finding in found.findings)
    text = "".join(map(str, found.findings))
    assert "interbottom" not in text.lower()


def test_a_name_over_a_value_that_should_stay() -> None:
    """Where a coded value stays, its words are no leak; but here it did not stay."""
    before = image(more=(E(0x00180015, "CS", "CHEST AND NECK"),))
    after = veil().bytes(before)
    at = after.index(b"CHEST AND")
    found = verdict(before, put(after, at, b"WINTERBOTTOM"))
    assert [finding.offset for finding in identifiers(found)] == [at]


def test_a_name_after_the_end() -> None:
    before = image()
    after = veil().bytes(before) + b"\0\0" + WORD
    found = verdict(before, after)
    assert [(f.offset, f.path) for f in identifiers(found)] == [(len(before) + 2, "tail")]
    assert found.found("length") == 1


def test_a_name_in_a_kept_private_attribute() -> None:
    options = ("retain-safe-private",)
    before = image(private=b"1.5\\Winterbottom")
    found = veil("basic", options).verify(
        io.BytesIO(before), io.BytesIO(veil("basic", options).bytes(before))
    )
    finding = only(found)
    assert (finding.kind, finding.path) == ("identifier", "(00E1,1021)")
    assert finding.offset == before.index(b"Winterbottom")


@pytest.mark.parametrize("syntax", DEFLATED)
def test_a_name_in_a_deflated_data_set(syntax: str) -> None:
    before = image(syntax=syntax)
    after = veil().bytes(before)
    head = 144 + int.from_bytes(after[140:144], "little")
    plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(after[head:])
    at = plain.index(b"\x20\0\x40\x10LO") + 20
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = squeeze.compress(put(plain, at, WORD)) + squeeze.flush()
    found = verdict(before, after[:head] + body + b"\0" * (len(body) % 2))
    assert [finding.offset for finding in identifiers(found)] == [head + at]
    assert {finding.kind for finding in found.findings} == {"identifier", "changed"}
    found = verdict(before, after + WORD)
    assert found.found("length") == 1
    found = verdict(before, after[:head] + after[head : len(after) // 2])
    assert found.found("structure") > 0


def test_a_value_across_chunks() -> None:
    """Wherever it stands in a long kept value: chunks, groups of bytes and windows are passed."""
    size = (1 << 18) + 4096
    for at in [*range((1 << 18) - 60, (1 << 18) + 10, 3), (1 << 18) - 1300, (1 << 18) - 5000, 77]:
        lut = E(0x00281202, "OW", put(b"\7" * size, at, WORD))
        before = image(more=(lut,))
        finding = only(verdict(before, veil().bytes(before)))
        assert finding.offset == before.index(WORD)
        assert finding.value == WORD


def test_a_coded_value_that_stays_is_no_leak() -> None:
    before = image(name=b"CHESTERFIELD", more=(E(0x00180015, "CS", "CHESTERFIELD"),))
    found = verdict(before, veil().bytes(before))
    assert found.ok
    assert found.exempt["word in a coded value that stays"] == 1
    before = image(name=b"CHESTERFIELD", text=b"CHESTERFIELD")
    assert only(verdict(before, veil().bytes(before))).path == "(0020,1040)"


def test_names_of_the_standard_and_of_products_are_no_leaks(tmp_path: Path) -> None:
    """A profile that keeps little: what it blanks stands elsewhere for good reasons."""
    profile = tmp_path / "own.toml"
    profile.write_text(
        'extends = "nothing"\nunlisted = "blank"\nprivate = "blank"\nunknown = "blank"\n'
        '[rules]\nManufacturerModelName = "keep"\n'
    )
    of = dcmveil.Veil(str(profile), key=KEY)
    palette = "1.2.840.10008.1.5.1"
    before = part10(
        [
            E(0x00080018, "UI", palette),
            E(0x00080070, "LO", "SIEMENS"),
            E(0x00081090, "LO", "SIEMENS"),
            E(0x00281199, "UI", palette),
            E(0x00290010, "LO", "SIEMENS CSA HEADER"),
        ]
    )
    found = of.verify(io.BytesIO(before), io.BytesIO(of.bytes(before)))
    assert found.findings == []
    assert found.exempt["UID of the standard"] == 1
    assert found.exempt["name of a product that stays"] == 2


def test_as_many_values_as_one_likes_take_linear_time() -> None:
    def calls(n: int) -> int:
        records = [
            Item(
                [E(0x00100010, "PN", f"NAME{i:06}X^GIVEN{i}"), E(0x00080018, "UI", f"{STUDY}.{i}")]
            )
            for i in range(n)
        ]
        before = image(more=(E(0x00400275, "SQ", records),))
        after = veil().bytes(before)
        count = 0

        def see(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(see)  # calls are counted, since seconds are not the same twice
        try:
            assert verdict(before, after).ok
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(100), calls(800)
    assert many < 12 * few  # 8 times the work; 64 times if each value were looked for in each


# -- the command -----------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    dcmveil.write_key(path, KEY)
    return path


def test_command_on_two_files(tmp_path: Path, key_file: Path) -> None:
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    data = image()
    before.write_bytes(data)
    after.write_bytes(veil().bytes(data))
    done = run("verify", "--key-file", key_file, before, after)
    assert (done.code, done.out) == (0, b"")
    assert "proven" in done.err
    at = after.read_bytes().index(b"\x20\0\x40\x10LO") + 20
    after.write_bytes(put(after.read_bytes(), at, WORD))
    done = run("verify", "--key-file", key_file, before, after)
    assert done.code == 1
    assert f"offset {at}, (0020,1040): an identifying value".encode() in done.out
    assert b"interbottom" not in done.out.lower()
    assert "NOT proven" in done.err
    shown = run("verify", "--key-file", key_file, "--show-values", before, after)
    assert b"Winterbottom" in shown.out
    lines = run("verify", "--key-file", key_file, "--json", before, after).out.splitlines()
    objects = [json.loads(line) for line in lines]
    assert not any("value" in o for o in objects)
    assert not any(b"interbottom" in line.lower() for line in lines)
    assert {"changed", "identifier"} == {o["kind"] for o in objects[:-1]}
    assert objects[-1]["ok"] is False
    assert objects[-1]["bad"] == 1
    assert run("verify", before, after).code == 2
    assert run("verify", "--key-file", key_file, before, tmp_path).code == 2
    assert run("verify", "--key-file", key_file, before, tmp_path / "none").code == 1
    assert run("verify", "--key-file", key_file, before).code == 2
    other = tmp_path / "other"
    dcmveil.write_key(other, bytes(range(9, 41)))
    after.write_bytes(veil().bytes(data))
    done = run("verify", "--key-file", other, before, after)
    assert done.code == 1
    assert done.out.count(b"\n") == 1
    assert b"another key or profile" in done.out
    assert run("verify", "--ephemeral-key", before, after).code == 0
