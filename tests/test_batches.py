"""Batches of ordinary files, treated in one go: where they end, and what they leave then."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from both_ways import PROFILES, veil_of
from build import E, part10
from dcmveil import Veil, load_pseudonyms
from dcmveil.faces.files import KernelCopy
from dcmveil.faces.journal import Journal, _records
from dcmveil.faces.names import Names
from dcmveil.faces.system import OpenFiles, TemporaryPaths
from dcmveil.trees import StopFlag
from dcmveil.trees.record import Counts
from folders import KEY, EnoughError, instance, write
from made_files import not_ordinary

pytestmark = pytest.mark.usefixtures("no_descriptor_stays_open")
ACTS = pytest.mark.parametrize("act", ["plan", "copy"])
LONG = 65 << 20  # bytes that the kernel is not given at once
GOOD = {f"{i}": instance(i, pixels=bytes(i)) for i in range(2, 12, 2)}


class Batch:
    """Files in a folder, and all that a worker has for them."""

    def __init__(self, place: Path, files: dict[str, bytes], act: str) -> None:
        self.act = act
        self.place = place
        self.files = files
        self.root = os.fsencode(write(place / "in", files))
        self.out = place / "out"
        self.out.mkdir()
        self.veil = Veil(key=KEY)
        self.counts = Counts(self.veil.ordinary(), "a run")
        self.journal = Journal(os.path.join(self.root, b"journal"))
        self.names: Any = Names(key=KEY, keep=True)
        self.kernel: Callable[[int, int, int], int] = KernelCopy().bulk
        self.finish: Callable[[int, int], None] | None = None
        self.temporaries = TemporaryPaths(os.fsencode(self.out))
        self.stop = StopFlag()
        self.made: list[Any] = []
        self.batch = [(name.encode(), "") for name in files]
        self.open = OpenFiles(self.root, self.batch, os.O_RDWR, 0)

    def close(self) -> None:
        self.open.close()
        self.temporaries.close()
        self.journal.close()

    def pass_on(self, *most: int) -> None:
        ordinary = self.counts.ordinary
        if self.act == "plan":
            ordinary.plan_batch(
                self.open, self.batch, self.journal, self.counts, self.stop, self.made, *most
            )
        else:
            ordinary.copy_batch(
                self.open, self.batch, self.temporaries, self.names, self.kernel, self.finish,
                self.counts, self.stop, self.made, *most,
            )  # fmt: skip

    def check(self, *names: str) -> None:
        """These were done, and nothing was left of others."""
        assert [relative.decode() for relative, *_ in self.made] == list(names)
        if self.act == "copy":
            made = [Path(os.fsdecode(temporary)) for _, temporary, *_ in self.made]
            assert sorted(made) == sorted(self.out.iterdir())
            for name, path, (*_, output, size, warnings) in zip(
                names, made, self.made, strict=True
            ):
                new = path.read_bytes()
                assert new == self.veil.bytes(self.files[name])
                assert (output, size, warnings) == (name.encode(), len(new), None)
            return
        assert self.made == [
            (name.encode(), b"", b"", len(self.files[name]), None) for name in names
        ]
        assert self.journal.count == len(names)
        self.journal.commit(False)
        with open(self.journal.path, "rb") as file:
            told = [content[0] for kind, content in _records(file) if kind == b"FILE"]
        assert told == [name.encode() for name in names]
        assert self.journal.carry_out(self.root, False) == set()
        for name, data in self.files.items():
            new = (self.place / "in" / name).read_bytes()
            assert new == (self.veil.bytes(data) if name in names else data)


@pytest.fixture
def batch_of(tmp_path: Path) -> Iterator[Callable[[dict[str, bytes], str], Batch]]:
    made: list[Batch] = []

    def make(files: dict[str, bytes], act: str) -> Batch:
        made.append(Batch(tmp_path, files, act))
        return made[-1]

    yield make
    for batch in made:
        batch.close()


Make = Callable[[dict[str, bytes], str], Batch]


@ACTS
def test_all_of_them(batch_of: Make, act: str) -> None:
    batch = batch_of(GOOD, act)
    batch.pass_on()
    batch.check(*GOOD)
    given = [batch.open[number] < 0 for number in range(len(GOOD))]
    assert given == [act == "plan"] * len(GOOD)  # to the journal
    batch.pass_on()
    assert len(batch.made) == len(GOOD)


@ACTS
@pytest.mark.parametrize("name", not_ordinary())
def test_up_to_one_that_is_not_ordinary(batch_of: Make, act: str, name: str) -> None:
    files = {"1": GOOD["2"], "2": not_ordinary()[name], "3": GOOD["4"]}
    batch = batch_of(files, act)
    for _ in range(2):
        batch.pass_on()
        assert len(batch.made) == 1
    batch.check("1")
    assert batch.open[1] >= 0


@ACTS
def test_past_one_that_was_done_by_itself(batch_of: Make, act: str) -> None:
    """It goes on behind what is in `made`."""
    batch = batch_of(GOOD, act)
    batch.pass_on(1)
    batch.made.append((b"4", b"", b"", 0, None))
    batch.pass_on(2)
    assert [relative for relative, *_ in batch.made] == [b"2", b"4", b"6", b"8"]
    del batch.made[1]
    batch.check("2", "6", "8")


@ACTS
@pytest.mark.parametrize("most", [0, 1, 3, 99])
def test_no_more_than_asked_for(batch_of: Make, act: str, most: int) -> None:
    batch = batch_of(GOOD, act)
    batch.pass_on(most)
    batch.check(*list(GOOD)[:most])


@ACTS
def test_one_that_could_not_be_opened(batch_of: Make, act: str) -> None:
    batch = batch_of(GOOD, act)
    os.close(batch.open[1])
    batch.open[1] = -1
    batch.pass_on()
    batch.check("2")


@ACTS
def test_a_run_that_is_to_stop(batch_of: Make, act: str) -> None:
    batch = batch_of(GOOD, act)
    look = batch.counts.look

    def looked() -> None:
        batch.stop.set()
        look()

    batch.counts.look = looked  # type: ignore[method-assign]
    batch.pass_on()
    batch.check("2")


@ACTS
@pytest.mark.parametrize("at", [1, 2])
def test_an_error_while_it_is_told(batch_of: Make, act: str, at: int) -> None:
    """Of whatever kind: it goes through, and nothing stays of the file at hand."""
    files = {f"{i}": instance(i, series=i) for i in range(4)}  # each of which is looked at
    batch = batch_of(files, act)
    look, count = batch.counts.look, 0

    def enough() -> None:
        nonlocal count
        count += 1
        if count == at:
            raise EnoughError
        look()

    batch.counts.look = enough  # type: ignore[method-assign]
    with pytest.raises(EnoughError):
        batch.pass_on()
    batch.check(*list(files)[: at - 1])


@pytest.mark.parametrize("what", ["kernel", "finish", "names"])
def test_an_error_while_it_is_copied(batch_of: Make, what: str) -> None:
    files = {"1": GOOD["2"], "2": instance(7, pixels=bytes(LONG)), "3": GOOD["4"]}
    batch = batch_of(files, "copy")

    calls: list[object] = []

    def enough(*_: object) -> int:
        calls.append(_)
        if what == "kernel" or len(calls) == 2:
            raise EnoughError
        return 0

    class NoNames:
        def around_instance(self, report: Any) -> None: ...

        def name(self, report: Any, relative: bytes) -> bytes:
            enough()
            return relative

    if what == "kernel":
        batch.kernel = enough
    elif what == "finish":
        batch.finish = enough  # type: ignore[assignment]
    else:
        batch.names = NoNames()
    with pytest.raises(EnoughError):
        batch.pass_on()
    batch.check("1")


def long(number: int, size: int = 600 << 10) -> bytes:
    """A file with bulk of its own, and with padding behind that."""
    pixels = random.Random(number).randbytes(size)
    return instance(number, pixels=pixels, more=[E(0xFFFCFFFC, "OB", b"secret")])


_KEPT = [(0x00281201, "OW"), (0x00660016, "OF"), (0x7FE00008, "OF")]
_BLANKED = [0x00321032, 0x00700084]  # which stand between them


def test_bulk_of_many_files(batch_of: Make) -> None:
    """Short ones between them, a longer one, and one with changes between its bulk."""
    files = {f"{i:02}": long(i) if i % 3 else instance(i) for i in range(24)}
    files["20"] = long(20, 5 << 20)
    parts = [E(tag, vr, bytes([i]) * (300 << 10)) for i, (tag, vr) in enumerate(_KEPT)]
    files["21"] = instance(21, more=[*parts, *(E(tag, "PN", "DOE^J") for tag in _BLANKED)])
    batch = batch_of(files, "copy")
    batch.pass_on()
    batch.check(*files)


@pytest.mark.parametrize("at", [0, 1, 5])
def test_an_output_that_is_refused_when_it_is_whole(batch_of: Make, at: int) -> None:
    files = {f"{i:02}": long(i) for i in range(6)}
    batch = batch_of(files, "copy")
    seen: list[int] = []

    def refuse(src: int, dst: int) -> None:
        assert os.fstat(src).st_size == os.fstat(dst).st_size
        seen.append(dst)
        if len(seen) == at + 1:
            raise EnoughError

    batch.finish = refuse
    with pytest.raises(EnoughError):
        batch.pass_on()
    batch.check(*list(files)[:at])


@pytest.mark.parametrize("template", [
    None, "{PatientID}/{SOPInstanceUID}", "x{SOPInstanceUID}-{SeriesInstanceUID}", "{Mac}/a",
    "{SOPInstanceUID}/b", "{SOPInstanceUID}{SOPInstanceUID}", "{PatientID}{SOPInstanceUID}{Mac}",
    "c", "{StudyInstanceUID}/d", "y" * 200 + "{SOPInstanceUID}",
])  # fmt: skip
def test_names_of_a_batch(batch_of: Make, tmp_path: Path, template: str | None) -> None:
    """As they are for one file after the other."""
    rows = "".join(f"HOSP-{i:06},P{i},1\n" for i in range(10))
    (tmp_path / "ids.csv").write_text(f"old,new,shift_days\n{rows}")
    table = load_pseudonyms(tmp_path / "ids.csv")
    files = {
        f"{i}": instance(i, study=i // 6, series=i // 3 % 2, patient=f"HOSP-{i // 6:06}")
        for i in range(18)
    }
    files["no UID"] = part10([E(0x00080060, "CS", "MR"), E(0x00100020, "LO", "HOSP-000009")])
    # another patient's in the same study
    files["other"] = instance(1, study=0, series=0, patient="HOSP-000008")
    files["again"] = instance(1, study=0, series=0, patient="HOSP-000000")
    batch = batch_of(files, "copy")
    batch.veil = veil_of(tmp_path, **PROFILES["a site's"], pseudonyms=table)
    batch.counts = Counts(batch.veil.ordinary(), "a run")
    batch.names = Names(template, key=KEY)
    batch.pass_on()
    assert len(batch.made) == len(files)
    names = Names(template, key=KEY)
    for (name, data), (_, _, made, *_) in zip(files.items(), batch.made, strict=True):
        report = batch.veil.stream(io.BytesIO(data), io.BytesIO())
        assert made == names.name(report, name.encode())


def test_what_is_done_once_a_copy_is_written(batch_of: Make) -> None:
    batch = batch_of(GOOD, "copy")
    seen: list[tuple[bytes, bytes]] = []

    def see(src: int, dst: int) -> None:
        seen.append((os.pread(src, 1 << 16, 0), os.pread(dst, 1 << 16, 0)))

    batch.finish = see
    batch.pass_on()
    batch.check(*GOOD)
    assert seen == [(data, batch.veil.bytes(data)) for data in GOOD.values()]


@pytest.mark.parametrize("what", ["a file", "a link", "a folder"])
def test_a_temporary_name_that_is_taken(batch_of: Make, what: str) -> None:
    """By what a kill has left: it is left to the other way, which takes it away."""
    batch = batch_of(GOOD, "copy")
    taken = batch.out / "2.tmp"
    if what == "a file":
        taken.write_bytes(b"half of")
    elif what == "a link":
        taken.symlink_to("nowhere")
    else:
        taken.mkdir()
    before = taken.lstat()
    batch.pass_on()
    assert [relative for relative, *_ in batch.made] == [b"2"]
    assert taken.lstat() == before
    if what == "a file":
        assert taken.read_bytes() == b"half of"


@pytest.mark.parametrize("size", [200, 100 << 10])
@pytest.mark.parametrize("grown", [False, True])
def test_a_file_that_grows_before_its_turn(batch_of: Make, grown: bool, size: int) -> None:
    """A copy has all of it."""
    tail = bytes(range(200)) if grown else b""
    batch = batch_of({"1": GOOD["2"], "2": instance(3, pixels=bytes(size))}, "copy")
    with open(batch.place / "in" / "2", "ab") as file:
        file.write(tail)
    whole = batch.files["2"] + tail
    batch.pass_on()
    (relative, temporary, _, length, _) = batch.made[1]
    assert (relative, length) == (b"2", len(whole))
    assert Path(os.fsdecode(temporary)).read_bytes() == batch.veil.bytes(whole)


@pytest.mark.parametrize("size", [200, 100 << 10])
def test_a_file_that_shrinks_before_its_turn(batch_of: Make, size: int) -> None:
    """It is left to the other way, which says where it is cut off."""
    batch = batch_of({"1": GOOD["2"], "2": instance(3, pixels=bytes(size))}, "copy")
    path = batch.place / "in" / "2"
    os.truncate(path, path.stat().st_size - 10)
    batch.pass_on()
    batch.check("1")


def test_a_file_with_a_second_name(batch_of: Make) -> None:
    batch = batch_of(GOOD, "plan")
    batch.open.close()
    os.link(batch.place / "in" / "4", batch.place / "second")
    batch.open = OpenFiles(batch.root, batch.batch, os.O_RDWR, 0)
    batch.pass_on()
    batch.check("2")


def test_a_journal_that_is_full(batch_of: Make) -> None:
    """More than may stay in memory: the file at hand goes by way of the journal's file."""
    batch = batch_of(GOOD, "plan")
    batch.journal.records += bytes((2 << 20) - 2000)
    before = len(batch.journal.records)
    batch.pass_on()
    count = len(batch.made)
    assert 0 < count < len(GOOD)
    assert before < len(batch.journal.records) <= 2 << 20
    del batch.journal.records[:before]
    batch.check(*list(GOOD)[:count])
