"""The archive face: what becomes of members, names, owners and times."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import corpus
from archives import (
    COMMENT,
    GROUP,
    OWNER,
    TIME,
    contents,
    instance,
    pack,
    special,
    tarball,
    unpack,
    zipped,
)
from build import DEFLATED, part10, sample_elements
from dcmveil import ArchiveReport, DicomError, NotDicomError, UsageError, Veil
from dcmveil.faces.members import Seen, Spool
from dcmveil.faces.names import Names
from dcmveil.faces.stream import stream

KEY = bytes(range(32))
KINDS = ("none", "gzip", "zstd", "zip")
GOOD = [(f"DOE^JOHN/{n}.dcm", instance(n)) for n in range(3)]


def rewrite(veil: Veil, data: bytes, **options: Any) -> tuple[bytes, ArchiveReport, list[Any]]:
    """Output, report, and the records of all members."""
    out = io.BytesIO()
    records: list[Any] = []
    report = veil.tar(
        io.BytesIO(data), out, on_member=lambda record, _: records.append(record), **options
    )
    return out.getvalue(), report, records


def made(kind: str, entries: list[tuple[str, bytes]]) -> bytes:
    return zipped(entries) if kind == "zip" else pack(tarball(entries), kind)


def expected(veil: Veil, entries: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """What must come out: each member by itself, under a name of its new UIDs."""
    names = Names(key=KEY)
    found = {}
    for name, data in entries:
        out = io.BytesIO()
        report = veil.stream(io.BytesIO(data), out)
        found[names.name(report, name.encode()).decode()] = out.getvalue()
    return found


# -- each member as by itself ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_real_files(veil: Veil, kind: str) -> None:
    """Every outcome is that of the file alone, and a bad one stops no other."""
    entries = [(name, p.read_bytes()) for name, p in corpus.files() if p.stat().st_size < 200_000]
    assert len(entries) > 150
    data, report, records = rewrite(veil, made(kind, entries))
    names = Names(key=KEY)
    wanted: dict[str, bytes] = {}
    outcomes = []
    for name, content in entries:
        out = io.BytesIO()
        session = veil.session()
        try:
            alone = stream(session, io.BytesIO(content), out)
        except NotDicomError:
            outcomes.append("skipped")
            continue
        except DicomError as error:
            outcomes.append("skipped" if session.directory else f"failed: {error}")
            continue
        new = names.name(alone, name.encode()).decode()
        if session.directory:
            outcomes.append("skipped")
        elif new in wanted:
            outcomes.append("failed: another member has the same new name")
        else:
            outcomes.append("rewritten")
            wanted[new] = out.getvalue()
    seen = [r["outcome"] if r["error"] is None else f"failed: {told(r)}" for r in records]
    assert seen == outcomes
    assert contents(data) == wanted
    assert [r["number"] for r in records] == list(range(1, len(entries) + 1))
    assert report.rewritten == outcomes.count("rewritten") == len(wanted) > 100
    assert report.skipped == outcomes.count("skipped") == sum(report.skips.values()) > 0
    assert report.failed == len(entries) - report.rewritten - report.skipped > 0
    assert not report.complete


def told(record: Any) -> str:
    return str(DicomError(**record["error"]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", KINDS)
def test_every_kind_to_every_kind(veil: Veil, kind: str, to: str) -> None:
    options = {"to": "zip"} if to == "zip" else {"to": "tar", "compress": to}
    data, report, _ = rewrite(veil, made(kind, GOOD), **options)
    assert contents(data) == expected(veil, GOOD)
    assert report.complete
    start = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "zip": b"PK\3\4", "none": b"2.25."}
    assert data.startswith(start[to])


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_stays_and_a_second_run_changes_nothing(veil: Veil, kind: str) -> None:
    once, _, _ = rewrite(veil, made(kind, GOOD))
    twice, report, _ = rewrite(veil, once)
    assert twice == once
    assert report.rewritten == 3


def test_the_input_may_come_in_any_pieces(veil: Veil) -> None:
    class Dribble(io.RawIOBase):
        def __init__(self, data: bytes, step: int) -> None:
            self._file, self._step = io.BytesIO(data), step

        def readinto(self, buffer: Any) -> int:
            data = self._file.read(min(self._step, len(buffer)))
            buffer[: len(data)] = data
            return len(data)

    for kind in ("none", "gzip", "zstd"):
        data = made(kind, GOOD)
        whole, _, _ = rewrite(veil, data)
        for step in (1, 7, 511, 513):
            out = io.BytesIO()
            veil.tar(Dribble(data, step), out)
            assert out.getvalue() == whole


def test_deflated_data_sets_change_their_length(veil: Veil) -> None:
    entries = [("a", part10(sample_elements(), DEFLATED[0])), ("b", instance(1))]
    data, _, records = rewrite(veil, tarball(entries))
    assert contents(data) == expected(veil, entries)
    assert records[0]["bytes_out"] == len(next(iter(contents(data).values())))


def test_a_member_larger_than_is_held_in_memory(veil: Veil) -> None:
    entries = [("a", instance(1, 20 << 20)), ("b", instance(2)), ("c", instance(3, 18 << 20))]
    data, _, _ = rewrite(veil, tarball(entries))
    assert contents(data) == expected(veil, entries)


def test_records(veil: Veil) -> None:
    entries = [("DOE.dcm", instance(1)), ("x.txt", b"hello"), ("cut", instance(2)[:-50])]
    _, report, records = rewrite(veil, tarball(entries))
    alone = veil.stream(io.BytesIO(instance(1)), io.BytesIO())
    good, other, bad = records
    assert json.loads(json.dumps(good)) == {
        "number": 1,
        "input": Names(key=KEY).mac(b"DOE.dcm"),
        "outcome": "rewritten",
        "reason": "",
        "bytes_in": len(instance(1)),
        "bytes_out": len(instance(1)),
        "elements": alone.elements,
        "actions": alone.actions,
        "notes": alone.notes,
        "uids": alone.uids,
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "study": alone.study,
        "series": alone.series,
        "instance": alone.instance,
        "error": None,
    }
    assert (other["outcome"], other["reason"], other["error"]) == ("skipped", "no DICOM", None)
    assert bad["outcome"] == "failed"
    assert bad["error"]["reason"] == bad["reason"]
    assert bad["error"]["offset"] > 0
    assert (report.rewritten, report.skipped, report.failed) == (1, 1, 1)
    assert report.skips == {"no DICOM": 1}
    assert report.total.elements == alone.elements
    assert report.total.actions == alone.actions


# -- what must not come through --------------------------------------------------------------------


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("to", KINDS)
def test_canaries(veil: Veil, format: int, to: str) -> None:
    long = "/".join(["CANARYFOLDER" * 6] * 2)
    entries = [(f"{long}/CANARYNAME{n}.dcm", instance(n)) for n in range(2)]
    options = {"to": "zip"} if to == "zip" else {"compress": to}
    data, report, _ = rewrite(veil, tarball(entries, format), **options)
    assert report.rewritten == 2
    check_canaries(data)


@pytest.mark.parametrize("to", ["tar", "zip"])
def test_canaries_of_a_zip(veil: Veil, to: str) -> None:
    data, report, _ = rewrite(veil, zipped([("CANARYNAME/a.dcm", instance(1))]), to=to)
    assert report.rewritten == 1
    check_canaries(data)


def check_canaries(data: bytes) -> None:
    octal_time = f"{TIME:o}".encode()
    dos_time = (((2011 - 1980) << 9 | 11 << 5 | 11) << 16 | (11 << 11 | 11 << 5 | 5)).to_bytes(
        4, "little"
    )
    for form in (data, unpack(data)):
        for canary in (OWNER, GROUP, COMMENT, "CANARYNAME", "CANARYFOLDER", "DOE", str(TIME)):
            assert canary.encode() not in form
        for time in (octal_time, dos_time, TIME.to_bytes(4, "little"), b"4711", b"0011147"):
            assert time not in form


@pytest.mark.parametrize("keep", [False, True])
def test_headers_hold_name_size_kind_and_mode_alone(veil: Veil, keep: bool) -> None:
    long = "x" * 300 + "/é.dcm"
    folder = special("a", tarfile.DIRTYPE)
    folder.mtime, folder.uname, folder.mode = TIME, OWNER, 0o700
    data, _, _ = rewrite(veil, tarball([folder, *GOOD, (long, instance(9))]), keep_names=keep)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        assert len(members) == (5 if keep else 4)
        for m in members:
            assert (m.uid, m.gid, m.uname, m.gname, m.mtime, m.linkname) == (0, 0, "", "", 0, "")
            assert (m.devmajor, m.devminor) == (0, 0)
            assert m.mode == (0o755 if m.isdir() else 0o644)
            assert m.pax_headers in ({}, {"path": m.name})
        assert keep == any(m.pax_headers for m in members)
    assert len(data) % 10240 == 0


def test_zip_headers_hold_no_date_extra_field_or_comment(veil: Veil) -> None:
    import zipfile

    data, _, _ = rewrite(veil, zipped(GOOD))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.comment == b""
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert (info.extra, info.comment) == (b"", b"")
            assert info.external_attr == 0o100644 << 16
            assert info.create_system == 3
            assert info.compress_type == zipfile.ZIP_DEFLATED


def test_a_zip_may_be_stored(veil: Veil) -> None:
    data, _, _ = rewrite(veil, zipped(GOOD), compress="none")
    assert contents(data) == expected(veil, GOOD)
    assert all(content in data for content in contents(data).values())


def test_the_gzip_header_has_no_name_and_no_time(veil: Veil) -> None:
    import gzip

    source = io.BytesIO()
    with gzip.GzipFile("CANARYNAME.tar", "wb", fileobj=source, mtime=TIME) as packed:
        packed.write(tarball(GOOD))
    assert b"CANARYNAME" in source.getvalue()
    data, _, _ = rewrite(veil, source.getvalue())
    assert data[:8] == b"\x1f\x8b\x08\0\0\0\0\0"  # deflate, no flag, no time


# -- names -----------------------------------------------------------------------------------------

NAMES = [
    "a.dcm",
    "é/ü.dcm",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "d" * 155 + "/" + "n" * 100,
    "d" * 200 + "/" + "n" * 200,
    "new\nline and  spaces ",
]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("to", ["tar", "zip"])
def test_kept_names(veil: Veil, format: int, to: str) -> None:
    entries = [(name, instance(n)) for n, name in enumerate(NAMES)]
    data, report, _ = rewrite(veil, tarball(entries, format), keep_names=True, to=to)
    assert contents(data) == {name: veil.bytes(content) for name, content in entries}
    assert report.complete


def test_names_of_bytes_that_are_no_text(veil: Veil) -> None:
    name = "caf\udce9.dcm"  # a byte that is no UTF-8, as tarfile has it
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        source = tarball([(name, instance(1)), ("b", instance(2))], format)
        data, _, _ = rewrite(veil, source, keep_names=True)
        assert list(contents(data)) == [name, "b"]
        _, report, records = rewrite(veil, source, keep_names=True, to="zip")
        assert (report.rewritten, report.failed) == (1, 1)
        assert "UTF-8" in records[0]["reason"]


@pytest.mark.parametrize("name", ["../up.dcm", "a/../../b", "/etc/x.dcm", ".."])
def test_kept_names_never_lead_out(veil: Veil, name: str) -> None:
    data, report, records = rewrite(
        veil, tarball([(name, instance(1)), ("b", instance(2))]), keep_names=True
    )
    assert list(contents(data)) == ["b"]
    assert report.failed == 1
    assert "cannot be kept" in records[0]["reason"]


def test_a_template(veil: Veil) -> None:
    data, _, records = rewrite(veil, tarball(GOOD[:1]), names="{PatientID}/{Mac}.dcm")
    folder, _, file = next(iter(contents(data))).partition("/")
    assert file == records[0]["input"] + ".dcm"
    assert folder != "HOSP-004711"


def test_two_members_of_one_name(veil: Veil) -> None:
    entries = [("a", instance(1)), ("b", instance(1)), ("c", instance(2))]
    data, report, records = rewrite(veil, tarball(entries))
    assert [r["outcome"] for r in records] == ["rewritten", "failed", "rewritten"]
    assert records[1]["reason"] == "another member has the same new name"
    assert len(contents(data)) == 2
    assert not report.complete


def test_names_that_were_seen() -> None:
    seen = Seen()
    names = [b"%d" % n for n in range(1000)]
    assert [seen.add(name) for name in names] == 1000 * [True]
    assert [seen.add(name) for name in names] == 1000 * [False]


def test_a_spool_used_again_and_again() -> None:
    with Spool(limit=100) as spool:
        for sizes in ([10], [60, 40], [60, 41, 5], [], [99], [300], [1, 100]):
            parts = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
            spool.clear()
            for part in parts:
                spool.write(part)
            assert spool.size == sum(sizes)
            assert b"".join(bytes(p) for p in spool.pieces()) == b"".join(parts)


# -- what is no image ------------------------------------------------------------------------------


def test_links_devices_and_folders_are_dropped(veil: Veil) -> None:
    entries = [
        special("folder", tarfile.DIRTYPE),
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "DOE^JOHN/0.dcm"),
        special("fifo", tarfile.FIFOTYPE),
        special("block", tarfile.BLKTYPE),
        special("tty", tarfile.CHRTYPE),
        *GOOD,
    ]
    for keep in (False, True):
        data, report, _ = rewrite(veil, tarball(entries), keep_names=keep)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            kinds = [m.type for m in archive]
        assert kinds == [tarfile.DIRTYPE] * keep + [tarfile.REGTYPE] * 3
        wanted = {
            "a folder": 1, "a symbolic link": 1, "a hard link": 1, "a device": 2, "a FIFO": 1,
        }  # fmt: skip
        if keep:
            del wanted["a folder"]
        assert report.skips == wanted
        assert report.complete
        assert b"passwd" not in data


def test_others_are_copied_where_names_are_kept(veil: Veil) -> None:
    big = b"no DICOM " * 100_000
    entries = [("a.txt", b"hello"), ("b.dcm", instance(1)), ("c", b""), ("big", big)]
    for kind in KINDS:
        data, report, records = rewrite(veil, made(kind, entries), keep_names=True, others=True)
        assert contents(data) == {
            "a.txt": b"hello", "b.dcm": veil.bytes(instance(1)), "c": b"", "big": big,
        }  # fmt: skip
        assert (report.copied, report.rewritten) == (3, 1)
        assert records[3]["bytes_out"] == len(big)
    data, report, _ = rewrite(veil, tarball(entries), keep_names=True)
    assert list(contents(data)) == ["b.dcm"]
    assert report.skips == {"no DICOM": 3}


def test_a_dicomdir(veil: Veil) -> None:
    path = next(p for name, p in corpus.files() if name.endswith("dicomdirtests/DICOMDIR"))
    entries = [("DICOMDIR", path.read_bytes()), ("a", instance(1))]
    data, report, _ = rewrite(veil, tarball(entries))
    assert len(contents(data)) == 1
    assert report.skips == {"a DICOMDIR": 1}
    data, report, _ = rewrite(veil, tarball(entries), dicomdir=True, keep_names=True)
    keeping = Veil("basic", key=KEY, keep_file_ids=True)
    wanted = keeping.bytes(path.read_bytes())
    assert contents(data)["DICOMDIR"] == wanted != veil.bytes(path.read_bytes())
    data, report, _ = rewrite(veil, tarball(entries), dicomdir=True)
    assert veil.bytes(path.read_bytes()) in contents(data).values()
    cut = [("DICOMDIR", path.read_bytes()[:-700]), ("a", instance(1))]
    assert rewrite(veil, tarball(cut))[1].skips == {"a DICOMDIR": 1}  # it would not come along
    assert rewrite(veil, tarball(cut), dicomdir=True)[1].failed == 1


@pytest.mark.parametrize(
    "options",
    [
        {"to": "rar"},
        {"compress": "lzma"},
        {"others": True},
        {"names": "{Nobody}"},
        {"names": "a", "keep_names": True},
        {"to": "zip", "compress": "gzip"},
    ],
    ids=str,
)
def test_wrong_options(veil: Veil, options: dict[str, Any]) -> None:
    out = io.BytesIO()
    with pytest.raises(UsageError):
        veil.tar(io.BytesIO(tarball(GOOD)), out, **options)
    assert out.getvalue() == b""


def test_zstd_without_its_package() -> None:
    script = """if True:
        import io, sys
        sys.modules["backports.zstd"] = sys.modules["compression.zstd"] = None
        import dcmveil
        veil = dcmveil.Veil(key=bytes(range(32)))
        for data, compress in ((b"\\x28\\xb5\\x2f\\xfd", None), (bytes(1024), "zstd")):
            try:
                veil.tar(io.BytesIO(data), io.BytesIO(), compress=compress)
            except dcmveil.UsageError as error:
                print(error)
        """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.count("dcmveil[zstd]") == 2, done.stderr


# -- as others read it -----------------------------------------------------------------------------


@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("keep", [False, True])
def test_gnu_tar_reads_it(veil: Veil, tmp_path: Path, compress: str, keep: bool) -> None:
    entries = [(name, instance(n)) for n, name in enumerate(NAMES[:-1])]
    data, _, _ = rewrite(veil, tarball(entries), compress=compress, keep_names=keep)
    archive, folder = tmp_path / "x.tar", tmp_path / "out"
    archive.write_bytes(unpack(data))
    folder.mkdir()
    command = ["tar", "--warning=all", "--quoting-style=literal", "-xvf", archive, "-C", folder]
    done = subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == list(contents(data))
    for name, content in contents(data).items():
        assert (folder / name).read_bytes() == content


def test_gzip_and_zstd_test_it(veil: Veil) -> None:
    for program in ("gzip", "zstd"):
        data, _, _ = rewrite(veil, tarball(GOOD), compress=program)
        done = subprocess.run([program, "-q", "-t"], input=data, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
