"""The records of a journal of patching: written, read back, and carried out from memory."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import struct
import time
from binascii import crc32
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from dcmveil.faces import journal as journals
from dcmveil.faces.journal import FOLDER, Journal
from dcmveil.faces.records import Targets, add_done, add_edit, add_file, carry_out

pytestmark = pytest.mark.usefixtures("no_descriptor_stays_open")
Edits = list[tuple[int, bytes]]
LINE = b'{"outcome":"rewritten"}'


def journal(*files: tuple[bytes, int, Edits], over: bool = True) -> bytearray:
    """Whole records, by docs/crash-safety.md and faces/journal.py: (path, open file, edits)."""
    made = bytearray()
    for relative, file, edits in files:
        status = os.fstat(file)
        made += b"FILE" + struct.pack("<H", len(relative)) + relative
        made += struct.pack("<QQ", status.st_ino, status.st_size)
        for offset, new in edits:
            made += b"EDIT" + struct.pack("<QI", offset, len(new)) + new
        made += b"DONE" + struct.pack("<I", len(LINE)) + LINE
    return made + b"OVER" + struct.pack("<I", len(files)) + bytes(16) if over else made


def targets_of(files: Iterable[int]) -> Targets:
    """As they are now; each is open a second time, since a Targets closes its own."""
    targets = Targets()
    for file in files:
        status = os.fstat(file)
        targets.add(os.dup(file), status.st_size, status.st_ctime_ns)
    return targets


class Folder:
    """Files of some bytes each, open for writing, and planned as they are then."""

    def __init__(self, root: Path, *names: str, size: int = 100) -> None:
        self.path = root
        root.mkdir(exist_ok=True)
        self.root = os.fsencode(root)
        self.files: dict[bytes, int] = {}
        for name in names:
            (root / name).write_bytes(bytes(size))
            self.files[name.encode()] = os.open(root / name, os.O_RDWR)
        # where the clock of the file system is a coarse one, what comes next is to be another time
        time.sleep(0.01)
        self.targets = targets_of(self.files.values())

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.targets.let_go()
        for file in self.files.values():
            os.close(file)

    def records(self, edits: dict[bytes, Edits]) -> bytearray:
        return journal(*((name, self.files[name], edits[name]) for name in self.files))

    def carry_out(self, records: bytearray, durable: bool = False) -> set[bytes]:
        return carry_out(records, self.targets, durable)

    def content(self) -> dict[bytes, bytes]:
        """What the open files hold, wherever their names lead now."""
        return {name: os.pread(file, 1 << 16, 0) for name, file in self.files.items()}


@pytest.mark.parametrize("durable", [False, True])
def test_edits_are_written_in_their_order(tmp_path: Path, durable: bool) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    with Folder(tmp_path / "in", "a", "deep/b", "c") as folder:
        edits: dict[bytes, Edits] = {
            b"a": [(0, b"first"), (3, b"over it"), (98, b"zz")], b"deep/b": [], b"c": [(50, b"c")]
        }  # fmt: skip
        records = folder.records(edits)
        for _ in range(2):  # twice is once
            before = bytes(records)
            targets = targets_of(folder.files.values())
            assert carry_out(records, targets, durable) == set()
            assert records == before
            assert folder.content() == {
                b"a": b"firover it".ljust(98, b"\0") + b"zz",
                b"deep/b": bytes(100),
                b"c": (bytes(50) + b"c").ljust(100, b"\0"),
            }


def test_no_files() -> None:
    assert carry_out(journal(), Targets(), False) == set()
    assert carry_out(bytearray(), Targets(), True) == set()


@pytest.mark.parametrize(
    "what",
    [
        "renamed",
        "longer",
        "shorter",
        "edited",
        "another file",
        "a link",
        "a folder",
        "unlinked",
        "linked",
        "replaced",
    ],
)
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_that_was_moved_or_changed(tmp_path: Path, what: str, durable: bool) -> None:
    """Neither it is touched, nor what stands in its place; others are written."""
    (tmp_path / "in" / "d").mkdir(parents=True)
    with Folder(tmp_path / "in", "a", "d/b", "c") as folder:
        path = tmp_path / "in" / "d" / "b"
        records = folder.records({name: [(7, b"new")] for name in folder.files})
        if what in ("longer", "shorter"):
            os.truncate(path, 101 if what == "longer" else 99)
        elif what == "edited":
            path.write_bytes(bytes(100))
        elif what == "linked":
            os.link(path, tmp_path / "second name")
        elif what == "unlinked":
            path.unlink()
        elif what == "replaced":
            (tmp_path / "new").write_bytes(bytes(100))
            (tmp_path / "new").rename(path)
        else:
            path.rename(tmp_path / "moved")
        if what == "another file":
            path.write_bytes(bytes(100))
        elif what == "a link":
            path.symlink_to(tmp_path / "moved")
        elif what == "a folder":
            path.mkdir()
        sizes = {name: os.fstat(file).st_size for name, file in folder.files.items()}
        assert folder.carry_out(records, durable) == {b"d/b"}
        for name, data in folder.content().items():
            new = bytes(sizes[name]) if name == b"d/b" else bytes(7) + b"new" + bytes(90)
            assert data == new
        if what in ("another file", "replaced"):
            assert path.read_bytes() == bytes(100)


def test_a_folder_that_was_moved(tmp_path: Path) -> None:
    """With the file that was planned in it: that is the one that is written, wherever it is."""
    (tmp_path / "in" / "d").mkdir(parents=True)
    with Folder(tmp_path / "in", "d/b") as folder:
        (tmp_path / "in" / "d").rename(tmp_path / "moved")
        Folder(tmp_path / "in" / "d", "b").__exit__()
        assert folder.carry_out(folder.records({b"d/b": [(7, b"new")]})) == set()
        assert (tmp_path / "moved" / "b").read_bytes() == bytes(7) + b"new" + bytes(90)
        assert (tmp_path / "in" / "d" / "b").read_bytes() == bytes(100)


def test_files_that_are_not_held(tmp_path: Path) -> None:
    """They are counted, and closed at once."""
    with Folder(tmp_path, "a", "b") as folder:
        a, b = map(os.dup, folder.files.values())
        targets = Targets()
        targets.add(a, 100, 0)
        assert (targets.count, targets.held) == (1, True)
        os.fstat(a)
        targets.let_go()
        targets.add(b, 100, 0)
        assert (targets.count, targets.held) == (2, False)
        for file in (a, b):
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(file)


def test_a_thousand_files(tmp_path: Path) -> None:
    names = [f"{i}" for i in range(1000)]
    with Folder(tmp_path, *names) as folder:
        gone = set(names[::7])
        for name in gone:
            (tmp_path / name).unlink()
        edits: dict[bytes, Edits] = {
            name: [(0, name), (90, b"new")][: i % 3] for i, name in enumerate(folder.files)
        }
        assert folder.carry_out(folder.records(edits)) == {name.encode() for name in gone}
        for i, name in enumerate(names):
            if name not in gone:
                start = name.encode().ljust(90, b"\0") if i % 3 else bytes(90)
                new = b"new" if i % 3 == 2 else bytes(3)
                assert (tmp_path / name).read_bytes() == start + new + bytes(7)


def test_another_number_of_files(tmp_path: Path) -> None:
    with Folder(tmp_path, "a", "b") as folder:
        edits: Edits = [(7, b"new")]
        records = folder.records({b"a": edits, b"b": edits})
        a, b = folder.files.values()
        for files in ([], [a], [a, b, b]):
            targets = targets_of(files)
            with pytest.raises(ValueError, match="record"):
                carry_out(records, targets, False)
            targets.let_go()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with Folder(tmp_path, "a", "b") as folder:
        records = folder.records({name: [(7, b"new")] for name in folder.files})
        a = folder.files[b"a"]
        wrong = os.open(tmp_path / "b", os.O_RDONLY)
        targets = targets_of([a, wrong])
        os.close(wrong)
        with pytest.raises(OSError, match="Bad file") as caught:
            carry_out(records, targets, False)
        assert caught.value.errno == errno.EBADF
        targets.let_go()
        assert folder.content() == {b"a": bytes(7) + b"new" + bytes(90), b"b": bytes(100)}


def test_offsets_that_no_file_has(tmp_path: Path) -> None:
    with Folder(tmp_path, "a") as folder:
        for offset in (1 << 63, (1 << 64) - 1, (1 << 63) - 1):
            with pytest.raises(OSError, match=r"Invalid argument|too large") as caught:
                folder.carry_out(folder.records({b"a": [(offset, b"x")]}))
            assert caught.value.errno in (errno.EINVAL, errno.EFBIG)
        assert folder.content() == {b"a": bytes(100)}


def test_a_full_disk() -> None:
    """A device that is always full."""
    file = os.open("/dev/full", os.O_RDWR)
    records = journal((b"full", file, [(0, b"new")]))
    targets = targets_of([file])
    with pytest.raises(OSError, match="No space left") as caught:
        carry_out(records, targets, False)
    targets.let_go()
    assert caught.value.errno == errno.ENOSPC
    os.close(file)


# Two files with edits of several lengths, none of which touch.
EDITS: dict[bytes, Edits] = {
    b"a": [(0, b"A"), (10, b"BCDEFG"), (99, b"H")],
    b"long name": [(40, b"IJKLM" * 10)],
}


def carried_out(records: bytes) -> tuple[dict[bytes, bytes], bool]:
    """What the two files hold afterwards, and whether the records were whole. Of a file only those
    edits that are whole are written, in their order; which file it is the order says."""
    files = {name: bytearray(100) for name in EDITS}
    at = 0

    def take(n: int) -> bytes:
        nonlocal at
        if len(records) - at < n:
            raise ValueError
        at += n
        return records[at - n : at]

    try:
        for name in EDITS:
            if take(4) != b"FILE":
                raise ValueError
            take(int.from_bytes(take(2), "little") + 16)
            while records[at : at + 4] == b"EDIT":
                take(4)
                offset, n = struct.unpack("<QI", take(12))
                files[name][offset : offset + n] = take(n)
            if take(4) != b"DONE":
                raise ValueError
            take(int.from_bytes(take(4), "little"))
        if at != len(records) and take(4) != b"OVER":
            raise ValueError
    except ValueError:
        return {name: bytes(data) for name, data in files.items()}, False
    return {name: bytes(data) for name, data in files.items()}, True


def check(folder: Folder, records: bytearray) -> None:
    for file in folder.files.values():
        os.ftruncate(file, 0)
        os.ftruncate(file, 100)
    targets = targets_of(folder.files.values())
    files, whole = carried_out(bytes(records))
    if whole:
        assert carry_out(records, targets, False) == set()
    else:
        with pytest.raises((ValueError, OSError)):
            carry_out(records, targets, False)
    targets.let_go()
    assert folder.content() == files


def test_records_that_are_cut_off(tmp_path: Path) -> None:
    with Folder(tmp_path, *map(bytes.decode, EDITS)) as folder:
        records = folder.records(EDITS)
        for at in range(len(records) + 1):
            check(folder, records[:at])


def test_what_is_wrong_is_told_for_what_it_is(tmp_path: Path) -> None:
    """Whatever went wrong before it."""
    with Folder(tmp_path, *map(bytes.decode, EDITS)) as folder:
        records = folder.records(EDITS)
        for at in range(len(records) - 30):
            with contextlib.suppress(FileNotFoundError):
                os.stat(tmp_path / "missing")
            with pytest.raises(ValueError, match="record"):
                carry_out(records[:at], targets := targets_of(folder.files.values()), False)
            targets.let_go()


@pytest.mark.parametrize("change", [0x01, 0x04, 0x80, 0xFF], ids=hex)
def test_records_that_are_damaged(tmp_path: Path, change: int) -> None:
    """At any byte but of an offset, where nothing could tell."""
    with Folder(tmp_path, *map(bytes.decode, EDITS)) as folder:
        records = folder.records(EDITS)
        offsets = {
            at + 4 + i
            for at in range(len(records))
            if records[at : at + 4] == b"EDIT"
            for i in range(8)
        }
        assert len(offsets) == 8 * sum(map(len, EDITS.values()))
        for at in range(len(records)):
            if at not in offsets:
                torn = bytearray(records)
                torn[at] ^= change
                check(folder, torn)


# -- written and read back -------------------------------------------------------------------------

PATHS = [b"a", b"deep/er/b", b"not \xff UTF-8\n", b"", b"n" * 65535]


def over(records: bytearray, count: int) -> bytes:
    """A whole journal of these records."""
    whole = bytes(records) + b"OVER" + struct.pack("<I", count)
    return whole + struct.pack("<I", crc32(whole))


@pytest.mark.parametrize("relative", PATHS, ids=len)
def test_what_is_added_reads_back(relative: bytes) -> None:
    """By the words of faces/journal.py, and by what reads it."""
    records = bytearray(b"")
    expected: list[tuple[bytes, object]] = []
    for inode, size in ((0, 0), (7, (1 << 63) + 5), ((1 << 64) - 1, 1)):
        add_file(records, relative, inode, size)
        expected.append((b"FILE", (relative, inode, size)))
        for offset, new in ((0, b"x"), ((1 << 64) - 1, b""), (1 << 32, bytes(range(256)) * 300)):
            add_edit(records, offset, new)
            expected.append((b"EDIT", (offset, new)))
        add_done(records, LINE)
        expected.append((b"DONE", LINE))
    add_done(records, b"")
    expected.append((b"DONE", b""))
    assert list(journals._records(io.BytesIO(over(records, 4)))) == expected


def test_what_is_added_is_what_the_words_say(tmp_path: Path) -> None:
    with Folder(tmp_path, "a", "b") as folder:
        edits: dict[bytes, Edits] = {b"a": [(3, b"new"), (9, b"")], b"b": []}
        made = bytearray()
        for name, file in folder.files.items():
            add_file(made, name, os.fstat(file).st_ino, 100)
            for offset, new in edits[name]:
                add_edit(made, offset, new)
            add_done(made, LINE)
        files = [(name, file, edits[name]) for name, file in folder.files.items()]
        assert made == journal(*files, over=False)


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1, 70_000, 1 << 17])
def test_a_path_that_does_not_fit_into_a_record(size: int) -> None:
    """No system has such paths: it is refused, and never cut to another one."""
    records = bytearray(b"before")
    with pytest.raises(OverflowError):
        add_file(records, b"n" * size, 1, 2)
    assert records == b"before"


# -- a journal as a file ---------------------------------------------------------------------------


class Tree:
    """Files with a journal over them that waits, as a kill leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "deep").mkdir(parents=True)
        self.old = {name: bytes(400) for name in ("a", "deep/b", "c")}
        self.new: dict[str, bytes] = {}
        made = Journal(os.fsencode(root) + b"/" + FOLDER + b"/1-1")
        for number, (name, data) in enumerate(self.old.items()):
            (root / name).write_bytes(data)
            made.begin(name.encode(), os.stat(root / name))
            new = bytearray(data)
            for start in (0, 200):
                edit = bytes((number * 80 + start + i) % 251 + 1 for i in range(128))
                made.edit(start + number, edit)
                new[start + number : start + number + 128] = edit
            self.new[name] = bytes(new)
            made.end(os.open(root / name, os.O_RDWR), LINE)
        made.commit(False)
        made.close()
        self.path = Path(os.fsdecode(made.path))
        self.whole = self.path.read_bytes()

    def read(self) -> dict[str, bytes]:
        return {name: (self.root / name).read_bytes() for name in self.old}

    def check_refused(self, data: bytes) -> None:
        """Nothing was touched, and the journal is gone."""
        self.path.write_bytes(data)
        assert list(journals.recover(os.fsencode(self.root), False)) == []
        assert not self.path.exists()
        assert self.read() == self.old


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "in")


