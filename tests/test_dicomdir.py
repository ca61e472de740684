"""A DICOMDIR: its links stay, its file names where that is asked for, and nothing is left.

PS3.3 annex F, PS3.10 chapter 8. The records are generated, and pydicom's real ones stand beside.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

import dcmveil
from build import DEFLATED, E, Item, encode, part10
from cases import KEY, Pieces, Refusal, check_case, refusal_of, run_session
from directories import ROOT, Record, directory, image, patient, series, study
from expectations import MODIFIED, SETTINGS, Setting
from faces import SECONDS
from patients import IDS, SYNTAXES, A, B, omidb, own_file, read, records, shuffled, three_patients

REAL = Path(str(get_testdata_file("DICOMDIR"))).parent
# one of them ends inside a record
REAL_ONES = [
    *sorted(path for path in REAL.glob("DICOMDIR*") if path.name != "DICOMDIR-nooffset"),
    REAL / "TINY_ALPHA" / "DICOMDIR",
]


# -- links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_links_and_flags_stay(seed: int) -> None:
    roots = three_patients()
    data = directory(roots, order=shuffled(roots, seed))
    for setting in SETTINGS:
        new = setting.veil().bytes(data)
        before, after = read(data), read(new)
        for tag in (0x00041200, 0x00041202, 0x00041212):
            assert after[tag].value == before[tag].value
        pairs = zip(before.DirectoryRecordSequence, after.DirectoryRecordSequence, strict=True)
        for old, record in pairs:
            for tag in (0x00041400, 0x00041410, 0x00041420, 0x00041430, 0x00041510, 0x00041512):
                assert record.get(tag) == old.get(tag), (setting, f"{tag:08X}")


# -- file names ------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_file_ids_are_kept_when_asked_for(syntax: str) -> None:
    data = directory(three_patients(), syntax=syntax)
    for setting in SETTINGS:
        profile = setting.veil().profile
        kept = records(dcmveil.Veil(profile, key=KEY, keep_file_ids=True).bytes(data))
        lost = records(dcmveil.Veil(profile, key=KEY).bytes(data))
        for old, with_id, without in zip(records(data), kept, lost, strict=True):
            assert with_id.get(0x00041500) == old.get(0x00041500)
            if 0x00041500 in old:
                assert "DOE" not in str(without[0x00041500].value)


def test_file_ids_of_one_session() -> None:
    data = directory(three_patients())
    for of_veil in (False, True):
        veil = dcmveil.Veil(key=KEY, keep_file_ids=of_veil)
        for of_session in (None, False, True):
            run = run_session(veil.session(keep_file_ids=of_session), Pieces(data, []))
            asked = of_veil if of_session is None else of_session
            assert (b"DOEJANE" in run.written) == asked


def test_only_the_file_id_of_a_record_is_kept() -> None:
    veil = dcmveil.Veil(key=KEY, keep_file_ids=True)
    hidden = E(0x00041500, "CS", "CANARY")
    other_vr = patient(A)
    other_vr.elements.append(E(0x00041500, "LO", "CANARY"))
    after_nul = patient(B)
    after_nul.elements.append(E(0x00041500, "CS", b"IM1\0CANARY"))
    nested = patient(IDS[2])
    nested.elements.append(E(0x00081110, "SQ", [Item([hidden])]))
    data = directory([other_vr, after_nul, nested], more=[E(0x00081110, "SQ", [Item([hidden])])])
    new = veil.bytes(data)
    assert b"CANARY" not in new
    assert b"IM1\0" in new
    assert b"CANARY" not in veil.bytes(part10([hidden, E(0x00080060, "CS", "MR")]))


def test_a_profile_that_blanks_all_records_blanks_their_file_ids(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "basic"\n[rules]\nDirectoryRecordSequence = "blank"\n')
    veil = dcmveil.Veil(str(file), key=KEY, keep_file_ids=True)
    assert b"DOEJANE" not in veil.bytes(directory(three_patients()))


def test_the_plan_says_why_a_file_id_stays() -> None:
    from dcmveil.inspect import edits

    data = directory([patient(A, study(1, series(1, image(1))))])
    for kept in (True, False):
        veil = dcmveil.Veil("omidb", key=KEY, keep_file_ids=kept)
        edit = next(e for e in edits(veil, data, everything=True) if e.path.endswith("(0004,1500)"))
        assert edit.changes != kept
        assert (edit.rule == "asked for: the files keep their names") == kept


# -- nothing is left -------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_canaries_in_every_record(syntax: str) -> None:
    roots = three_patients()
    roots.append(study(90, linked=False))
    roots.append(Record("PRIVATE", [], in_use=False))
    for number, record in enumerate(r for root in roots for r in root.all()):
        record.elements = [e for e in record.elements if isinstance(e, E) and e.tag != 0x00041500]
        record.elements += [
            E(0x00041500, "CS", f"CANARY\\{number}"),
            E(0x00041504, "UL", [0]),
            E(0x00081030, "LO", "CANARY"),
            E(0x00090010, "LO", "CANARY"),
            E(0x00091001, "LO", "CANARY"),
            E(0x00104000, "LT", "CANARY"),
        ]
        record.elements.sort(key=lambda e: e.tag)
    data = directory(roots, order=shuffled(roots, 5), syntax=syntax)
    assert data.count(b"CANARY") > 100
    for setting in (Setting("basic"), Setting("omidb"), Setting("basic", (MODIFIED,))):
        new = setting.veil().bytes(data)
        for word in (b"CANARY", b"DOE", b"HOSP", b"OTHER-77", ROOT.encode()):
            assert word not in new, (setting, word)


# -- in every way that there is to run it ----------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_way_and_the_twin(syntax: str) -> None:
    small = [patient(A, study(1, series(1, image(1)))), patient(B, study(2, linked=False))]
    check_case(directory(small, order=shuffled(small, 1), syntax=syntax, undefined=True), splits=64)
    check_case(directory([], syntax=syntax))


def test_deflated() -> None:
    """No standard way to write one, but nothing forbids reading it."""
    data = directory([patient(A, study(1)), patient(B)], syntax=DEFLATED[0])
    new = check_case(data)
    assert isinstance(new, bytes)
    once = omidb().bytes(data)
    assert omidb().bytes(once) == once
    assert [record.get("PatientID") for record in records(once)] == [
        own_file(A).PatientID, None, own_file(B).PatientID,
    ]  # fmt: skip


ALLOW_LIST = """
extends = "nothing"
unlisted = "blank"
private = "blank"
unknown = "blank"
[rules]
PatientID = "pseudonym"
"VR DA" = "shift"
"VR UI" = "uid"
"""


def test_a_profile_that_keeps_what_it_names_alone(tmp_path: Path) -> None:
    """What a reader needs to follow the links stays there too."""
    file = tmp_path / "mine.toml"
    file.write_text(ALLOW_LIST)
    data = directory(three_patients())
    new = dcmveil.Veil(str(file), key=KEY, keep_file_ids=True).bytes(data)
    for old, record in zip(records(data), records(new), strict=True):
        for tag in (0x00041400, 0x00041410, 0x00041420, 0x00041430, 0x00041500, 0x00041510):
            assert record.get(tag) == old.get(tag)
        if "StudyDate" in old:
            assert record.StudyDate not in ("", "19000101", old.StudyDate)
    assert ROOT.encode() not in new


def test_truncated_at_every_byte() -> None:
    for undefined in (False, True):
        data = directory([patient(A, study(1, series(1, image(1)))), patient(B)],
                         undefined=undefined)  # fmt: skip
        ends = 0
        for length in range(len(data)):
            session = omidb().session()
            run = run_session(session, Pieces(data[:length], []))
            # where the sequence of records has not begun, the file is whole
            if not isinstance(run.result, Refusal):
                ends += 1
                assert length < data.index(encode([E(0x00041220, "SQ", [])])[:6]) + 8
            else:
                assert run.written == b""
        assert ends == 5  # behind each element before the records


def held(limit: int, step: int) -> Refusal | None:
    data = directory(three_patients())
    session = dcmveil.Veil("omidb", key=KEY, hold_limit=limit).session()
    result = run_session(session, Pieces(data, range(step, len(data), step))).result
    return result if isinstance(result, Refusal) else None


def test_a_directory_is_held_as_a_whole() -> None:
    size = len(directory(three_patients()))
    for step in (50, 1000):
        assert held(size - 1, step) == Refusal("DIRECTORY_LIMIT", size - 1)
        assert held(size + 8, step) is None


# -- twice -----------------------------------------------------------------------------------


def test_a_second_run_changes_nothing() -> None:
    for data in [directory(three_patients()), directory([]), *map(Path.read_bytes, REAL_ONES)]:
        for setting in SETTINGS:
            for keeps in (False, True):
                veil = dcmveil.Veil(setting.veil().profile, key=KEY, keep_file_ids=keeps)
                once = veil.bytes(data)
                session = veil.session()
                run = run_session(session, Pieces(once, [len(once) // 2]))
                assert run.result == once, setting
                assert session.report.second_run


def marked() -> bytes:
    roots = three_patients()
    return Setting("basic").veil().bytes(directory(roots))


def refusal(data: bytes) -> Refusal | None:
    try:
        Setting("basic").veil().bytes(data)
    except dcmveil.DicomError as error:
        return refusal_of(error)
    return None


TAGS_OF_RECORDS = (0x00100010, 0x00100020, 0x0020000D, 0x0020000E, 0x00041511)


@pytest.mark.parametrize("tag", TAGS_OF_RECORDS)
def test_a_record_that_was_changed_since(tag: int) -> None:
    data = marked()
    assert refusal(data) is None
    header = encode([E(tag, "PN" if tag == 0x00100010 else "UI", b"")])[:4]
    at = -1
    for _ in range(data.count(header)):
        at = data.index(header, at + 1)
        changed = data[: at + 8] + bytes([data[at + 8] ^ 1]) + data[at + 9 :]
        assert refusal(changed) == Refusal("BROKEN_MARK", 0)
    assert at > 0


def test_another_instance_under_the_mark() -> None:
    data = marked()
    at = data.index(encode([E(0x00020003, "UI", b"")])[:4]) + 12
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert refusal(changed) == Refusal("BROKEN_MARK", 0)


def test_records_that_were_added_since() -> None:
    """They were never treated: the UIDs and dates in them are those of a patient."""
    before = directory([patient(A, study(1))])
    for added in (patient(B), study(2), series(3), image(4), Record("PRIVATE")):
        for data in (before, directory([])):
            for veil in (omidb(), Setting("basic").veil()):
                once = veil.bytes(data)
                more = [patient(A, study(1))] if records(data) else []
                longer = directory([*more, added], preamble=once[:128])
                with pytest.raises(dcmveil.DicomError, match="was changed since"):
                    veil.bytes(longer)


def test_what_a_file_set_updater_may_change() -> None:
    data = marked()
    in_use = encode([E(0x00041410, "US", [0xFFFF])])
    inactive = data.replace(in_use, encode([E(0x00041410, "US", [0])]), 1)
    assert inactive != data
    assert Setting("basic").veil().bytes(inactive) == inactive


def test_a_mark_of_another_key() -> None:
    other = dcmveil.Veil(key=bytes(reversed(KEY))).bytes(directory(three_patients()))
    assert refusal(other) == Refusal("OTHER_MARK", 0)


# -- real ones -------------------------------------------------------------------------------


def test_real_ones_keep_their_bytes_around_values() -> None:
    for path in REAL_ONES:
        data = path.read_bytes()
        for setting in SETTINGS:
            veil = dcmveil.Veil(setting.veil().profile, key=KEY, keep_file_ids=True)
            before, after = read(data), read(veil.bytes(data))
            pairs = zip(before.DirectoryRecordSequence, after.DirectoryRecordSequence, strict=True)
            for old, new in pairs:
                assert list(old.keys()) == list(new.keys())
                for tag in (0x00041400, 0x00041410, 0x00041420, 0x00041430, 0x00041500):
                    assert new.get(tag) == old.get(tag)


def rewritten(root: Path, veil: dcmveil.Veil, to: Path) -> dict[str, str]:
    """A copy of a file-set, its names kept; new SOP Instance UID -> old one, of all files."""
    uids = {}
    for path in [root / "DICOMDIR", *(Path(instance.path) for instance in file_set(root))]:
        target = to / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes()
        new = veil.bytes(data)
        target.write_bytes(new)
        if path.name != "DICOMDIR":
            uids[str(read(new).SOPInstanceUID)] = str(read(data).SOPInstanceUID)
    return uids


def file_set(root: Path) -> FileSet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FileSet(root / "DICOMDIR")


FILE_SETS = [REAL, REAL / "TINY_ALPHA"]


@pytest.mark.parametrize("root", FILE_SETS, ids=lambda root: root.name)
@pytest.mark.parametrize(
    "setting",
    [Setting("basic"), Setting("basic", (MODIFIED,)), Setting("sup142", (MODIFIED,)),
     Setting("omidb")],
    ids=str,
)  # fmt: skip
def test_a_file_set_holds_together(root: Path, setting: Setting, tmp_path: Path) -> None:
    veil = dcmveil.Veil(setting.veil().profile, key=KEY, keep_file_ids=True)
    uids = rewritten(root, veil, tmp_path)
    before, after = file_set(root), file_set(tmp_path)
    assert len(after) == len(before) > 30
    alike = dict.fromkeys(KEYED, 0)
    old_paths = {instance.SOPInstanceUID: Path(instance.path) for instance in before}
    for instance in after:
        old_uid = uids[str(instance.SOPInstanceUID)]
        here = Path(instance.path)
        assert here.relative_to(tmp_path) == old_paths[old_uid].relative_to(root)
        file = pydicom.dcmread(here, stop_before_pixels=True)
        assert file.SOPInstanceUID == instance.ReferencedSOPInstanceUIDInFile
        assert file.SOPClassUID == instance.ReferencedSOPClassUIDInFile
        assert file.file_meta.TransferSyntaxUID == instance.ReferencedTransferSyntaxUIDInFile
        # what its records and the file both say is still the same: days and pseudonyms too
        (was,) = before.find(SOPInstanceUID=old_uid)
        original = pydicom.dcmread(old_paths[old_uid], stop_before_pixels=True)
        for keyword in KEYED:
            old, new = getattr(was, keyword), getattr(instance, keyword)
            if old == original.get(keyword):
                assert new == file.get(keyword), keyword
            assert keyword == "StudyDate" or new != old
            alike[keyword] += old == original.get(keyword)
    assert min(alike.values()) >= 30, alike


KEYED = ("PatientID", "StudyDate", "StudyInstanceUID", "SeriesInstanceUID")


@pytest.mark.skipif(not shutil.which("dcmdump"), reason="dcmtk is not there")
@pytest.mark.parametrize("path", REAL_ONES, ids=lambda path: path.name)
def test_dcmtk_sees_the_same_records(path: Path, tmp_path: Path) -> None:
    """Their offsets, types, and file names; it warns of no more than before."""
    new = tmp_path / "DICOMDIR"
    veil = dcmveil.Veil("omidb", key=KEY, keep_file_ids=True)
    new.write_bytes(veil.bytes(path.read_bytes()))
    before, after = dumped(path), dumped(new)
    assert after == before
    if "empty" not in path.name:
        assert sum("offset=$" in line for line in after) > 50


def dumped(path: Path) -> list[str]:
    done = subprocess.run(
        ["dcmdump", str(path)], capture_output=True, text=True, errors="replace", check=True,
        timeout=SECONDS,
    )  # fmt: skip
    assert "E:" not in done.stderr
    wanted = ("offset=$", "Directory Record", "(0004,14", "(0004,12", "(0004,1500)")
    return [line for line in done.stdout.splitlines() if any(word in line for word in wanted)]
