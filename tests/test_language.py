"""The rules of profile files: what each of them does to a file, end to end."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest

import dcmveil
from build import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, E, Item, Value, part10
from sites import ALLOW, BASIC, GEMS, MR, NOTHING, OURS, UID, Site, sequence

CONCEPT, CONTENT, TEXT = 0x0040A043, 0x0040A730, 0x0040A160
MEANING = 0x00080104


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# -- actions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("extends", [NOTHING, BASIC, ALLOW])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize(
    ("rule", "vr", "tag", "old", "new"),
    [
        ('PatientName = "keep"', "PN", 0x00100010, "DOE^JANE", "DOE^JANE"),
        ('PatientName = "blank"', "PN", 0x00100010, "DOE^JANE", ""),
        ('PatientName = "dummy"', "PN", 0x00100010, "DOE^JANE", "ANON"),
        ('PatientName = { set = "X^Y" }', "PN", 0x00100010, "DOE^JANE", "X^Y"),
        ('PatientName = { set = "ANON^TRIAL" }', "PN", 0x00100010, "DOE^JANE", "ANON^TRI"),
        ('Modality = { set = "OT" }', "CS", 0x00080060, "MR", "OT"),
        ('Modality = { set = "OTHER" }', "CS", 0x00080060, "MR", ""),  # a code is never cut
        ('StudyDate = "keep"', "DA", 0x00080020, "20240229", "20240229"),
        ('StudyDate = "year"', "DA", 0x00080020, "20240229", "20240101"),
        ('StudyDate = { set = "20200202" }', "DA", 0x00080020, "20240229", "20200202"),
        ('StudyTime = "zero-time"', "TM", 0x00080030, "101530", "000000"),
        ('StudyTime = "shift"', "TM", 0x00080030, "101530", "101530"),
        ('PatientAge = { set = "045Y" }', "AS", 0x00101010, "062Y", "045Y"),
        ('PatientWeight = { set = "70" }', "DS", 0x00101030, "71.5", "70"),
        ('SeriesNumber = { set = "1" }', "IS", 0x00200011, "42", "1"),
        ('SeriesDescription = "clean"', "LO", 0x0008103E, "Mrs Doe!", ""),
        ('Rows = "keep"', "US", 0x00280010, [8], 8),
        ('PregnancyStatus = "blank"', "US", 0x001021C0, [4], 0),
        ('PregnancyStatus = "dummy"', "US", 0x001021C0, [4], 0),
    ],
)
def test_actions(
    rule: str, vr: str, tag: int, old: Value, new: object, extends: str, syntax: str, site: Site
) -> None:
    assert site.after(extends + rule, E(tag, vr, old), syntax=syntax)[tag].value == new


@pytest.mark.parametrize("extends", [NOTHING, BASIC, ALLOW])
def test_keyed_actions(extends: str, site: Site) -> None:
    rules = """
        StudyInstanceUID = "uid"
        StudyDate = "shift"
        AcquisitionDateTime = "clean"
        PatientID = "pseudonym"
        PatientName = "pseudonym"
        AccessionNumber = "pseudonym"
        StudyID = "hash"
    """
    dataset = site.after(
        extends + rules,
        E(0x00080020, "DA", "20240229"),
        E(0x0008002A, "DT", "20240302101530.25"),
        E(0x00080050, "SH", "ACC-778812"),
        E(0x00100010, "PN", "DOE^JANE"),
        E(0x00100020, "LO", "HOSP-004711"),
        E(0x0020000D, "UI", UID),
        E(0x00200010, "SH", "4711"),
    )
    assert dataset.StudyInstanceUID.startswith("2.25.")
    assert dataset.StudyDate < "20240229"
    assert dataset.AcquisitionDateTime[8:] == "101530.25"
    assert int(dataset.AcquisitionDateTime[:8]) > int(dataset.StudyDate)
    assert dataset.PatientID != "HOSP-004711"
    assert dataset.PatientID[4] == "-"
    assert dataset.PatientName == dataset.PatientID[:8]  # the patient's, fitted to the field
    assert dataset.AccessionNumber != "ACC-778812"
    assert dataset.AccessionNumber[:1].isalpha()
    assert dataset.StudyID != "4711"
    assert set(dataset.StudyID) <= set("0123456789ABCDEF")


def test_kinds_of_pseudonyms(site: Site) -> None:
    rules = """
        PatientID = { pseudonym = "patient" }
        PatientBirthName = { pseudonym = "patient-id" }
        OtherPatientIDs = { pseudonym = "patient" }
        AccessionNumber = { pseudonym = "accession" }
        StudyID = "pseudonym"
    """
    dataset = site.after(
        BASIC + rules,
        E(0x00080050, "SH", "12345678"),
        E(0x00100020, "LO", "12345678"),
        E(0x00101000, "LO", "12345678"),
        E(0x00101005, "PN", "ROE^JANE"),
        E(0x00200010, "SH", "12345678"),
    )
    assert dataset.PatientID == dataset.OtherPatientIDs == dataset.PatientBirthName != "12345678"
    assert dataset.AccessionNumber == dataset.StudyID not in (dataset.PatientID, "12345678")


def test_dummy_of_an_encapsulated_document_opens(site: Site) -> None:
    pdf = b"%PDF-1.4\n" + b"x" * 2000 + b"\n%%EOF\n"
    for text in (NOTHING + 'EncapsulatedDocument = "dummy"', ALLOW):
        dataset = site.after(text, E(0x00420011, "OB", pdf + b"\0" * (len(pdf) % 2)))
        assert dataset.EncapsulatedDocument.startswith(b"%PDF")
        assert b"xxx" not in dataset.EncapsulatedDocument


# -- what a rule is for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "PatientSex",
        '"PatientSex"',
        '"(0010,0040)"',
        '"0010,0040"',
        '"00100040"',
        "00100040",
        '" PatientSex "',
    ],
)
def test_one_attribute_in_many_spellings(key: str, site: Site) -> None:
    dataset = site.after(f'{BASIC}{key} = "keep"', E(0x00100040, "CS", "F"))
    assert dataset.PatientSex == "F"


@pytest.mark.parametrize("key", ["60xx3000", '"(60xx,3000)"', '"60XX3000"', "OverlayData"])
def test_pattern(key: str, site: Site) -> None:
    overlays = [E(0x60000022, "LO", "DOE"), E(0x60003000, "OW", [7]), E(0x60223000, "OW", [9])]
    dataset = site.after(f'{BASIC}{key} = "keep"', *overlays)
    assert dataset[0x60003000].value == b"\7\0"
    assert dataset[0x60223000].value == b"\x09\0"
    assert dataset[0x60000022].value == ""


def test_pattern_of_a_group(site: Site) -> None:
    text = f'{BASIC}"0018xxxx" = "blank"\nProtocolName = "keep"'
    dataset = site.after(
        text,
        E(0x00180015, "CS", "KNEE"),
        E(0x00181030, "LO", "KNEE 3"),
        E(0x0018FFF0, "LO", "NEWER"),
        E(0x00280010, "US", [8]),
    )
    assert dataset.BodyPartExamined == ""
    assert dataset.ProtocolName == "KNEE 3"
    assert dataset[0x0018FFF0].value in ("", None)
    assert dataset.Rows == 8


def test_a_single_tag_goes_before_a_pattern_and_that_before_a_wider_one(site: Site) -> None:
    rules = ['"6002xxxx" = "dummy"', '"60020xxx" = "keep"', '"(6002,0022)" = "blank"']
    for order in (rules, rules[::-1]):
        dataset = site.after(
            NOTHING + "\n".join(order),
            E(0x60020022, "LO", "ABC"),
            E(0x60020040, "CS", "G"),
            E(0x60021500, "LO", "XYZABC"),
        )
        assert [dataset[t].value for t in (0x60020022, 0x60020040, 0x60021500)] == ["", "G", "ANON"]


def test_patterns_leave_what_files_need_to_open(site: Site) -> None:
    dataset = site.after(f'{NOTHING}"0008xxxx" = "blank"\n"0002xxxx" = "blank"\n"VR UI" = "uid"')
    assert dataset.SOPClassUID == MR
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID != UID


def test_rule_by_vr_is_for_what_no_row_names(site: Site) -> None:
    text = f'{BASIC}"VR LO" = "hash"\n"VR DA" = "keep"\nManufacturer = "keep"'
    dataset = site.after(
        text,
        E(0x00080070, "LO", "ACME"),
        E(0x00080080, "LO", "HOSPITAL"),
        E(0x00140102, "DA", "20240229"),
        E(0x00080404, "DT", "20240229"),
        E(0x00201040, "LO", "POSITION"),
        E(0x00280051, "CS", "ABC"),
    )
    assert dataset.Manufacturer == "ACME"
    assert dataset.InstitutionName == "ANON"  # its row in the table goes first
    assert dataset.SecondaryReviewDate == "20240229"
    assert dataset.ItemInventoryDateTime == "19000101"  # what it extends says so of DT
    assert dataset[0x00280051].value == "ABC"
    position = dataset.PositionReferenceIndicator
    assert position != "POSITION"
    assert len(position) == 8


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("creator", [GEMS, OURS])
@pytest.mark.parametrize("block", [0x10, 0x7F])
def test_private_rule_follows_the_creator(
    creator: str, block: int, syntax: str, site: Site
) -> None:
    at = 0x00190000 | block << 8
    elements = [
        E(0x00190000 | block, "LO", creator),
        E(at | 0x23, "DS", "12"),
        E(at | 0x24, "DS", "34"),
    ]
    for key in (f"'0019 \"{creator}\" 23'", f"'(0019,\"{creator}\",23)'"):
        dataset = site.after(f'{BASIC}{key} = "keep"', *elements, syntax=syntax)
        kept, gone = dataset[at | 0x23].value, dataset[at | 0x24].value
        assert dataset[0x00190000 | block].value == creator
        assert kept in (12, b"12")
        assert gone in (None, "", b"\0\0")


def test_private_actions_with_arguments(site: Site) -> None:
    rules = [
        f'\'0011 "{OURS}" 01\' = {{ set = "TRIAL" }}',
        f'\'0011 "{OURS}" 02\' = "hash"',
        f'\'0011 "{OURS}" 03\' = "shift"',
        f'\'0011 "{OURS}" 04\' = "uid"',
    ]
    dataset = site.after(
        BASIC + "\n".join(rules),
        E(0x00110010, "LO", OURS),
        E(0x00111001, "LO", "DOE^JANE"),
        E(0x00111002, "LO", "DOE^JANE"),
        E(0x00111003, "DA", "20240229"),
        E(0x00111004, "UI", UID),
        E(0x00111005, "LO", "DOE^JANE"),
    )
    assert dataset[0x00111001].value == "TRIAL"
    assert len(dataset[0x00111002].value) == 8
    assert dataset[0x00111002].value != "DOE^JANE"
    assert dataset[0x00111003].value[:2] == "20"
    assert dataset[0x00111003].value != "20240229"
    assert dataset[0x00111004].value.startswith("2.25.")
    assert dataset[0x00111005].value == ""


def test_private_sequence_that_is_kept_is_walked(site: Site) -> None:
    inner = [E(0x00100020, "LO", "12345678"), E(0x00200011, "IS", "4")]
    elements = [E(0x00190010, "LO", OURS), sequence(0x00191004, inner)]
    dataset = site.after(f'{BASIC}\'0019 "{OURS}" 04\' = "keep"', *elements)
    item = dataset[0x00191004].value[0]
    assert item.PatientID == "ANON"
    assert item.SeriesNumber == 4
    item = site.after(BASIC, *elements)[0x00191004].value[0]
    assert item.SeriesNumber == 0


def depth_of(level: int, leaf: E) -> E:
    """Content sequences in content sequences."""
    for _ in range(level):
        leaf = sequence(CONTENT, [leaf])
    return leaf


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("level", range(4))
def test_rule_for_a_place_at_any_depth(level: int, syntax: str, site: Site) -> None:
    text = f"""{BASIC}
        ContentSequence = "keep"
        ConceptNameCodeSequence = "keep"
        CodeMeaning = "blank"
        "ContentSequence/ConceptNameCodeSequence/CodeMeaning" = "keep"
        "(0040,A730)/TextValue" = {{ set = "TEXT" }}
    """
    concept = sequence(CONCEPT, [E(MEANING, "LO", "Finding!")])
    dataset = site.after(text, depth_of(level, concept), syntax=syntax)
    for _ in range(level):
        dataset = dataset.ContentSequence[0]
    meaning = dataset.ConceptNameCodeSequence[0].CodeMeaning
    assert meaning == ("Finding!" if level else "")
    dataset = site.after(text, depth_of(level, E(TEXT, "UT", "Mrs Doe.")), syntax=syntax)
    for _ in range(level):
        dataset = dataset.ContentSequence[0]
    assert dataset.TextValue == ("TEXT" if level else "ANON")


def test_the_longest_place_counts(site: Site) -> None:
    text = f"""{NOTHING}
        CodeMeaning = "dummy"
        "ConceptNameCodeSequence/CodeMeaning" = "blank"
        "ContentSequence/ConceptNameCodeSequence/CodeMeaning" = "keep"
    """
    concept = sequence(CONCEPT, [E(MEANING, "LO", "Finding!")])
    dataset = site.after(
        text,
        E(MEANING, "LO", "Finding!"),
        sequence(0x00081140, [concept, E(CONTENT, "SQ", [Item([concept])])]),
        depth_of(1, concept),
    )
    outer = dataset[0x00081140].value[0]
    assert dataset.CodeMeaning == "ANON"
    assert outer.ConceptNameCodeSequence[0].CodeMeaning == ""
    assert outer.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "Finding!"
    assert dataset.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "Finding!"


def test_a_place_may_open_a_sequence_that_is_blanked_elsewhere(site: Site) -> None:
    text = f"""{BASIC}
        ContentSequence = "keep"
        "ContentSequence/AuthorObserverSequence" = "keep"
        "ContentSequence/AuthorObserverSequence/PersonName" = {{ set = "READER" }}
    """
    author = sequence(0x0040A078, [E(0x0040A123, "PN", "ROE^JANE")])
    dataset = site.after(text, author, depth_of(1, author))
    inner = dataset.ContentSequence[0].AuthorObserverSequence[0]
    assert inner.PersonName == "READER"
    assert dataset.AuthorObserverSequence[0].PersonName == "ANON"


def test_a_rule_for_a_tag_that_has_its_own_value_in_blanked_sequences(tmp_path: Path) -> None:
    """What stands in a blanked sequence is no matter of the rule outside, and the reverse."""
    code = E(0x00080100, "SH", "CODE1234")
    inside = E(0x00081084, "SQ", [Item([code])])  # listed: X
    patient = E(0x00100020, "LO", "12345678")
    for rule, outside in (('{ set = "FOO" }', b"FOO     "), ('{ pseudonym = "accession" }', None)):
        path = tmp_path / "mine.toml"
        path.write_text(f'extends = "basic"\n[rules]\nCodeValue = {rule}\n')
        veil = dcmveil.Veil(str(path), key=bytes(range(32)))
        new = pydicom.dcmread(io.BytesIO(veil.bytes(part10([code, inside, patient]))))
        assert new[0x00081084].value[0].CodeValue == "ANON"
        assert new[0x00080100].value != "CODE1234"
        assert outside is None or new[0x00080100].value == outside.decode().strip()