def test_a_whole_journal_is_carried_out(tree: Tree) -> None:
    assert list(journals.recover(os.fsencode(tree.root), False)) == [
        (name.encode(), LINE) for name in tree.old
    ]
    assert tree.read() == tree.new


def test_a_journal_that_is_cut_off_anywhere(tree: Tree) -> None:
    for size in range(len(tree.whole)):
        tree.check_refused(tree.whole[:size])


@pytest.mark.parametrize("size", [1, 2, 8, 64, 200])
def test_a_journal_with_a_hole(tree: Tree, size: int) -> None:
    """What a power cut leaves of a file whose length was written before its blocks."""
    refused = 0
    for start in range(len(tree.whole) - size + 1):
        torn = tree.whole[:start] + bytes(size) + tree.whole[start + size :]
        if torn != tree.whole:
            tree.check_refused(torn)
            refused += 1
    assert refused > len(tree.whole) // 2
    tree.check_refused(bytes(len(tree.whole)))


@pytest.mark.parametrize("size", [1, 16, 64, 128])
def test_a_journal_with_two_blocks_in_each_others_place(tree: Tree, size: int) -> None:
    """At any place: in the bytes of an edit nothing but the CRC tells."""
    whole = tree.whole
    refused = 0
    for start in range(len(whole) - 2 * size + 1):
        middle, end = start + size, start + 2 * size
        torn = whole[:start] + whole[middle:end] + whole[start:middle] + whole[end:]
        if torn != whole:
            tree.check_refused(torn)
            refused += 1
    assert refused > len(whole) // 2


