"""Verify looks for what identifies: each form of a value, wherever it hides, and nothing else."""

from __future__ import annotations

import base64
import io
import sys
import zlib
from pathlib import Path

import pytest

import dcmveil
from build import DEFLATED, E, Item, part10
from verdicts import (
    KEY,
    NAME,
    NUMBER,
    OTHER,
    STUDY,
    WORD,
    identifiers,
    image,
    only,
    put,
    veil,
    verdict,
)

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


# -- forms of a value ------------------------------------------------------------------------

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


# -- character sets --------------------------------------------------------------------------

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


# -- where a value may hide ------------------------------------------------------------------


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
