"""Each record of a DICOMDIR is treated as its own patient's, however the records are linked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcmveil
from build import E, Item, encode
from cases import KEY
from dcmveil.directory import Directory
from directories import ROOT, Record, directory, image, patient, series, study
from patients import IDS, SYNTAXES, A, B, omidb, own_file, read, records, shuffled, three_patients


@cache
def new_date(patient_id: str) -> str:
    return str(own_file(patient_id).StudyDate)


def owners(data: bytes, ids: Sequence[str] = IDS) -> list[str | None]:
    """Whose days the date of each record has moved by, as it comes out; None: it is blank."""
    whose: dict[str, str | None] = {new_date(one): one for one in ids} | {"": None}
    assert len(whose) == len(ids) + 1
    found = []
    for record in records(omidb().bytes(data)):
        date = record[0x00080020 if "StudyDate" in record else 0x00080023].value
        found.append(whose[date])
    return found


# -- each record is its patient's ------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_records_are_treated_as_their_patients_files(
    syntax: str, undefined: bool, seed: int
) -> None:
    roots = three_patients()
    order = shuffled(roots, seed)
    data = directory(roots, order=order, syntax=syntax, undefined=undefined)
    new = omidb().bytes(data)
    assert len(new) == len(data)
    for one, root in zip(IDS, roots, strict=True):
        file = own_file(one)
        for record in root.all():
            found = records(new)[order.index(record)]
            if record.kind == "PATIENT":
                assert found.PatientID == file.PatientID
                assert found.PatientName == file.PatientName == file.PatientID[:8]
            elif record.kind == "STUDY":
                assert found.StudyDate == file.StudyDate
                assert found.StudyTime == "000000"
            elif record.kind == "IMAGE":
                assert found.ContentDate == file.StudyDate
    assert len({new_date(one) for one in IDS}) == len(IDS)
    assert omidb().bytes(new) == new


def with_dates(*records: Record) -> list[Record]:
    """Every record bears a date, so that its patient shows."""
    for record in records:
        if not any(isinstance(e, E) and e.tag == 0x00080020 for e in record.elements):
            record.elements.append(E(0x00080020, "DA", "20160229"))
    return list(records)


def test_an_orphan_has_no_patient() -> None:
    lost = study(3, linked=False)
    roots = with_dates(patient(A, study(1)), patient(B, study(2)), lost)
    assert owners(directory(roots)) == [A, A, B, B, None]


def test_an_orphan_that_names_its_patient() -> None:
    lost = patient(B, study(2), linked=False)
    roots = with_dates(patient(A, study(1)), lost)
    assert owners(directory(roots)) == [A, A, B, B]


def test_an_orphan_below_a_patient() -> None:
    """It stands among the others, but no link leads to it."""
    roots = with_dates(patient(A, study(1), study(2, linked=False)))
    assert owners(directory(roots)) == [A, A, None]


def test_an_inactive_record_is_its_patients() -> None:
    roots = with_dates(
        patient(A, study(1, in_use=False), study(2)), patient(B, study(3), in_use=False)
    )
    assert owners(directory(roots)) == [A, A, A, B, B]


def test_a_private_record_is_its_patients() -> None:
    private = Record("PRIVATE", [E(0x00041432, "UI", f"{ROOT}.55")], [study(1)])
    with_dates(private)
    roots = with_dates(patient(A, private))
    assert owners(directory(roots)) == [A, A, A]


@pytest.mark.parametrize("patient_id", ["", "  "])
def test_a_patient_without_an_id(patient_id: str) -> None:
    roots = with_dates(patient(patient_id, study(1)), patient(A, study(2)))
    data = directory(roots)
    assert owners(data) == [None, None, A, A]
    first, _, third, _ = records(omidb().bytes(data))
    assert str(first.PatientName) == ""
    assert str(third.PatientName) == str(own_file(A).PatientName)


def test_padding_makes_no_other_patient() -> None:
    for padded in (A.encode() + b"\0  ", b" " + A.encode()):
        again = study(1, image(1))
        again.elements.append(E(0x00100020, "LO", padded))
        assert owners(directory(with_dates(patient(A, again)))) == [A, A, A]


def test_the_order_of_elements_in_a_record_makes_no_difference() -> None:
    data = directory(with_dates(patient(A, study(1))))
    name, patient_id = (encode([e]) for e in patient(A).elements)  # type: ignore[list-item]
    date = encode([E(0x00080020, "DA", "20160229")])
    other = data.replace(date + name + patient_id, patient_id + date + name)
    assert other != data
    assert owners(other) == [A, A]
    late = data.replace(date + name + patient_id, name + date + patient_id)
    assert owners(late) == [A, A]


def test_two_patients_claim_one_record() -> None:
    shared = study(1, series(1, image(1)))
    first, second = patient(A, shared, study(2)), patient(B, below=shared)
    with_dates(shared.lower[0])
    order = [first, second, *first.lower[0].all(), first.lower[1]]
    data = directory(with_dates(first, second), order=order)
    # the second study hangs next to the shared one, so both lay claim to it as well
    assert owners(data) == [A, B, None, None, None, None]


def test_one_patient_claims_a_record_twice() -> None:
    shared = study(1)
    first, second = patient(A, shared), patient(A, below=shared)
    assert owners(directory(with_dates(first, second), order=[first, second, shared])) == [A] * 3


def test_a_record_below_a_patient_names_another() -> None:
    study_of_both = study(1, image(1))
    study_of_both.elements.append(E(0x00100020, "LO", B))
    data = directory(with_dates(patient(A, study_of_both)))
    assert owners(data) == [A, None, None]
    # its pseudonym is that of its own value
    assert records(omidb().bytes(data))[1].PatientID == own_file(B).PatientID


def test_loops_end() -> None:
    me, other = patient(A), patient(B)
    me.below, me.following = me, me
    other.below, other.following = other, None
    first, second, third = study(1), study(2), study(3)
    first.following, second.following, third.below = second, first, third
    looped = patient(IDS[2], below=first)
    roots = with_dates(me, other, looped, first, second, third)
    assert owners(directory(roots)) == [A, B, IDS[2], IDS[2], IDS[2], None]


def test_a_loop_through_two_patients() -> None:
    first, second = patient(A), patient(B)
    first.below, second.below = second, first
    assert owners(directory(with_dates(first, second))) == [None, None]


@pytest.mark.parametrize("offset", [1, 131, 0x7FFFFFFF, 0xFFFFFFFF])
def test_offsets_that_lead_nowhere(offset: int) -> None:
    roots = with_dates(patient(A, study(1), below=offset), patient(B, study(2), following=offset))
    assert owners(directory(roots)) == [A, None, B, B]


@pytest.mark.parametrize("shift", [-1, 1, 8])
def test_offsets_beside_the_item_tag(shift: int) -> None:
    """A link leads to the first byte of the item tag, and to no other."""
    data = directory(with_dates(patient(A, study(1))))
    at = read(data)[0x00041220].value[0][0x00041420].value
    changed = data.replace(encode([E(0x00041420, "UL", [at])]),
                           encode([E(0x00041420, "UL", [at + shift])]))  # fmt: skip
    assert changed != data
    assert owners(data) == [A, A]
    assert owners(changed) == [A, None]


def test_no_links_at_all() -> None:
    roots = with_dates(patient(A, study(1), below=None, following=None), study(2, below=None))
    assert owners(directory(roots)) == [A, None, None]


def test_links_of_another_length() -> None:
    """Eight bytes, and the right number in them: no reader would follow it."""
    root = patient(A, study(1), below=None)
    root.elements.append(E(0x00041420, "UL", bytes(8)))
    at = directory(with_dates(root)).index(encode([E(0x00041400, "UL", [0])]), 400) - 8
    root.elements[2] = E(0x00041420, "UL", at.to_bytes(8, "little"))
    data = directory([root])
    assert data[at : at + 4] == b"\xfe\xff\0\xe0"
    assert owners(data) == [A, None]


def test_what_stands_around_the_records_has_no_patient() -> None:
    more = [E(0x00080023, "DA", "20160229")]
    data = directory(with_dates(patient(A, study(1))), more=more)
    assert read(omidb().bytes(data)).ContentDate == ""


def test_a_sequence_within_a_record_is_its_patients() -> None:
    root = patient(A, study(1))
    inside = [E(0x00080020, "DA", "20160229"), E(0x00100020, "LO", B)]
    # even one that calls itself a sequence of records
    for tag in (0x00041220, 0x52009229):
        root.lower[0].elements.append(E(tag, "SQ", [Item(inside)]))
    new = records(omidb().bytes(directory(with_dates(root))))[1]
    for tag in (0x00041220, 0x52009229):
        assert new[tag].value[0].StudyDate == new.StudyDate == new_date(A)


LINKS = st.one_of(st.none(), st.integers(0, 7))


@given(st.lists(st.tuples(st.sampled_from(["", "", *IDS]), LINKS, LINKS), min_size=1, max_size=8))
def test_any_links(rows: list[tuple[str, int | None, int | None]]) -> None:
    """Against a plain model: from each patient's record, all that can be reached below it."""
    found = Directory()
    for number, (own, following, below) in enumerate(rows):
        links = [b"" if to is None else (8 + 8 * to).to_bytes(4, "little")
                 for to in (following, below)]  # fmt: skip
        found.add(8 + 8 * number, False, [*links, b"", b"", own.encode(), b"", b""])

    def level(number: int | None, seen: set[int]) -> Iterator[int]:
        while number is not None and number < len(rows) and number not in seen:
            seen.add(number)
            yield number
            number = rows[number][1]

    def below(number: int) -> set[int]:
        reached: set[int] = set()
        pending = [number]
        while pending:
            for lower in level(rows[pending.pop()][2], reached):
                pending.append(lower)
        return reached

    claims: list[set[str]] = [{own} - {""} for own, _, _ in rows]
    for number, (own, _, _) in enumerate(rows):
        for lower in below(number) if own else ():
            claims[lower].add(own)
    expected = [claim.pop() if len(claim) == 1 else "" for claim in claims]
    assert [found.patient_of(8 + 8 * n).decode() for n in range(len(rows))] == expected


