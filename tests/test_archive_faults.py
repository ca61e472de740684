"""Archives that are cut off, damaged, hostile or odd: one bad member stops no other, and an archive
that is not whole is never taken for one."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives import COMMENT, contents, instance, pack, tarball, zipped
from dcmveil import ArchiveError, ArchiveReport, UsageError, Veil
from dcmveil.faces.tar import EXTENDED_LIMIT

KEY = bytes(range(32))
GOOD = [("a", instance(1)), ("b", instance(2))]
PLAIN = tarball(GOOD, tarfile.GNU_FORMAT)
END = 2 * (512 + -(-len(instance(1)) // 512) * 512)  # where its two blocks of zeros begin


def rewrite(veil: Veil, data: bytes, **options: Any) -> tuple[bytes, ArchiveReport, list[Any]]:
    out = io.BytesIO()
    records: list[Any] = []
    report = veil.tar(
        io.BytesIO(data), out, on_member=lambda record, _: records.append(record), **options
    )
    return out.getvalue(), report, records


def refused(veil: Veil, data: bytes) -> ArchiveError:
    """The error; what was written until then must not pass for an archive."""
    out = io.BytesIO()
    with pytest.raises(ArchiveError) as caught:
        veil.tar(io.BytesIO(data), out, compress="none")
    assert len(out.getvalue()) % 10240 or not out.getvalue()
    assert not out.getvalue().endswith(bytes(1024))
    assert "DOE" not in str(caught.value)
    return caught.value


# -- cut off ---------------------------------------------------------------------------------------


def test_a_tar_cut_anywhere(veil: Veil) -> None:
    for n in sorted({*range(0, END, 41), *range(0, END + 1, 512), *range(END - 3, END + 512)}):
        error = refused(veil, PLAIN[:n])
        assert error.offset is not None
        assert error.offset <= n
    for n in (END + 512, END + 513, END + 1024, END + 2000):
        data, report, _ = rewrite(veil, PLAIN[:n])
        assert report.complete
        assert len(contents(data)) == 2


def test_what_an_empty_or_short_input_is_called(veil: Veil) -> None:
    assert "empty" in str(refused(veil, b""))
    for data in (b"\0", b"x", b"x" * 511, b"x" * 512, b"hello" * 1000, instance(1)):
        assert "no archive" in str(refused(veil, data))
    assert "xz" in str(refused(veil, b"\xfd7zXZ\0" + bytes(100)))
    assert "bzip2" in str(refused(veil, b"BZh9" + bytes(100)))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_data_cut_anywhere(veil: Veil, compression: str) -> None:
    data = pack(PLAIN, compression)
    for n in range(len(data)):
        refused(veil, data[:n])
    assert rewrite(veil, data)[1].complete


def test_a_zip_cut_anywhere(veil: Veil) -> None:
    data = zipped(GOOD)
    end = len(data) - len(COMMENT)  # a comment that is cut off takes no member away
    for n in [*range(4, end, 13), end - 1]:
        refused(veil, data[:n])


def test_a_cut_archive_leaves_no_zip(veil: Veil) -> None:
    out = io.BytesIO()
    with pytest.raises(ArchiveError):
        veil.tar(io.BytesIO(PLAIN[: END - 1]), out, to="zip")
    assert not zipfile.is_zipfile(io.BytesIO(out.getvalue()))


# -- damaged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_damage_of_compressed_data(veil: Veil, compression: str) -> None:
    """A changed bit is an error, or the same members come out: never other ones."""
    if compression == "zstd":
        done = subprocess.run(["zstd", "-q", "--check"], input=PLAIN, capture_output=True)
        data = done.stdout
    else:
        data = pack(PLAIN, compression)
    wanted, _, _ = rewrite(veil, PLAIN)
    errors = 0
    for place in range(4, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        try:
            found, _, _ = rewrite(veil, bytes(damaged), compress="none")
        except ArchiveError:
            errors += 1
        else:
            assert found == wanted
    assert errors > len(data) // 3 - 10


def test_damage_of_a_header(veil: Veil) -> None:
    second = END // 2
    for place in range(second, second + 500, 7):
        damaged = bytearray(PLAIN)
        damaged[place] ^= 0x55
        error = refused(veil, bytes(damaged))
        assert error.offset == second


def test_what_stands_behind_the_end(veil: Veil) -> None:
    two = PLAIN + tarball([("c", instance(3))])
    for data in (two, pack(two, "gzip"), pack(PLAIN, "gzip") + pack(two[len(PLAIN) :], "gzip")):
        out, report, _ = rewrite(veil, data)
        assert len(contents(out)) == 2
        assert report.surplus
        assert not report.complete
        assert any("behind the end" in line for line in report.warnings())
    assert rewrite(veil, PLAIN + bytes(50_000))[1].complete
    assert rewrite(veil, pack(PLAIN, "gzip") + bytes(512))[1].complete
    assert "damaged" in str(refused(veil, pack(PLAIN, "gzip") + b"xy"))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_several_compressed_streams_one_behind_the_other(veil: Veil, compression: str) -> None:
    for n in (1, 512, 3000, len(PLAIN) - 1):
        data = pack(PLAIN[:n], compression) + pack(b"", compression) + pack(PLAIN[n:], compression)
        out, report, _ = rewrite(veil, data)
        assert report.complete
        assert len(contents(out)) == 2
    skippable = b"\x50\x2a\x4d\x18\4\0\0\0skip"
    assert rewrite(veil, skippable + pack(PLAIN, "zstd"))[1].rewritten == 2


@given(st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), max_size=6))
def test_any_damage_of_a_tar(changes: list[tuple[int, int]]) -> None:
    veil = Veil("basic", key=KEY)
    damaged = bytearray(PLAIN)
    for place, value in changes:
        damaged[place] = value
    for data in (bytes(damaged), bytes(damaged[: changes[0][0]]) if changes else b""):
        try:
            out, report, _ = rewrite(veil, data)
        except (ArchiveError, UsageError):  # a first byte may make another kind of it
            continue
        assert len(contents(out)) == report.rewritten


ZIP = zipped(GOOD)


@given(st.lists(st.tuples(st.integers(0, len(ZIP) - 1), st.integers(0, 255)), max_size=6))
def test_any_damage_of_a_zip(changes: list[tuple[int, int]]) -> None:
    veil = Veil("basic", key=KEY)
    damaged = bytearray(ZIP)
    for place, value in changes:
        damaged[place] = value
    try:
        out, report, _ = rewrite(veil, bytes(damaged))
    except (ArchiveError, UsageError):
        return
    assert len(contents(out)) == report.rewritten


# -- a bad member among good ones ------------------------------------------------------------------


BAD = {
    "cut": instance(9)[:-40],
    "cut early": instance(9)[:300],
    "garbage": instance(9)[:400] + b"\xff" * 3000,
    "an unknown transfer syntax": instance(9).replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"
    ),
}


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_member_among_good_ones(veil: Veil, kind: str, bad: str) -> None:
    entries = [GOOD[0], ("bad", BAD[bad]), GOOD[1]]
    data, report, records = rewrite(veil, zipped(entries) if kind == "zip" else tarball(entries))
    assert [r["outcome"] for r in records] == ["rewritten", "failed", "rewritten"]
    assert records[1]["number"] == 2
    assert list(contents(data).values()) == [veil.bytes(content) for _, content in GOOD]
    assert not report.complete


def test_a_bad_member_larger_than_is_held(veil: Veil) -> None:
    big = instance(9, 20 << 20)
    data, report, _ = rewrite(veil, tarball([GOOD[0], ("bad", big[:-1000]), GOOD[1]]))
    assert len(contents(data)) == 2
    assert report.failed == 1


# -- odd tars --------------------------------------------------------------------------------------


def header(name: bytes = b"x", size: int | bytes = 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header made by hand; `fields` replace some, and a size of bytes is taken as it is."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:107] = b"0000644"
    block[124:136] = (size if isinstance(size, bytes) else b"%011o" % size).ljust(12, b"\0")
    block[136:147] = b"%011o" % 0
    block[156:157] = kind
    magic = fields.get("magic", b"ustar\x0000")
    block[257 : 257 + len(magic)] = magic
    prefix = fields.get("prefix", b"")
    block[345 : 345 + len(prefix)] = prefix
    block[482:483] = fields.get("more", b"\0")
    block[148:156] = b" " * 8
    total = sum(block) - (256 * sum(b > 127 for b in block) if "signed" in fields else 0)
    block[148:156] = fields.get("checksum", b"%06o\0 " % total)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


FILE = padded(GOOD[0][1])
SIZE = len(GOOD[0][1])


def pax(*records: tuple[str, str]) -> bytes:
    text = b""
    for key, value in records:
        body = f" {key}={value}\n".encode()
        length = len(body)
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        text += str(length).encode() + body
    return text


def extended(content: bytes, kind: bytes = b"x") -> bytes:
    return header(b"PaxHeader", len(content), kind) + padded(content)


ODD = {
    "no ustar": header(size=SIZE, magic=b"", kind=b"\0"),
    "GNU": header(size=SIZE, magic=b"ustar  \0", prefix=b"14523412341\0"),
    "prefix": header(size=SIZE, prefix=b"some/folder"),
    "contiguous": header(size=SIZE, kind=b"7"),
    "blanks around the size": header(size=(b"  %o " % SIZE).ljust(12)),
    "a size of base 256": header(size=b"\x80" + SIZE.to_bytes(11, "big")),
    "signed checksum": header(name=b"caf\xe9", size=SIZE, signed=b"y"),
    "size in PAX": extended(pax(("size", str(SIZE)), ("mtime", "1.5"))) + header(size=0),
    "global PAX": extended(pax(("comment", "x")), b"g") + header(size=SIZE),
    "size in global PAX": extended(pax(("size", str(SIZE))), b"g") + header(size=0),
    "empty PAX": extended(b"") + header(size=SIZE),
    "Solaris": extended(pax(("path", "y")), b"X") + header(size=SIZE),
    "long link": extended(b"somewhere\0", b"K") + header(size=SIZE),
    "many headers": 20_000 * extended(b"", b"g") + header(size=SIZE),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_headers(veil: Veil, odd: str) -> None:
    data, report, _ = rewrite(
        veil, ODD[odd] + FILE + header(b"b", SIZE) + padded(GOOD[1][1]) + bytes(1024)
    )
    assert report.rewritten == 2
    assert list(contents(data).values()) == [veil.bytes(content) for _, content in GOOD]


KEPT = {
    "the prefix comes first": (header(b"n", SIZE, prefix=b"some/folder"), "some/folder/n"),
    "that of GNU is none": (header(b"n", SIZE, magic=b"ustar  \0", prefix=b"14523412341"), "n"),
    "PAX wins": (extended(pax(("path", "p/q"))) + header(b"n", SIZE), "p/q"),
    "also over GNU": (
        extended(b"long\0", b"L") + extended(pax(("path", "p/q"))) + header(b"n", SIZE), "p/q",
    ),
    "GNU wins over the header": (extended(b"long\0junk", b"L") + header(b"n", SIZE), "long"),
    "for one member alone": (
        extended(pax(("path", "p"))) + header(b"m", 0, b"2") + header(b"n", SIZE), "n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_where_a_name_comes_from(veil: Veil, case: str) -> None:
    start, name = KEPT[case]
    data, _, _ = rewrite(veil, start + FILE + bytes(1024), keep_names=True)
    assert list(contents(data)) == [name]
    listed = subprocess.run(["tar", "-t"], input=start + FILE + bytes(1024), capture_output=True)
    assert listed.stdout.decode().splitlines()[-1] == name


def test_a_folder_of_before_posix(veil: Veil) -> None:
    start = header(b"folder/", 0, b"\0", magic=b"")
    _, report, _ = rewrite(veil, start + header(b"n", SIZE) + FILE + bytes(1024))
    assert report.skips == {"a folder": 1}
    assert report.rewritten == 1


WRONG = {
    "a negative size of base 256": header(size=b"\xff" * 12),
    "a huge size": header(size=b"\x80" + b"\xff" * 11),
    "a size of letters": header(size=b"0000000zz00\0"),
    "a size with a sign": header(size=b"-0000000001\0"),
    "a size with an underscore": header(size=b"0000000_001\0"),
    "no checksum": header(checksum=b"        ")[:148] + b"\0" * 8 + header()[156:],
    "a large extended header": extended(bytes(EXTENDED_LIMIT + 1)),
    "a large long name": extended(b"n" * (EXTENDED_LIMIT + 1), b"L"),
    "PAX without a length": extended(b"path=x\n"),
    "PAX of length 0": extended(b"0 path=x\n"),
    "PAX longer than it is": extended(b"99 path=x\n"),
    "PAX that ends in its head": extended(b"2 path=x\n"),
    "PAX without a line end": extended(b"9 path=xx"),
    "PAX without a key": extended(b"7 path\n"),
    "PAX of many digits": extended(b"9" * 5000),
    "PAX of another script": extended("٣ path=x\n".encode()),
    "a PAX size of letters": extended(pax(("size", "1e3"))) + header(),
    "a negative PAX size": extended(pax(("size", "-512"))) + header(),
    "a PAX size beyond all": extended(pax(("size", "9" * 30))) + header(),
    "an extended header at the end": extended(pax(("path", "x"))),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_headers(veil: Veil, wrong: str) -> None:
    """Behind a good member, so that it is no question of what kind the input is."""
    start = header(b"n", SIZE) + FILE
    error = refused(veil, start + WRONG[wrong] + bytes(1024))
    assert error.offset is not None
    assert error.offset >= len(start)


@pytest.mark.parametrize("kind", [b"M", b"N", b"A", b"Z"])
def test_members_of_other_kinds_are_refused(veil: Veil, kind: bytes) -> None:
    data = header(b"n", SIZE, kind) + FILE + header(b"n", SIZE) + FILE + bytes(1024)
    _, _, records = rewrite(veil, data)
    assert [r["outcome"] for r in records] == ["failed", "rewritten"]


@pytest.mark.parametrize(
    "format", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix"]
)
def test_sparse_members_are_refused(veil: Veil, tmp_path: Path, format: str) -> None:
    for name, holes in (("sparse", 40), ("next", 0)):
        with (tmp_path / name).open("wb") as file:
            file.write(instance(1))
            for _ in range(holes):  # more than fit into the first header
                file.seek(1 << 20, 1)
                file.write(b"x")
    command = f"tar -cS --format={format} -C {tmp_path} sparse next"
    made = subprocess.run(command.split(), capture_output=True, check=True).stdout
    assert len(made) < 1 << 20
    data, _, records = rewrite(veil, made)
    assert [r["outcome"] for r in records] == ["failed", "rewritten"]
    assert "sparse" in records[0]["reason"]
    assert len(contents(data)) == 1


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 40])
def test_members_of_any_size(size: int) -> None:
    """From 8 GiB on, the size stands in an extended header."""
    from dcmveil.faces.tar import TarReader, _header

    written = _header(b"x", size, b"0", 0o644)
    assert len(written) == (512 if size < 8**11 else 3 * 512)
    assert tarfile.TarInfo.frombuf(written[:512], "ascii", "strict").type in (b"0", b"x")
    reader = TarReader(io.BufferedReader(io.BytesIO(written)))  # type: ignore[arg-type]
    member = next(iter(reader))
    assert (member.name, member.kind, reader._left) == (b"x", "file", size)


# -- odd zips --------------------------------------------------------------------------------------


def test_members_of_a_zip_that_cannot_be_read(veil: Veil) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bzip2", instance(3), zipfile.ZIP_BZIP2)
        archive.writestr("crc", instance(4), zipfile.ZIP_STORED)
        archive.writestr("encrypted", instance(5), zipfile.ZIP_STORED)
        archive.writestr("folder/", b"")
        archive.writestr("good", instance(6), zipfile.ZIP_DEFLATED)
    data = bytearray(packed.getvalue())
    data[data.index(instance(4)) + 3000 - 1000] ^= 1
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(b"encrypted") - (30 if signature == b"PK\3\4" else 46)
        if signature == b"PK\1\2":
            at = data.rindex(b"encrypted") - 46
        assert data[at : at + 4] == signature
        data[at + place] |= 1
    out, report, records = rewrite(veil, bytes(data))
    assert [r["outcome"] for r in records] == [
        "skipped", "failed", "failed", "failed", "skipped", "rewritten",
    ]  # fmt: skip
    assert [r["reason"] for r in records[:5]] == [
        "a symbolic link",
        "the member is neither stored nor deflated",
        "the member is damaged or cut off",
        "the member is encrypted",
        "a folder",
    ]
    assert list(contents(out).values()) == [veil.bytes(instance(6))]
    assert b"passwd" not in out
    assert report.failed == 3


def test_a_zip_needs_seeking(veil: Veil) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._file = io.BytesIO(data)

        def readinto(self, buffer: Any) -> int:
            return self._file.readinto(buffer)

    with pytest.raises(UsageError, match="pipe"):
        veil.tar(Pipe(zipped(GOOD)), io.BytesIO())


def test_an_archive_without_members(veil: Veil) -> None:
    for data in (tarball([]), zipped([])):
        out, report, records = rewrite(veil, data)
        assert contents(out) == {}
        assert (report.complete, records) == (True, [])


# -- memory ----------------------------------------------------------------------------------------

PEAK = """
import sys, dcmveil
veil = dcmveil.Veil(key=bytes(range(32)))
with open(sys.argv[1], "rb", buffering=0) as src, open(sys.argv[2], "wb", buffering=0) as dst:
    try:
        report = veil.tar(src, dst)
    except dcmveil.ArchiveError as error:
        print(error, file=sys.stderr)
        report = dcmveil.ArchiveReport()
