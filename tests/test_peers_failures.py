"""What users of other tools complain about, where it concerns files: each as a test with a name.

Tested elsewhere already:
* UN of undefined length, private tags of unknown VR, odd lengths, encapsulated icons, character
  sets that lie: test_oracle, test_hiding_places, test_safe_private, test_icons, test_dates.
* kept by private creator: test_safe_private; UIDs of runs and hosts: test_keys, test_keyed_runs.
* standard input and output: test_cli, test_cli_ends; dummies valid for the VR: test_values.
* all real files of pydicom, byte by byte: test_copy_trees, test_patch, test_oracle_corpus.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest

from build import DEFLATED, E, Item
from dcmveil import Veil, core
from faces import environment
from folders import KEY, instance, instances, leftovers, read, write

SECRET = "DOE^JOHANNA"


def nested(depth: int, undefined: bool) -> E:
    inner = [E(0x00100010, "PN", SECRET), E(0x00081155, "UI", "1.2.826.0.1.3680043.9.7.20240229.5")]
    for _ in range(depth):
        inner = [E(0x00081115, "SQ", [Item(inner, undefined)], undefined=undefined)]
    return inner[0]


@pytest.mark.parametrize("command", ["copy", "patch"])
def test_memory_far_above_the_size_of_the_file(tmp_path: Path, command: str) -> None:
    """A native file of 1 GiB, a hole on disk: the peak stays what it is for a small one."""
    head = instance(pixels=b"")
    size = 1 << 30
    path = tmp_path / "big"
    with open(path, "wb") as file:
        file.write(head[:-4] + size.to_bytes(4, "little"))
        if command == "patch":
            file.truncate(len(head) + size)
        else:  # the kernel fills holes when it copies: a smaller one will do
            size = 256 << 20
            file.seek(len(head) - 4)
            file.write(size.to_bytes(4, "little"))
            file.truncate(len(head) + size)
    script = (
        "import sys, dcmveil\n"
        "veil = dcmveil.Veil(key=bytes(range(32)))\n"
        "getattr(veil, sys.argv[1])(*sys.argv[2:])\n"
        "print(next(s.split()[1] for s in open('/proc/self/status') if s.startswith('VmHWM')))\n"
    )
    more = [tmp_path / "out"] if command == "copy" else []
    done = subprocess.run(
        [sys.executable, "-c", script, command, path, *more],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert int(done.stdout) < 40 << 10  # kilobytes, the interpreter included


def test_untouched_bytes_change(tmp_path: Path, veil: Veil) -> None:
    """What was not named is the same to the byte: odd padding, order, lengths, private data."""
    data = instance(more=[
        E(0x00180050, "DS", b"3.5\0"), E(0x00181030, "LO", b"odd", length=3),
        E(0x00280030, "DS", b"0.50 \\ .5 "), nested(2, True), nested(3, False),
    ])  # fmt: skip
    root = write(tmp_path / "in", {"a": data})
    veil.tree(root, tmp_path / "out", keep_names=True, report=tmp_path / "r", report_edits=True)
    new = (tmp_path / "out/a").read_bytes()
    assert len(new) == len(data)
    import json

    edits = json.loads((tmp_path / "r").read_text().splitlines()[1])["edits"]
    allowed = {at for offset, length, _, _ in edits for at in range(offset, offset + length)}
    changed = {at for a, b in core.differences(data, new, 1) for at in range(a, b)}
    assert changed <= allowed
    for kept in (b"3.5\0", b"0.50 \\ .5 "):
        assert kept in new


@pytest.mark.parametrize("syntax", DEFLATED)
def test_corrupted_output_of_deflated_files(tmp_path: Path, veil: Veil, syntax: str) -> None:
    data = instance(syntax=syntax, more=[nested(1, False)])
    root = write(tmp_path / "in", {"a": data})
    assert veil.tree(root).outcomes["failed"] == 1  # in place it would change its length
    assert (root / "a").read_bytes() == data
    veil.tree(root, tmp_path / "out", keep_names=True)
    assert (tmp_path / "out/a").read_bytes() == veil.bytes(data)
    if syntax != DEFLATED[0]:
        return  # pydicom does not inflate these
    new = pydicom.dcmread(tmp_path / "out/a")
    old = pydicom.dcmread(io.BytesIO(data))
    assert new.file_meta.TransferSyntaxUID == syntax
    assert new.PixelData == old.PixelData
    assert [e.tag for e in new] == [e.tag for e in old]
    assert SECRET not in str(new)


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("undefined", [True, False])
def test_nested_items_missed(tmp_path: Path, veil: Veil, depth: int, undefined: bool) -> None:
    """At any depth, not two levels of it."""
    data = instance(more=[nested(depth, undefined)], name="X^Y")
    root = write(tmp_path / "in", {"a": data})
    assert veil.tree(root).all_done
    new = (root / "a").read_bytes()
    assert SECRET.encode() in data
    assert SECRET.encode() not in new
    assert b"20240229.5" not in new


@pytest.mark.parametrize(
    "odd",
    [
        E(0x00091001, "ZZ", b"DOE^JOHANNA "),
        E(0x00091001, "UN", b"DOE^JOHANNA "),
        E(0x00091001, "UN", [Item([E(0x00100010, "PN", SECRET)], True)], undefined=True),
        E(0x00100010, "PN", b"DOE^JOHANNA", length=11),
        E(0x00080005, "CS", "ISO_IR 192\\ISO 2022 IR 87 "),
        E(0x00080020, "DA", "*** *** "),
        E(0x00080020, "DA", "no date!"),
        E(0x00100040, "CS", b"\xff\xfe"),
    ],
    ids=["unknown-vr", "un", "un-undefined", "odd-length", "charset", "stars", "words", "bytes"],
)
def test_one_odd_element_stops_the_batch(tmp_path: Path, odd: E) -> None:
    """Malformed values, lying character sets, unknown VRs: the file is treated or refused, nothing
    of the patient is left in what comes out, and the others are not stopped."""
    files = instances(40) | {"odd": instance(99, more=[odd], name="X^Y")}
    root = write(tmp_path / "in", files)
    veil = Veil(key=KEY, options=["retain-longitudinal-modified-dates"])
    seen: list[dict[str, Any]] = []
    summary = veil.tree(root, tmp_path / "out", keep_names=True, on_file=seen.append)
    assert summary.outcomes["rewritten"] >= 40
    assert summary.files == 41
    outputs = read(tmp_path / "out")
    assert len(outputs) == summary.outcomes["rewritten"]
    assert not any(b"DOE^JOHANNA" in data or b"HOSP" in data for data in outputs.values())


def test_one_bad_file_stops_the_batch(tmp_path: Path, veil: Veil) -> None:
    good = instances(40)
    bad = {f"bad{i}": instance(i)[: 200 + 37 * i] for i in range(10)}
    bad |= {"empty": b"", "zeros": bytes(5000), "magic": bytes(128) + b"DICM", "text": b"x" * 999}
    root = write(tmp_path / "in", good | bad)
    summary = veil.tree(root, tmp_path / "out", keep_names=True, jobs=2)
    assert read(tmp_path / "out") == {name: veil.bytes(data) for name, data in good.items()}
    assert summary.files == len(good) + len(bad)
    assert summary.outcomes["failed"] >= 10
    assert read(root) == good | bad
    assert leftovers(tmp_path) == []


def test_uids_inconsistent_across_files_meta_and_runs(tmp_path: Path, veil: Veil) -> None:
    """Files of one study stay together, and references lead to what they led to, whether they are
    copied, patched, or read by another process on another day."""
    more = [E(0x00081140, "SQ", [Item([E(0x00081155, "UI", _sop(i + 1))]) for i in range(3)])]
    files = {f"{i}": instance(i, more=more) for i in range(4)}
    one = write(tmp_path / "one", files)
    two = write(tmp_path / "two", files)
    veil.tree(one, tmp_path / "out", keep_names=True, jobs=2)
    Veil(key=KEY).tree(two)
    assert read(tmp_path / "out") == read(two)
    made = [pydicom.dcmread(two / name) for name in sorted(files)]
    assert len({d.StudyInstanceUID for d in made}) == len({d.SeriesInstanceUID for d in made}) == 1
    instances_ = [d.SOPInstanceUID for d in made]
    assert len(set(instances_)) == 4
    for d in made:
        assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
        references = [item.ReferencedSOPInstanceUID for item in d.ReferencedImageSequence]
        assert references == instances_[1:]


def _sop(number: int) -> str:
    return str(pydicom.dcmread(io.BytesIO(instance(number))).SOPInstanceUID)


def test_files_without_a_preamble_are_rejected(tmp_path: Path, veil: Veil) -> None:
    files = {
        "raw": instance(1, preamble=None),
        "raw implicit": instance(2, preamble=None, syntax="1.2.840.10008.1.2"),
        "whole": instance(3),
    }
    root = write(tmp_path / "in", files)
    assert veil.tree(root, tmp_path / "out", keep_names=True).outcomes["rewritten"] == 3
    assert read(tmp_path / "out") == {name: veil.bytes(data) for name, data in files.items()}
    assert b"HOSP" not in read(tmp_path / "out")["raw"]


def test_a_dicomdir_leaks(tmp_path: Path, veil: Veil) -> None:
    """It names patients: it is left out of a copy, and treated in place."""
    path = Path(pydicom.data.get_testdata_file("DICOMDIR"))
    names = [
        str(record.PatientName).encode()
        for record in pydicom.dcmread(path).DirectoryRecordSequence
        if "PatientName" in record
    ]
    assert names
    root = write(tmp_path / "in", {"DICOMDIR": path.read_bytes()})
    assert veil.tree(root, tmp_path / "out").reasons == {"a DICOMDIR": 1}
    assert read(tmp_path / "out") == {}
    assert veil.tree(root).all_done
    assert not any(name in (root / "DICOMDIR").read_bytes() for name in names)