def test_deep_and_long_trees_are_walked_without_recursion() -> None:
    found = Directory()
    n = 50_000
    for number in range(n):
        link = (2 + number).to_bytes(4, "big")
        chain = [b"", link] if number % 2 else [link, link]
        found.add(1 + number, True, [*chain, b"", b"", b"P" if number == 0 else b"", b"", b""])
    assert {found.patient_of(1 + number) for number in range(n)} == {b"P"}


# -- a table of pseudonyms -------------------------------------------------------------------


def test_a_table_of_pseudonyms(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"old,new,shift_days\n{A},TRIAL-001,-10\n{B},TRIAL-002,-20\n")
    veil = dcmveil.Veil("omidb", key=KEY, pseudonyms=dcmveil.load_pseudonyms(table))
    data = directory(with_dates(patient(A, study(1)), patient(B, study(2)), study(3, linked=False)))
    first, study1, second, study2, lost = records(veil.bytes(data))
    assert (first.PatientID, second.PatientID) == ("TRIAL-001", "TRIAL-002")
    assert (study1.StudyDate, study2.StudyDate, lost.StudyDate) == ("20160219", "20160209", "")
    with pytest.raises(dcmveil.DicomError, match="has no row"):
        veil.bytes(directory([patient(A), patient("HOSP-9999")]))