def test_a_journal_with_records_in_each_others_place(tree: Tree) -> None:
    """Each of them whole."""
    whole, size = tree.whole, 16 + 128
    one, other, *_ = (at for at in range(len(whole)) if whole[at : at + 4] == b"EDIT")
    torn = whole[:one] + whole[other:][:size] + whole[one:][:size] + whole[other + size :]
    assert len(torn) == len(whole)
    tree.check_refused(torn)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_journal_of_another_number_of_files(tree: Tree, count: int) -> None:
    tree.check_refused(over(bytearray(tree.whole[:-12]), count))


def test_a_journal_with_a_record_that_has_no_end(tree: Tree) -> None:
    records = bytearray(tree.whole[:-12])
    add_file(records, b"c", os.stat(tree.root / "c").st_ino, 400)
    tree.check_refused(over(records, 3))


# -- a journal that does not stay in memory --------------------------------------------------------

LARGE = 300_000  # bytes of an edit; four of them are more than a journal holds in memory


def planned(made: Journal, root: Path, name: str, edits: int) -> None:
    """As far as its end, which is another call."""
    made.begin(name.encode(), os.stat(root / name))
    for n in range(edits):
        made.edit(n, name.encode() * LARGE)


def in_file(path: Path) -> list[tuple[bytes, int]]:
    """The files of a journal, and how many edits each has."""
    found: list[tuple[bytes, int]] = []
    with path.open("rb") as file:
        for kind, content in journals._records(file):
            if kind == b"FILE":
                found.append((content[0], 0))
            elif kind == b"EDIT":
                found[-1] = (found[-1][0], found[-1][1] + 1)
    return found


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[Path, Journal]]:
    """A folder with files a to d, and a journal over it."""
    for name in "abcd":
        (tmp_path / name).write_bytes(bytes(LARGE + 100))
    made = Journal(os.fsencode(tmp_path) + b"/" + FOLDER + b"/1-1")
    yield tmp_path, made
    made.close()


