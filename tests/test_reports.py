"""What a run leaves behind beside its outputs: report, resumption, crosswalk."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pydicom
import pytest

import corpus
import dcmveil
from build import DEFLATED, E, Item, sample
from dcmveil import UsageError, Veil, core
from folders import (
    KEY,
    OTHER_KEY,
    EnoughError,
    corpus_folder,
    instance,
    instances,
    lines,
    read,
    records,
    summary,
    write,
)

SAMPLE = sample()
CANARY = "KANARIENVOGEL"
FIELDS = {
    "rewritten": {
        "input", "outcome", "bytes_in", "bytes_out", "elements", "actions", "notes", "uids",
        "transfer_syntax", "second_run", "study", "series", "instance", "output", "seconds",
    },
    "skipped": {"input", "outcome", "reason", "seconds"},
    "failed": {"input", "outcome", "error", "seconds"},
}  # fmt: skip


def canary_tree(root: Path) -> Path:
    """Values and names with a word that must not be seen again."""
    low = CANARY.lower()
    more = [E(0x00104000, "LT", CANARY), E(0x00081030, "LO", low)]
    made = {
        f"{CANARY}/{i}.dcm": instance(i, name=f"{CANARY}^A", patient=CANARY, more=more)
        for i in range(3)
    }
    made[f"{CANARY}/{CANARY}.txt"] = CANARY.encode() * 20
    made[f"{CANARY}.dcm"] = instance(9, name=CANARY, patient=CANARY, more=more)[:-20]
    made["tail"] = instance(8, name=CANARY, patient=CANARY) + CANARY.encode()
    made["odd"] = instance(7, patient=CANARY, more=[E(0x00100040, "CS", CANARY, length=8)])
    made["same"] = made[f"{CANARY}/1.dcm"]
    write(root, made)
    (root / f"{CANARY}.link").symlink_to(CANARY)
    return root


def test_fields(tmp_path: Path, veil: Veil) -> None:
    root = canary_tree(tmp_path / "in")
    veil.tree(root, tmp_path / "out", report=tmp_path / "report")
    first, *files, last = lines(tmp_path / "report")
    assert set(first) == {"dcmveil", "run", "source", "output"}
    assert first["dcmveil"] == dcmveil.__version__
    for record in files:
        assert re.fullmatch("[0-9a-f]{32}", record["input"])
        outcome = record["outcome"]
        wanted = FIELDS["rewritten" if outcome == "same" else outcome]
        assert set(record) | {"seconds"} == wanted
        if "output" in record:
            made = pydicom.dcmread(tmp_path / "out" / record["output"])
            assert made.SOPInstanceUID == record["instance"]
            assert made.StudyInstanceUID == record["study"]
            assert made.SeriesInstanceUID == record["series"]
            assert made.file_meta.TransferSyntaxUID == record["transfer_syntax"]
    assert {r["outcome"] for r in files} == {"rewritten", "same", "skipped", "failed"}
    assert last["summary"]["outcomes"] == {
        "rewritten": 4, "same": 1, "copied": 0, "skipped": 2, "failed": 2
    }  # fmt: skip
    assert last["summary"]["reasons"] == {"a symbolic link": 1, "not DICOM": 1}
    assert not last["summary"]["interrupted"]
    assert stat.S_IMODE((tmp_path / "report").stat().st_mode) == 0o600


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("edits", [False, True])
def test_no_old_value_and_no_path_is_in_it(
    tmp_path: Path, veil: Veil, in_place: bool, edits: bool
) -> None:
    root = canary_tree(tmp_path / "in")
    veil.tree(
        root, None if in_place else tmp_path / "out", report=tmp_path / "report",
        report_edits=edits, quarantine=tmp_path / "q",
    )  # fmt: skip
    text = (tmp_path / "report").read_text()
    assert CANARY.lower() not in text.lower()
    assert "1.2.826.0.1.3680043.9.7" not in text
    assert str(root) not in text
    assert ("edits" in text) == edits


def test_paths_where_they_are_asked_for(tmp_path: Path, veil: Veil) -> None:
    root = canary_tree(tmp_path / "in")
    odd = os.fsencode(root) + b"/not \xff UTF-8\n"
    with open(odd, "wb") as file:
        file.write(instance(20))
    veil.tree(root, tmp_path / "out", report=tmp_path / "report", report_paths=True)
    paths = {record["path"] for record in records(tmp_path / "report")}
    assert paths == {*read(root), f"{CANARY}.link"}
    assert os.fsdecode(b"not \xff UTF-8\n") in paths


def spans(data: bytes, new: bytes) -> list[tuple[int, int]]:
    return core.differences(data, new, 1)


def test_every_edit_is_listed(tmp_path: Path) -> None:
    """Each byte that became another one lies in an edit, and each edit has one, in every file of
    the corpus; the offsets of deflated data sets are those of what they inflate to."""
    root = corpus_folder(tmp_path / "in")
    write(root, {"long": instance(1, more=[
        E(0x00091001, "OB", bytes(5000) + b"late" + bytes(90_000)), b"behind the last element",
    ])})  # fmt: skip
    veil = Veil(key=KEY)
    veil.tree(root, tmp_path / "out", keep_names=True, report=tmp_path / "report",
              report_edits=True, report_paths=True)  # fmt: skip
    checked, tails = 0, 0
    for record in records(tmp_path / "report"):
        if record["outcome"] != "rewritten":
            continue
        old = (root / record["path"]).read_bytes()
        new = (tmp_path / "out" / record["path"]).read_bytes()
        edits = record["edits"]
        if record["transfer_syntax"] in DEFLATED:
            assert new == veil.bytes(old)
            assert edits
            continue
        assert all(length > 0 for _, length, _, _ in edits)
        covered = bytearray(len(old))
        for offset, length, path, action in edits:
            part = slice(offset, offset + length)
            assert old[part] != new[part]
            covered[part] = b"\1" * length
            if path == "preamble":
                assert (offset, length, action) == (0, 128, "mark")
            elif path == "tail":
                tails += 1
                assert action == "zero"
            else:
                assert re.fullmatch(r"(\([0-9A-F,]{9}\)(\[\d+\]/|$))+", path), path
        for start, end in spans(old, new):
            assert covered.count(1, start, end) == end - start, (record["path"], start)
        checked += 1
    assert checked > 230
    assert tails > 0


# -- resuming --------------------------------------------------------------------------------------


def without_seconds(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in found]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_done_is_not_opened_again(tmp_path: Path, veil: Veil, jobs: int) -> None:
    files = instances(80) | {"bad": SAMPLE[:-100], "notes": b"x" * 300}
    root = write(tmp_path / "in", files)
    report, out = tmp_path / "report", tmp_path / "out"
    veil.tree(root, out, report=report)
    whole, outputs = without_seconds(records(report)), read(out)
    kept = report.read_bytes().splitlines(keepends=True)
    # as a kill leaves it: the summary is missing, and the last line is torn
    report.write_bytes(b"".join(kept[:50]) + kept[50][:60])
    done = {record["input"] for record in map(json.loads, kept[1:50])}
    names = veil_names(root, veil)
    for name, mac in names.items():
        if mac in done and name != "bad":
            (root / name).write_bytes(b"")  # whoever opens it, sees another file
    result = veil.tree(root, out, report=report, resume=True, jobs=jobs)
    bad_was_done = names["bad"] in done
    assert result.before == 49 - bad_was_done
    assert result.files == len(files) - result.before
    found = without_seconds(records(report))
    assert len(found) == len(files)
    assert {r["input"] for r in found} == {r["input"] for r in whole}
    assert {r["outcome"] for r in found} == {"rewritten", "same", "skipped", "failed"}
    assert read(out) == outputs
    assert summary(report)["before"] == result.before
    assert len([line for line in lines(report) if "summary" in line]) == 1


def veil_names(root: Path, veil: Veil) -> dict[str, str]:
    from dcmveil.faces.names import Names

    names = Names(key=veil.key)
    return {name: names.mac(os.fsencode(name)) for name in read(root)}


def test_failures_are_tried_again(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", {"a": instance(1), "b": SAMPLE[:-100]})
    report = tmp_path / "report"
    assert not veil.tree(root, tmp_path / "out", report=report).all_done
    (root / "b").write_bytes(SAMPLE)
    again = veil.tree(root, tmp_path / "out", report=report, resume=True)
    assert (again.before, again.outcomes["rewritten"], again.outcomes["failed"]) == (1, 1, 0)
    assert [r["outcome"] for r in records(report)] == ["rewritten", "rewritten"]
    third = veil.tree(root, tmp_path / "out", report=report, resume=True)
    assert (third.before, third.files) == (2, 0)
    assert third.all_done


def test_resume_is_harmless_on_the_first_run(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(3))
    for name, data in (("new", None), ("empty", b""), ("torn", b'{"dcmv')):
        report = tmp_path / name
        if data is not None:
            report.write_bytes(data)
        result = veil.tree(root, tmp_path / f"out {name}", report=report, resume=True)
        assert result.outcomes["rewritten"] == 3
        assert len(records(report)) == 3


def test_a_report_of_another_run_is_refused(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(3))
    other = write(tmp_path / "other", instances(3))
    report, out = tmp_path / "report", tmp_path / "out"
    veil.tree(root, out, report=report)
    before = report.read_bytes()
    refused: list[Any] = [
        (Veil(key=OTHER_KEY), root, out, {}),
        (Veil(key=KEY, options=["retain-uids"]), root, out, {}),
        (Veil(key=KEY, uid_root="1.2.3"), root, out, {}),
        (veil, other, out, {}),
        (veil, root, None, {}),
        (veil, root, tmp_path / "elsewhere", {}),
        (veil, root, out, {"keep_names": True}),
        (veil, root, out, {"dicomdir": True}),
    ]
    for one, source, target, options in refused:
        with pytest.raises(UsageError):
            one.tree(source, target, report=report, resume=True, **options)
        assert report.read_bytes() == before
    with pytest.raises(UsageError):
        veil.tree(root, out, report=report)
    assert report.read_bytes() == before


def test_another_table_of_pseudonyms_is_another_run(tmp_path: Path) -> None:
    root = write(tmp_path / "in", instances(3))
    report = tmp_path / "report"

    def veil_with(new: str) -> Veil:
        table = tmp_path / "table.csv"
        table.write_text(f"old,new\nHOSP-004711,{new}\n")
        return Veil(key=KEY, pseudonyms=dcmveil.load_pseudonyms(table))

    veil_with("P1").tree(root, tmp_path / "out", report=report)
    assert veil_with("P1").tree(root, tmp_path / "out", report=report, resume=True).before == 3
    with pytest.raises(UsageError):
        veil_with("P2").tree(root, tmp_path / "out", report=report, resume=True)


@pytest.mark.parametrize(
    "text", ["my notes\n", '{"a": 1}\n', "[1]\n", '{"dcmveil": "0.1.0"}', "\n", "x"]
)
def test_a_file_that_is_no_report_stays(tmp_path: Path, veil: Veil, text: str) -> None:
    root = write(tmp_path / "in", instances(1))
    report = tmp_path / "report"
    report.write_text(text)
    for resume in (False, True):
        with pytest.raises(UsageError):
            veil.tree(root, tmp_path / "out", report=report, resume=resume)
        assert report.read_text() == text
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["in", "out", "report"] if (tmp_path / "out").exists() else ["in", "report"]
    )


# -- the crosswalk ---------------------------------------------------------------------------------


def rows_of(path: Path) -> list[tuple[str, str, str]]:
    head, *rows = csv.reader(io.StringIO(path.read_text("utf-8")))
    assert head == ["kind", "old", "new"]
    return [(kind, old, new) for kind, old, new in rows]


def uids_of(data: bytes) -> dict[tuple[Any, ...], Any]:
    """Every UID of a file by its place, through pydicom."""
    dataset = corpus.pydicom_reads(data)
    assert dataset is not None
    found: dict[tuple[Any, ...], Any] = {}

    def look(part: pydicom.Dataset, place: tuple[Any, ...]) -> None:
        for element in part:
            here = (*place, element.tag)
            if element.VR == "SQ":
                for i, item in enumerate(element.value):
                    look(item, (*here, i))
            elif element.VR == "UI" and element.value:
                many = element.value if element.VM > 1 else [element.value]
                for i, uid in enumerate(many):
                    found[*here, i] = str(uid)

    look(dataset, ())
    return found


@pytest.mark.parametrize("in_place", [False, True])
def test_its_rows_are_what_is_in_the_files(tmp_path: Path, veil: Veil, in_place: bool) -> None:
    more = [
        E(0x00081140, "SQ", [Item([E(0x00081155, "UI", "1.2.826.0.1.3680043.2.1143.77.88.1")])]),
        E(0x00281199, "UI", "1.2.826.0.1.3680043.2.1143.5\\1.2.840.10008.1.2"),
    ]
    files = {f"{i}": instance(i, patient=f"P-{i % 2}77", more=more) for i in range(6)}
    root = write(tmp_path / "in", files)
    path = tmp_path / "crosswalk.csv"
    veil.tree(root, None if in_place else tmp_path / "out", crosswalk=path,
              **({} if in_place else {"keep_names": True}))  # fmt: skip
    after = read(root if in_place else tmp_path / "out")
    rows = rows_of(path)
    table = {(kind, old): new for kind, old, new in rows}
    assert len(table) == len(rows), "a row twice in so short a run"
    wanted = {}
    for name, data in files.items():
        old, new = uids_of(data), uids_of(after[name])
        for place, uid in old.items():
            if new[place] != uid:
                wanted["uid", uid] = new[place]
        before, now = pydicom.dcmread(io.BytesIO(data)), pydicom.dcmread(io.BytesIO(after[name]))
        wanted["patient-id", before.PatientID] = now.PatientID
    assert table == wanted
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_there_is_none_unless_it_is_named(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(3))
    veil.tree(root, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_it_is_never_overwritten(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(3))
    path, report = tmp_path / "crosswalk.csv", tmp_path / "report"
    path.write_text("mine")
    with pytest.raises(UsageError):
        veil.tree(root, tmp_path / "out", crosswalk=path, report=report)
    assert not report.exists()  # so that the corrected command is no second one
    with pytest.raises(UsageError):
        veil.tree(root, tmp_path / "out", crosswalk=path, report=report, resume=True)
    assert path.read_text() == "mine"
    assert read(tmp_path / "out") == {}


def test_a_torn_line_is_cut_off_and_its_file_done_again(tmp_path: Path, veil: Veil) -> None:
    root = write(tmp_path / "in", instances(40))
    path, report = tmp_path / "crosswalk.csv", tmp_path / "report"

    def enough(record: dict[str, Any]) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        veil.tree(root, tmp_path / "out", crosswalk=path, report=report, on_file=enough)
    os.chmod(path, 0o644)
    whole = path.read_bytes()
    path.write_bytes(whole + b"uid,1.2.3")
    veil.tree(root, tmp_path / "out", crosswalk=path, report=report, resume=True)
    assert path.read_bytes().startswith(whole)
    rows = rows_of(path)
    assert ("uid", "1.2.3", "") not in rows
    plain = tmp_path / "plain.csv"
    veil.tree(root, tmp_path / "plain", crosswalk=plain)
    assert set(rows) == set(rows_of(plain))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rows_of_a_file_whose_run_was_killed(tmp_path: Path, veil: Veil) -> None:
    """In place the old values are gone after the kill: the journal has kept the rows."""
    from dcmveil.faces.journal import Journal

    root = write(tmp_path / "in", instances(3))
    path, report = tmp_path / "crosswalk.csv", tmp_path / "report"
    child = os.fork()
    if child == 0:
        Journal.close = lambda self: os._exit(9)  # type: ignore[method-assign]
        try:
            veil.tree(root, crosswalk=path, report=report)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert rows_of(path) == []
    assert records(report) == []
    veil.tree(root, crosswalk=path, report=report, resume=True)
    plain = write(tmp_path / "plain", instances(3))
    veil.tree(plain, crosswalk=tmp_path / "plain.csv")
    assert set(rows_of(path)) == set(rows_of(tmp_path / "plain.csv"))
    assert read(plain) == read(root)
    assert [r["outcome"] for r in records(report)] == ["rewritten"] * 3


def test_the_crosswalk_is_ahead_of_the_report(tmp_path: Path, veil: Veil) -> None:
    """A file whose line is in the report is not done again: by then its rows must be on disk."""
    root = write(tmp_path / "in", instances(90))
    path, report = tmp_path / "crosswalk.csv", tmp_path / "report"
    short = []

    def look(record: dict[str, Any]) -> None:
        in_report = {r["instance"] for r in map(json.loads, report.read_bytes().splitlines()[1:])}
        in_walk = {line.split(",")[2] for line in path.read_text().splitlines()}
        short.append(in_report - in_walk)

    veil.tree(root, tmp_path / "out", crosswalk=path, report=report, on_file=look)
    assert not any(short)
    assert len(short) == 90
