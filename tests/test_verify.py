"""Verify: right outputs are proven, and each broken promise is found at its offset."""

from __future__ import annotations

import io
import json
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
    part10,
)
from build import sample as small_image
from dcmveil.verify import Checker
from faces import run
from verdicts import KEY, NAME, NUMBER, PIXELS, STUDY, WORD, image, only, put, veil, verdict

SETTINGS: list[tuple[str, tuple[str, ...]]] = [
    ("basic", ()),
    ("basic", ("retain-uids", "retain-longitudinal-full-dates")),
    ("basic", ("retain-safe-private", "retain-longitudinal-modified-dates", "clean-graphics")),
    ("basic", ("retain-device-identity", "retain-institution-identity", "clean-descriptors")),
    ("sup142", ()),
    ("omidb", ()),
]


@cache
def checker(profile: str = "basic", options: tuple[str, ...] = ()) -> Checker:
    return Checker(veil(profile, options))


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
