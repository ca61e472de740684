"""Verify on folders and archives: which output belongs to which original, and what is left over."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

import dcmveil
from build import E, part10
from faces import Result, run

KEY = bytes(range(32))
VEIL = dcmveil.Veil("basic", key=KEY)
STUDY = "1.2.826.0.1.3680043.9.7.5550142"
COUNT = 5


def image(number: int, name: str = "") -> bytes:
    return part10(
        [
            E(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"),
            E(0x00080018, "UI", f"{STUDY}.{number}"),
            E(0x00100010, "PN", name or f"WINTERBOTTOM^AGATHA{number}"),
            E(0x00100020, "LO", f"KX-447119{number}"),
            E(0x0020000D, "UI", STUDY),
            E(0x7FE00010, "OW", bytes([number]) * 512),
        ]
    )


def after(number: int) -> bytes:
    return VEIL.bytes(image(number))


def instance(number: int) -> str:
    return VEIL.stream(io.BytesIO(image(number)), io.BytesIO()).instance


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Originals 0 to 4 in two folders, and a text; outputs of the same names."""
    one, other = tmp_path / "before", tmp_path / "after"
    for number in range(COUNT):
        for root, data in ((one, image(number)), (other, after(number))):
            folder = root / f"series{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.dcm").write_bytes(data)
    (one / "notes.txt").write_text("no DICOM")
    dcmveil.write_key(tmp_path / "key", KEY)
    return one, other


def verify(one: Path, other: Path, *options: str) -> Result:
    return run("verify", "--key-file", one.parent / "key", *options, one, other)


def lines(one: Path, other: Path, *options: str) -> list[dict[str, object]]:
    done = verify(one, other, "--json", *options)
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == (0 if objects[-1]["ok"] else 1), done.err
    return objects


def kinds(found: list[dict[str, object]]) -> list[object]:
    return sorted(str(o["kind"]) for o in found[:-1])


def rename_by_uid(other: Path) -> None:
    for number in range(COUNT):
        (other / f"series{number % 2}/{number}.dcm").rename(other / instance(number))


def test_equal_names(trees: tuple[Path, Path]) -> None:
    (summary,) = lines(*trees)
    assert summary["files"] == COUNT
    assert summary["skipped"] == 1
    assert summary["findings"] == {}


def test_names_that_are_new_uids(trees: tuple[Path, Path]) -> None:
    rename_by_uid(trees[1])
    (summary,) = lines(*trees)
    assert summary["files"] == COUNT
    data = bytearray((trees[1] / instance(3)).read_bytes())
    data[-1] ^= 1
    (trees[1] / instance(3)).write_bytes(data)
    finding, _ = lines(*trees)
    assert (finding["kind"], finding["file"]) == ("changed", instance(3))
    assert finding["offset"] == len(data) - 1
    assert "original" not in finding
    assert lines(*trees, "--report-paths")[0]["original"] == "series1/3.dcm"


def test_an_output_from_nowhere(trees: tuple[Path, Path]) -> None:
    (trees[1] / "series0/extra").write_bytes(after(9))
    finding, _ = lines(*trees)
    assert (finding["kind"], finding["file"]) == ("from nowhere", "series0/extra")


def test_the_same_output_twice(trees: tuple[Path, Path]) -> None:
    rename_by_uid(trees[1])
    (trees[1] / "again").write_bytes(after(2))
    assert kinds(lines(*trees)) == ["from nowhere"]


def test_the_same_original_twice(trees: tuple[Path, Path]) -> None:
    rename_by_uid(trees[1])
    (trees[0] / "again").write_bytes(image(2))
    (summary,) = lines(*trees)
    assert summary["files"] == COUNT + 1


def test_an_original_without_output(trees: tuple[Path, Path]) -> None:
    (trees[1] / "series1/1.dcm").unlink()
    found = lines(*trees)
    assert kinds(found) == ["no output"]
    assert "file" not in found[0]
    assert "original" not in found[0]
    assert found[-1]["missing"] == 1
    assert lines(*trees, "--report-paths")[0]["original"] == "series1/1.dcm"
    assert verify(*trees).out == b"originals that have no output: 1 (--report-paths lists them)\n"
    (summary,) = lines(*trees, "--allow-missing")
    assert summary["missing"] == 1


def test_an_original_that_is_refused(trees: tuple[Path, Path]) -> None:
    (trees[0] / "series1/1.dcm").write_bytes(image(1)[:-100])
    assert kinds(lines(*trees)) == ["unread"]
    (trees[1] / "series1/1.dcm").unlink()
    (finding, _) = lines(*trees)
    assert (finding["kind"], finding["detail"]) == ("no output", "it is refused by the profile")


def test_what_is_no_dicom_has_no_output(trees: tuple[Path, Path]) -> None:
    (trees[1] / "notes.txt").write_text("no DICOM")
    assert kinds(lines(*trees)) == ["not DICOM"]


def test_outputs_of_two_originals_changed_places(trees: tuple[Path, Path]) -> None:
    (trees[1] / "series0/0.dcm").write_bytes(after(2))
    found = lines(*trees)
    assert {"changed", "value"} <= set(kinds(found))


