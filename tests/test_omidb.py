"""The profile omidb, tag by tag: what the page of the OMI-DB lists, before and after."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence

import pydicom
import pytest

import dcmveil
from build import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, E, Item, encode, part10
from expectations import KEY, TABLES, digits

MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
DICOMDIR = "1.2.840.10008.1.3.10"
WALKED = 0x52009229  # Shared Functional Groups Sequence: no table names it

# The 43 tags of its page: tag, VR, before, after, under the key above and the Patient ID below.
PATIENT_ID = "OMI-000123"
LISTED = [
    (0x00001000, "UI", "1.2.840.99999.3811.2016.101", "2.25.9714811637474429045467"),
    (0x00001001, "UI", "1.2.840.99999.3811.2016.102", "2.25.5009632914525907037939"),
    (0x00020003, "UI", "1.2.840.99999.3811.2016.103", "2.25.4061636260850592494581"),
    (0x00041511, "UI", "1.2.840.99999.3811.2016.104", "2.25.2924241191247339596740"),
    (0x00080014, "UI", "1.2.840.99999.3811.2016.105", "2.25.7043927230095458104138"),
    (0x00080018, "UI", "1.2.840.99999.3811.2016.106", "2.25.1048506597296685910475"),
    (0x00080020, "DA", "20160808", "20130923"),
    (0x00080021, "DA", "20160909", "20131025"),
    (0x00080022, "DA", "20161010", "20131125"),
    (0x00080023, "DA", "20161111", "20131227"),
    (0x00080050, "SH", "ACC-778812", ""),
    (0x00080090, "PN", "WHITE^ANN^^DR", ""),
    (0x0008010D, "UI", "1.2.840.99999.3811.2016.113", "2.25.7641533708669706420292"),
    (0x00081010, "SH", "MAMMO-ROOM-2", "ANON"),
    (0x00081070, "PN", "OPERATOR^OLGA", "ANON"),
    (0x00081155, "UI", "1.2.840.99999.3811.2016.116", "2.25.7812097993533954746544"),
    (0x00081195, "UI", "1.2.840.99999.3811.2016.117", "2.25.2981828149918547811540"),
    (0x00083010, "UI", "1.2.840.99999.3811.2016.118", "2.25.3205862857260440267306"),
    (0x00089123, "UI", "1.2.840.99999.3811.2016.119", "2.25.5803041628478944305032"),
    (0x00181002, "UI", "1.2.840.99999.3811.2016.120", "2.25.6242475792108704585571"),
    (0x0018700A, "SH", "DET-44171", ""),
    (0x0018700C, "DA", "20161123", "20140108"),
    (0x0020000D, "UI", "1.2.840.99999.3811.2016.123", "2.25.3803508073525168836705"),
    (0x0020000E, "UI", "1.2.840.99999.3811.2016.124", "2.25.5783663199126514496543"),
    (0x00200010, "SH", "S2016-4711", ""),
    (0x00200052, "UI", "1.2.840.99999.3811.2016.126", "2.25.2366922248792530755399"),
    (0x00200200, "UI", "1.2.840.99999.3811.2016.127", "2.25.1293645348137127126559"),
    (0x00204000, "LT", "Called Mrs Doe on 555-0142", ""),
    (0x00209161, "UI", "1.2.840.99999.3811.2016.129", "2.25.5932337789328552540361"),
    (0x00209164, "UI", "1.2.840.99999.3811.2016.130", "2.25.1679669144031673902176"),
    (0x00281199, "UI", "1.2.840.99999.3811.2016.131", "2.25.2967679419618386521038"),
    (0x00281214, "UI", "1.2.840.99999.3811.2016.132", "2.25.7177529644689293972485"),
    (0x00400244, "DA", "20161006", "20131121"),
    (0x00404023, "UI", "1.2.840.99999.3811.2016.134", "2.25.8332833694410063575192"),
    (0x0040A124, "UI", "1.2.840.99999.3811.2016.135", "2.25.2711527750899565884140"),
    (0x0040DB0C, "UI", "1.2.840.99999.3811.2016.136", "2.25.9938141378325567657236"),
    (0x0040DB0D, "UI", "1.2.840.99999.3811.2016.137", "2.25.9851644917076400831173"),
    (0x0070031A, "UI", "1.2.840.99999.3811.2016.138", "2.25.6580550799830783855724"),
    (0x00880140, "UI", "1.2.840.99999.3811.2016.139", "2.25.5433025668801251823333"),
    (0x04000100, "UI", "1.2.840.99999.3811.2016.140", "2.25.9169062611880299544813"),
    (0x30060024, "UI", "1.2.840.99999.3811.2016.141", "2.25.4161307398103423863166"),
    (0x300600C2, "UI", "1.2.840.99999.3811.2016.142", "2.25.1446441013083319776945"),
    (0x300A0013, "UI", "1.2.840.99999.3811.2016.143", "2.25.1631213553639816056001"),
]
SYNTAXES = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE]


def after(data: bytes, key: bytes = KEY) -> bytes:
    return dcmveil.Veil("omidb", key=key).bytes(data)


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def file_with(*elements: E, syntax: str = EXPLICIT_LE) -> bytes:
    """A mammogram of the patient with these elements, each in its place."""
    given = {element.tag for element in elements}
    usual = [
        E(0x00080016, "UI", MAMMOGRAPHY),
        E(0x00100010, "PN", "DOE^JANE^MARIA"),
        E(0x00100020, "LO", PATIENT_ID),
    ]
    whole = [*(e for e in usual if e.tag not in given), *elements]
    in_directory = any(tag >> 16 == 4 for tag in given)
    if in_directory:
        whole = list(elements)
    meta = [
        E(0x00020002, "UI", DICOMDIR if in_directory else MAMMOGRAPHY),
        E(0x00020010, "UI", syntax),
        *(e for e in whole if e.tag >> 16 == 2),
    ]
    data_set = [e for e in whole if e.tag >> 16 != 2]
    return part10(in_order(data_set), syntax, meta=in_order(meta))


def in_order(elements: Sequence[E]) -> list[E | bytes]:
    return sorted(elements, key=lambda element: element.tag)


def test_the_list_is_that_of_the_page() -> None:
    lines = (TABLES / "omidb.tsv").read_text().splitlines()
    cells = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    on_page = {(int(digits(row[0]), 16), row[2]) for row in cells if row[4] == "Y"}
    assert on_page == {(tag, vr) for tag, vr, _, _ in LISTED}
    assert len(LISTED) == 43


@pytest.mark.parametrize(("tag", "vr", "old", "new"), LISTED, ids=lambda value: (
    f"{value:08X}" if isinstance(value, int) else ""))  # fmt: skip
def test_a_listed_tag(tag: int, vr: str, old: str, new: str) -> None:
    for syntax in SYNTAXES:
        data = file_with(E(tag, vr, old), syntax=syntax)
        value = encode([E(tag, vr, old)])[8:]
        at = data.index(value)
        pad = b"\0" if vr == "UI" else b" "
        assert after(data)[at : at + len(value)] == new.encode().ljust(len(value), pad)


@pytest.mark.parametrize(("tag", "vr", "old", "new"), LISTED, ids=lambda value: (
    f"{value:08X}" if isinstance(value, int) else ""))  # fmt: skip
def test_a_listed_tag_in_an_item(tag: int, vr: str, old: str, new: str) -> None:
    if tag >> 16 == 4:
        new = ""  # belongs to a DICOMDIR
    item = Item([E(tag, vr, old)], undefined=True)
    data = file_with(E(WALKED, "SQ", [item]))
    value = encode([E(tag, vr, old)])[8:]
    at = data.index(value)
    pad = b"\0" if vr == "UI" else b" "
    assert after(data)[at : at + len(value)] == new.encode().ljust(len(value), pad)


# -- its rules for values --------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", ["DOE^JANE^MARIA", "LI^BO ", "DE LA CRUZ^MARIA^^DR^III=X=Y "])
def test_name_and_id_are_one_pseudonym(syntax: str, name: str) -> None:
    dataset = read(after(file_with(E(0x00100010, "PN", name), syntax=syntax)))
    patient_id = dataset.PatientID
    assert len(patient_id) == len(PATIENT_ID)
    assert patient_id != PATIENT_ID
    assert patient_id[3] == "-"
    assert str(dataset.PatientName) == patient_id[: len(name)]


def test_the_same_patient_is_the_same_pseudonym_and_another_is_another() -> None:
    ids = [f"OMI-{n:06d}" for n in range(300)]
    new = [read(after(file_with(E(0x00100020, "LO", old)))).PatientID for old in ids]
    assert len(set(new)) == len(ids)
    assert not set(new) & set(ids)
    assert new[:5] == [read(after(file_with(E(0x00100020, "LO", x)))).PatientID for x in ids[:5]]
    padded = E(0x00100020, "LO", b"OMI-000003\0 ")
    assert read(after(file_with(padded))).PatientID == new[3]
    other_key = bytes(reversed(KEY))
    assert read(after(file_with(E(0x00100020, "LO", ids[3])), other_key)).PatientID != new[3]


def test_without_an_id_the_name_is_blank() -> None:
    dataset = read(after(file_with(E(0x00100020, "LO", ""))))
    assert str(dataset.PatientName) == ""
    assert dataset.PatientID == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("19610704", "19610101"),
        ("1961.07.04", "1961.01.01"),
        ("20000229", "20000101"),
        ("unknown ", ""),
        ("", ""),
    ],
)
def test_the_birth_date_keeps_its_year(old: str, new: str) -> None:
    for syntax in SYNTAXES:
        data = after(file_with(E(0x00100030, "DA", old), syntax=syntax))
        assert read(data)[0x00100030].value.strip() == new


DATES = [0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x00400002, 0x00400004, 0x00400244]


def test_dates_keep_their_intervals() -> None:
    first = datetime.date(2016, 2, 28)
    steps = [0, 1, 2, 30, 366, 1000, 4000]
    days = [first + datetime.timedelta(step) for step in steps]
    elements = [E(tag, "DA", f"{day:%Y%m%d}") for tag, day in zip(DATES, days, strict=True)]
    elements += [
        E(0x0008002A, "DT", "20160228235959.123456"),
        E(0x00181078, "DT", "20160301000000"),  # no row names it
        E(0x00181203, "DA", "20160301"),
    ]
    moved = read(after(file_with(*elements)))
    new = [datetime.datetime.strptime(moved[tag].value, "%Y%m%d").date() for tag in DATES]
    assert [(day - new[0]).days for day in new] == steps
    shift = (new[0] - first).days
    assert -3650 <= shift <= -1
    assert moved[0x0008002A].value == f"{new[0]:%Y%m%d}235959.123456"
    assert moved[0x00181078].value == f"{new[2]:%Y%m%d}000000"
    assert moved[0x00181203].value == f"{new[2]:%Y%m%d}"
    # the same patient in another file, on another day
    later = read(after(file_with(E(0x00080020, "DA", "20190101"))))
    moved_by = datetime.datetime.strptime(later.StudyDate, "%Y%m%d").date()
    assert (moved_by - datetime.date(2019, 1, 1)).days == shift


def test_patients_are_moved_by_days_of_their_own() -> None:
    files = [
        file_with(E(0x00080020, "DA", "20160229"), E(0x00100020, "LO", f"P-{n:04d}"))
        for n in range(200)
    ]
    dates = {read(after(data)).StudyDate for data in files}
    assert len(dates) > 150
    assert "20160229" not in dates


@pytest.mark.parametrize("patient_id", ["", "   ", None])
def test_without_an_id_dates_are_blank(patient_id: str | None) -> None:
    study = E(0x00080020, "DA", "20160229")
    if patient_id is None:
        data = part10([E(0x00080016, "UI", MAMMOGRAPHY), study])
    else:
        data = file_with(study, E(0x00100020, "LO", patient_id))
    assert read(after(data)).StudyDate == ""


@pytest.mark.parametrize(
    ("tag", "vr", "old", "new"),
    [
        (0x00080030, "TM", "101530.25 ", "000000.00"),
        (0x00080031, "TM", "1015", "0000"),
        (0x00080032, "TM", "10:15:30", "000000.0"),
        (0x00080033, "TM", "", ""),
        (0x00100032, "TM", "031500", "000000"),
        (0x00181201, "TM", "101530", "000000"),  # no row names it
    ],
)
def test_times_are_zero(tag: int, vr: str, old: str, new: str) -> None:
    for syntax in SYNTAXES:
        dataset = read(after(file_with(E(tag, vr, old), syntax=syntax)))
        assert dataset[tag].value == new


def test_uids_are_mapped_alike_wherever_they_stand() -> None:
    uid = "1.2.826.0.1.3680043.9.3811.2016.77.12345"
    reference = Item([E(0x00081150, "UI", MAMMOGRAPHY), E(0x00081155, "UI", uid)])
    meta_and_data = file_with(
        E(0x00020003, "UI", uid),
        E(0x00080018, "UI", uid),
        E(0x00081140, "SQ", [reference]),
        E(0x0020000D, "UI", uid + "\\" + uid),
        E(WALKED, "SQ", [Item([E(0x0040A124, "UI", uid)]), reference]),
    )
    dataset = read(after(meta_and_data))
    new = dataset.SOPInstanceUID
    assert new.startswith("2.25.")
    assert len(new) == len(uid)
    assert dataset.file_meta.MediaStorageSOPInstanceUID == new
    assert list(dataset.StudyInstanceUID) == [new, new]
    assert dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID == new
    assert dataset.ReferencedImageSequence[0].ReferencedSOPClassUID == MAMMOGRAPHY
    assert dataset[WALKED].value[0][0x0040A124].value == new
    assert dataset[WALKED].value[1].ReferencedSOPInstanceUID == new
    assert dataset.SOPClassUID == MAMMOGRAPHY


def test_a_second_run_changes_nothing() -> None:
    data = file_with(
        E(0x00080020, "DA", "20160229"),
        E(0x00080030, "TM", "101530"),
        E(0x0008002A, "DT", "20160228235959"),
        E(0x00100030, "DA", "19610704"),
        E(0x0020000D, "UI", "1.2.826.0.1.3680043.9.3811.2016.77.12345"),
    )
    once = after(data)
    assert once != data
    assert after(once) == once