with open("/proc/self/status") as status:  # getrusage would tell the peak of the parent
    memory = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(report.rewritten, report.failed, memory)
"""


def peak(path: Path) -> tuple[int, int, int]:
    """Members rewritten and failed, and the most memory that the process had, in bytes."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from /proc")
    out = path.with_name("out")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path, out], capture_output=True, text=True, check=True
    )
    out.unlink()
    rewritten, failed, memory = map(int, done.stdout.split())
    return rewritten, failed, memory << 10


def many(path: Path, count: int, make: Callable[[int], bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for n in range(count):
            content = make(n)
            info = tarfile.TarInfo(f"{n}.dcm")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_memory_for_ten_thousand_members(tmp_path: Path) -> None:
    template = instance(10_000)
    make = lambda n: template.replace(b"1.4.10000", b"1.4.%d" % (20_000 + n))  # noqa: E731
    few, lots = tmp_path / "few.tar", tmp_path / "lots.tar"
    many(few, 100, make)
    many(lots, 10_000, make)
    small, large = peak(few), peak(lots)
    assert small[:2] == (100, 0)
    assert large[:2] == (10_000, 0)
    # the set of names and the cache of UIDs (300 bytes each), and nothing for each member besides
    assert large[2] - small[2] < 8 << 20


def test_memory_for_large_members(tmp_path: Path) -> None:
    large = tmp_path / "large.tar"
    many(large, 2, lambda n: instance(n, 100 << 20))
    rewritten, failed, memory = peak(large)
    assert (rewritten, failed) == (2, 0)
    assert memory < 90 << 20


def test_memory_for_what_inflates_without_end(tmp_path: Path) -> None:
    """200 MiB of zeros in 200 KiB, as a member, an extended header's size and a whole stream."""
    bomb = tmp_path / "bomb.zip"
    head = instance(1)
    head = head[: head.rindex(b"\xe0\x7f\x10\0OW")]
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a", "w") as member,
    ):
        member.write(head + b"\xe0\x7f\x10\0OW\0\0" + (200 << 20).to_bytes(4, "little"))
        for _ in range(200):
            member.write(bytes(1 << 20))
    assert bomb.stat().st_size < 1 << 20
    rewritten, _, memory = peak(bomb)
    assert rewritten == 1
    assert memory < 90 << 20
    packer = zlib.compressobj(9, wbits=31)
    zeros = b"".join([packer.compress(bytes(1 << 20)) for _ in range(200)]) + packer.flush()
    for data in (zeros, pack(bytes(200 << 20), "zstd")):
        bomb.write_bytes(data)
        rewritten, _, memory = peak(bomb)
        assert rewritten == 0
        assert memory < 60 << 20