@pytest.mark.parametrize("first", [0, 1, 4, 5])
@pytest.mark.parametrize("forgotten", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("last", [0, 5])
def test_a_file_that_is_forgotten(
    large: tuple[Path, Journal], first: int, forgotten: int, last: int
) -> None:
    """Before, after and while the journal became a file: nothing of it is kept."""
    root, made = large
    for name, edits in (("a", first), ("b", forgotten), ("c", forgotten), ("d", last)):
        planned(made, root, name, edits)
        if name in "bc":
            made.forget()
        else:
            made.end(os.open(root / name, os.O_RDWR), LINE)
    made.commit(False)
    assert in_file(Path(os.fsdecode(made.path))) == [(b"a", first), (b"d", last)]
    assert made.carry_out(os.fsencode(root), False) == set()
    for name, edits in (("a", first), ("b", 0), ("c", 0), ("d", last)):
        changed = LARGE + edits - 1 if edits else 0
        data = (root / name).read_bytes()
        assert data == (name.encode() * changed).ljust(LARGE + 100, b"\0")


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows longer: a write past that takes a part, or fails (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [*range(LARGE // 2, 9 * LARGE, LARGE // 2)])
@pytest.mark.parametrize("edits", [(1, 9, 1, 1), (3, 3, 0, 1), (1, 3, 1, 1), (5, 5, 1, 0)], ids=str)
def test_a_file_for_which_a_journal_has_no_room(
    large: tuple[Path, Journal], edits: tuple[int, ...], room: int
) -> None:
    """It is forgotten, and the others are as if it had never been: in the file, where the next run
    would read them, and when they are carried out."""
    root, made = large
    done = []
    with files_of_at_most(room):
        for name, n in zip("abcd", edits, strict=True):
            try:
                planned(made, root, name, n)
                made.end(os.open(root / name, os.O_RDWR), LINE)
            except OSError:
                made.forget()
            else:
                done.append((name.encode(), n))
        assert made.count == len(done)
        try:
            made.commit(False)
        except OSError:
            made.close()
            assert not os.path.exists(made.path)
            return
    assert in_file(Path(os.fsdecode(made.path))) == done
    assert made.carry_out(os.fsencode(root), False) == set()
    for name, n in zip("abcd", edits, strict=True):
        changed = LARGE + n - 1 if n and (name.encode(), n) in done else 0
        assert (root / name).read_bytes() == (name.encode() * changed).ljust(LARGE + 100, b"\0")