def test_a_name_of_a_file_or_folder(trees: tuple[Path, Path]) -> None:
    for root in trees:
        (root / "series0").rename(root / "winterbottom_agatha0")
    found = lines(*trees)
    assert kinds(found) == ["name"] * 3
    assert "interbottom" not in json.dumps(found).lower()
    assert b"interbottom" not in verify(*trees).out.lower()
    assert b"winterbottom" in verify(*trees, "--show-values").out


def test_links_are_not_followed(trees: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/9.dcm").write_bytes(image(9))
    os.symlink(tmp_path / "elsewhere", trees[0] / "more")
    (trees[1] / "series1/1.dcm").unlink()
    os.symlink(tmp_path / "elsewhere/9.dcm", trees[1] / "series1/1.dcm")
    found = lines(*trees)
    assert kinds(found) == ["not DICOM"]
    assert found[-1]["files"] == COUNT  # the link is compared with its original, and is no file


def test_another_key_is_told_once(trees: tuple[Path, Path]) -> None:
    other = dcmveil.Veil("basic", key=bytes(range(3, 35)))
    for number in range(COUNT):
        path = trees[1] / f"series{number % 2}/{number}.dcm"
        path.write_bytes(other.bytes(image(number)))
    done = verify(*trees)
    assert done.code == 1
    assert done.out.count(b"\n") == 2
    assert b"and 4 more files" in done.out
    assert lines(*trees)[-1]["findings"] == {"other key": COUNT}


def test_a_name_of_another_original(trees: tuple[Path, Path]) -> None:
    """In a kept text of an output, where it stood before: only the other original tells."""
    before = part10(
        [
            E(0x00100010, "PN", "EVERGREEN^TOM"),
            E(0x00100020, "LO", "KX-1"),
            E(0x00201040, "LO", "unlike Winterbottom, Agatha3 or KX-4471190"),
        ]
    )
    for root, data in zip(trees, (before, VEIL.bytes(before)), strict=True):
        (root / "series0/9.dcm").write_bytes(data)
    (summary,) = lines(*trees)
    assert summary["files"] == COUNT + 1
    found = lines(*trees, "--all-identifiers")
    assert kinds(found) == ["other identifier"] * 2
    assert {finding["source"] for finding in found[:-1]} == {"(0010,0010)", "(0010,0020)"}
    assert {finding["file"] for finding in found[:-1]} == {"series0/9.dcm"}


def test_an_empty_folder_proves_nothing_missing(trees: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert kinds(lines(trees[0], empty)) == ["no output"] * COUNT
    assert kinds(lines(empty, trees[1])) == ["from nowhere"] * COUNT


def test_two_empty_folders(tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    dcmveil.write_key(tmp_path / "key", KEY)
    done = verify(tmp_path / "before", tmp_path / "after")
    assert done.code == 1
    assert "nothing was compared" in done.err


# -- archives --------------------------------------------------------------------------------


def packed(root: Path, mode: str = "w", **member: str) -> Path:
    path = root.with_suffix(".tar" + mode.replace("w", "").replace(":", "."))
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in sorted(root.rglob("*")):
            info = archive.gettarinfo(file, str(file.relative_to(root)))
            info.uname, info.gname = member.get("uname", ""), ""
            if file.is_file():
                archive.addfile(info, io.BytesIO(file.read_bytes()))
            else:
                archive.addfile(info)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archives(trees: tuple[Path, Path], mode: str) -> None:
    one, other = packed(trees[0], mode), packed(trees[1], mode)
    (summary,) = lines(one, other)
    assert summary["files"] == COUNT
    assert summary["skipped"] == 1
    rename_by_uid(trees[1])
    (summary,) = lines(one, packed(trees[1], mode))
    assert summary["files"] == COUNT
    (summary,) = lines(one, trees[1])
    assert summary["files"] == COUNT


def test_an_owner_in_an_archive(trees: tuple[Path, Path]) -> None:
    one, other = packed(trees[0]), packed(trees[1], uname="awinterbottom")
    assert kinds(lines(one, other)) == ["name"] * COUNT


def test_a_member_twice(trees: tuple[Path, Path]) -> None:
    """A program that extracts sees the second one; who sends the archive on sends both."""
    one, other = packed(trees[0]), packed(trees[1])
    with tarfile.open(other, "a") as archive:
        archive.add(trees[0] / "series0/2.dcm", "series0/0.dcm")
    found = lines(one, other)
    assert kinds(found) == ["from nowhere"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its names of files are text")
def test_names_that_are_no_text(trees: tuple[Path, Path]) -> None:
    odd = os.fsdecode(b"\xff\xfe.dcm")
    for root in trees:
        (root / "series0/0.dcm").rename(root / odd)
    (summary,) = lines(*trees)
    assert summary["files"] == COUNT
    (summary,) = lines(packed(trees[0]), packed(trees[1]))
    assert summary["files"] == COUNT
    (trees[1] / odd).write_bytes(after(9))
    for pair in (trees, (packed(trees[0]), packed(trees[1]))):
        done = verify(*pair)
        assert done.code == 1
        assert b"\\udcff\\udcfe.dcm: offset" in done.out


def test_a_damaged_archive(trees: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = packed(trees[0], "w:gz"), packed(trees[1], "w:gz")
    other.write_bytes(other.read_bytes()[:-200])
    done = verify(one, other)
    assert (done.code, done.out) == (2, b"")
    assert "archive" in done.err
