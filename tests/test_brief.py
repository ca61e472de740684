"""Runs in which nobody asks for each file: most come back brief, and all is as it would have been.

A run is held against others over the same files, with somebody who looks on and with a report.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import dcmveil
from build import DEFLATED
from dcmveil import Veil
from dcmveil.faces.journal import FOLDER
from dcmveil.faces.records import carry_out
from dcmveil.trees import Options, StopFlag
from dcmveil.trees.patching import MOVED
from dcmveil.trees.run import run as run_tree
from dcmveil.trees.walk import walk
from faces import run_forked
from folders import KEY, EnoughError, Meddler, expected, instance, leftovers, read, records, write
from test_faults import FAULTS, NOTES
from test_ordinary import MADE, PROFILES, not_ordinary, veil_of
from test_records import files_of_at_most
from test_reports import without_seconds

JOBS = pytest.mark.parametrize("jobs", [1, 2])
LEAKS = pytest.mark.usefixtures("no_descriptor_stays_open")
LOOKS = ("nobody", "a batch", "a file", "a report")  # who asks for results
TAKEN = "its output name is taken by a file that is not the same"


@dataclass
class Ran:
    """What a run said."""

    summary: dict[str, Any]
    files: list[tuple[Any, ...]] = field(default_factory=list)
    briefs: int = 0

    def see(self, results: list[Any]) -> None:
        for one in results:
            if isinstance(one, tuple):
                relative, _, _, size, warnings = one
                self.briefs += 1
                self.files.append((relative, "rewritten", "", size, size, warnings))
            else:
                told = one.outcome, one.reason, one.bytes_in, one.bytes_out, one.warnings
                self.files.append((one.relative, *told))

    def outcomes(self) -> list[tuple[bytes, str]]:
        return [(relative, outcome) for relative, outcome, *_ in self.files]


def ran(
    look: str, veil: Veil, source: Path, target: Path | None = None,
    how: dict[str, Any] | None = None, **options: Any,
) -> Ran:  # fmt: skip
    """Who asks for what; how: more of what run() takes."""
    found = Ran({})
    how = ({} if look == "nobody" else {"on_batch": found.see}) | (how or {})
    if look == "a file":
        how["on_file"] = lambda result: None
    if look == "a report":
        options["report"] = Path(f"{target or source}.report")
    summary = run_tree(veil, source, target, Options(**options), **how)
    found.summary = {name: value for name, value in vars(summary).items() if name != "seconds"}
    if look in ("a file", "a report"):
        assert found.briefs == 0
    return found


def check_said(one: Ran, other: Ran) -> None:
    assert one.summary == other.summary
    if one.files and other.files:
        assert one.files == other.files


# -- a tree of everything --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Veil]:
    """A veil of a site that has pseudonyms, so that there are notes of all kinds."""
    place = tmp_path_factory.mktemp("site")
    return lambda **more: veil_of(place, **PROFILES["a site's"], **more)


def mixed() -> dict[str, bytes]:
    many = {
        f"many/{i}": instance(i, study=i // 20, series=i // 10 % 2, patient=f"HOSP-{i // 20:06}")
        for i in range(180)
    }
    raw = {f"raw/{i}": instance(500 + i, preamble=None) for i in range(3)}
    noted = {f"noted/{i}": data for i, (data, _) in enumerate(NOTES.values())}
    faults = {
        f"faults/{i}": data for i, (data, _) in enumerate(FAULTS.values()) if len(data) < 1 << 16
    }
    return {
        **many, **raw, **noted, **faults,
        **{f"made/{name}": data for name, data in MADE.items()},
        **{f"odd/{name}": data for name, data in not_ordinary().items()},
        "large": instance(600, pixels=bytes(range(250)) * 8000),
        "deflated": instance(601, syntax=DEFLATED[0]),
        "cut": instance(602)[:-20],
        "notes.txt": b"notes\n" * 99,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(tmp_path_factory.mktemp("brief") / "in", mixed())
    (root / "link").symlink_to("many/1")
    (root / "many/link").symlink_to("nowhere")
    os.mkfifo(root / "odd/fifo")
    return root


@pytest.fixture(scope="module")
def new(tree: Path, site: Callable[..., Veil]) -> dict[str, bytes]:
    """What the files become where names are kept."""
    veil = site(keep_file_ids=True)
    made = {name: expected(data, veil) for name, data in read(tree).items()}
    return {name: data for name, data in made.items() if data is not None}


COPIES: dict[str, dict[str, Any]] = {
    "default names": {},
    "a template": {"names": "{PatientID}/{Mac}.dcm"},
    "keep names": {"keep_names": True},
    "others": {"keep_names": True, "others": True},
    "a DICOMDIR": {"keep_names": True, "dicomdir": True},
    "overwrite": {"overwrite": True},
    "durable": {"durable": True},
    "durable, overwrite": {"durable": True, "overwrite": True},
    "verify": {"verify": True},
    "times": {"keep_times": True, "names": "{Mac}"},
    "paths": {"report_paths": True},
}


def some_stand(target: Path, outputs: dict[str, bytes]) -> None:
    """Of the outputs there are a third with the same bytes, and others in the way of some."""
    for number, (name, data) in enumerate(sorted(outputs.items())):
        if number % 3 == 0:
            write(target, {name: data})
        elif number % 10 == 1:
            write(target, {name: data[:-1] + b"?"})
        elif number % 10 == 2:
            (target / name).mkdir(parents=True)
        elif number % 10 == 4:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to("nowhere")


@JOBS
@pytest.mark.parametrize("name", COPIES)
def test_copies(
    tmp_path: Path, tree: Path, new: dict[str, bytes], site: Callable[..., Veil],
    name: str, jobs: int,
) -> None:  # fmt: skip
    """Into an empty folder, and into one where something stands; failures are set apart."""
    options = COPIES[name] | {"jobs": jobs}
    outputs: dict[str, bytes] = {}
    for standing in (False, True):
        whole: list[tuple[Ran, dict[str, bytes], dict[str, bytes]]] = []
        for look in LOOKS:
            target = tmp_path / f"{standing} {look}"
            apart = tmp_path / f"{standing} {look}.quarantine"
            target.mkdir()
            some_stand(target, outputs if standing else {})
            done = ran(look, site(), tree, target, quarantine=apart, **options)
            assert leftovers(tmp_path) == []
            whole.append((done, read(target), read(apart)))
            if name == "times":
                times = {path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
                assert times <= {path.lstat().st_mtime_ns for path in tree.rglob("*")} or standing
        first, outputs_of_first, failures = whole[0]
        for other, others, other_failures in whole[1:]:
            check_said(first, other)
            assert others == outputs_of_first
            assert other_failures == failures
        assert first.summary["outcomes"]["failed"] == len(failures)
        replaced = standing and "overwrite" in options
        assert (first.summary["outcomes"]["same"] > 30) == (standing and not replaced)
        # (what is to reach the disk, or may replace, is named one by one)
        one_by_one = options.get("durable") or options.get("overwrite") or standing
        assert whole[1][0].briefs > (0 if one_by_one else 90) or one_by_one
        if not standing:
            outputs = outputs_of_first
            assert len(outputs) > 120
    if options.get("keep_names"):
        not_dicom = set(read(tree)) - set(new) if name == "others" else set()
        for relative, data in outputs.items():
            assert data == new[relative] if relative in new else relative in not_dicom
        left = {relative for relative in new if relative not in outputs}
        assert left == (set() if name == "a DICOMDIR" else {"odd/a DICOMDIR"})


@JOBS
@pytest.mark.parametrize("durable", [False, True])
def test_patches(
    tmp_path: Path, tree: Path, new: dict[str, bytes], site: Callable[..., Veil],
    durable: bool, jobs: int,
) -> None:  # fmt: skip
    old = read(tree)
    whole = []
    for look in LOOKS:
        root = tmp_path / look
        shutil.copytree(tree, root, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
        os.link(root / "many/7", tmp_path / f"second name, {look}")
        done = ran(
            look, site(), root, None, jobs=jobs, durable=durable, quarantine=tmp_path / f"{look}.q"
        )
        assert leftovers(tmp_path) == []
        # no two folders have one order
        done.files.sort()
        whole.append((done, read(root), read(tmp_path / f"{look}.q")))
    first, after, failures = whole[0]
    for other in whole[1:]:
        check_said(first, other[0])
        assert other[1:] == (after, failures)
    assert whole[1][0].briefs > 100
    changed = 0
    for name, data in old.items():
        if after[name] != data:
            assert after[name] == new[name]
            changed += 1
    assert changed > 120
    assert after["many/7"] == old["many/7"]
    assert {name for name, data in new.items() if after[name] != data} == {
        "many/7", *(name for name in new if "deflated" in name)
    }  # fmt: skip


# -- one name for several files --------------------------------------------------------------------


@JOBS
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_the_first_in_the_order_of_the_walk_has_the_name(
    tmp_path: Path, veil: Veil, look: str, overwrite: bool, jobs: int
) -> None:
    """Of files with the same UIDs; those that are equal to it are the same, others fail."""
    files = {f"{i}": instance(10 + i % 40, pixels=bytes([i // 40 % 3] * 64)) for i in range(200)}
    source, target = write(tmp_path / "in", files), tmp_path / "out"
    owners: dict[int, bytes] = {}
    wanted = []
    for relative, _ in walk(os.fsencode(source)):
        number, data = int(relative) % 40, files[relative.decode()]
        if number not in owners:
            owners[number] = data
            outcome = "rewritten"
        else:
            outcome = "same" if owners[number] == data else "failed"
        wanted.append((relative, outcome))
    assert Counter(outcome for _, outcome in wanted) == {
        "rewritten": 40, "same": wanted_same(wanted), "failed": 160 - wanted_same(wanted)
    }  # fmt: skip
    done = ran(look, veil, source, target, overwrite=overwrite, jobs=jobs)
    assert {n: c for n, c in done.summary["outcomes"].items() if c} == Counter(
        outcome for _, outcome in wanted
    )
    if look != "nobody":
        assert done.outcomes() == wanted
        assert {reason for _, _, reason, *_ in done.files} == {"", TAKEN}
    size = len(files["0"])
    count = 200 - done.summary["outcomes"]["failed"]
    assert done.summary["bytes_in"] == done.summary["bytes_out"] == count * size
    assert Counter(read(target).values()) == Counter(veil.bytes(data) for data in owners.values())
    assert leftovers(tmp_path) == []


def wanted_same(wanted: list[tuple[bytes, str]]) -> int:
    return sum(outcome == "same" for _, outcome in wanted)


# -- who is told -----------------------------------------------------------------------------------


@JOBS
def test_each_file_is_told_once_and_in_order(
    tmp_path: Path, tree: Path, veil: Veil, jobs: int
) -> None:
    order = [relative for relative, _ in walk(os.fsencode(tree))]
    done = ran("a batch", veil, tree, tmp_path / "out", jobs=jobs)
    assert [relative for relative, *_ in done.files] == order
    assert 90 < done.briefs < len(order)
    root = tmp_path / "root"
    shutil.copytree(tree, root, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
    order = [relative for relative, _ in walk(os.fsencode(root))]
    done = ran("a batch", veil, root, None, jobs=jobs)
    assert [relative for relative, *_ in done.files] == order
    assert 100 < done.briefs < len(order)


@JOBS
@pytest.mark.parametrize("report", [False, True])
def test_the_command_counts_all_of_them(
    tmp_path: Path, veil: Veil, report: bool, jobs: int
) -> None:
    """In the lines of its progress, and in the last one."""
    files = {f"{i}": instance(10 + i, pixels=bytes(200_000)) for i in range(70)}
    size = len(files["0"]) / 1e6
    root = write(tmp_path / "in", files | {"notes": b"x" * 300_000, "cut": files["0"][:-9]})
    dcmveil.write_key(tmp_path / "key", KEY)
    outcomes = "70 rewritten, 1 skipped (1 not DICOM), 1 failed"
    for number, (arguments, said) in enumerate([
        (("copy", root, tmp_path / "out"), outcomes),
        (("copy", root, tmp_path / "out"), outcomes.replace("rewritten", "same")),
        (("copy", root, tmp_path / "out", "--overwrite"), outcomes),
        (("patch", root), outcomes),
    ]):  # fmt: skip
        more = ("--report", tmp_path / f"{number}") if report else ()
        done = run_forked(tmp_path, b"", *arguments, "--key-file", tmp_path / "key",
                          "-j", str(jobs), "--progress", "plain", *more)  # fmt: skip
        progress = [line for line in done.err.splitlines() if " files, " in line]
        assert progress[-1].startswith(f"dcmveil: 72 files, {70 * size:.0f} MB, ")
        assert f"dcmveil: {said}; {70 * size:.1f} MB in " in done.err


# -- a run that is killed, or cannot write ---------------------------------------------------------

# What a batch has first: notes and UIDs that count, files of one kind in a row, others in between.
ALL_GOOD = {
    **{f"{i:03}": instance(i, study=i // 4, series=i // 2) for i in range(50)},
    **{f"{i:03} {name}": data for i, (name, data) in enumerate(MADE.items())
       if name != "no more than meta"},
    **{f"{i:03} raw": instance(500 + i, preamble=None) for i in (3, 6)},
}  # fmt: skip


def in_turn(files: Iterable[str]) -> dict[str, Any]:
    """For a run over these in the order of their names."""
    return {"found": [(name.encode(), "") for name in sorted(files)]}


def journals_in(root: Path) -> list[bytes]:
    folder = os.path.join(os.fsencode(root), FOLDER)
    return os.listdir(folder) if os.path.isdir(folder) else []


def told(report: Path) -> list[dict[str, Any]]:
    return sorted(without_seconds(records(report)), key=lambda record: str(record["input"]))


def killed(work: Callable[[], object]) -> None:
    """In a child, which must end by itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def die(*_: object) -> set[bytes]:
    os._exit(9)


def die_half_way(root: bytes, records: bytearray, files: list[int], durable: bool) -> set[bytes]:
    try:
        carry_out(root, records[: len(records) // 2], files, durable)
    finally:
        os._exit(9)


DEATHS: dict[str, tuple[str, Callable[..., set[bytes]]]] = {
    "before the first edit": ("Journal.carry_out", die),
    "half-way": ("carry_out", die_half_way),
    "after the last edit": ("discard", die),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("death", DEATHS)
def test_a_run_that_was_killed_is_told_by_the_next(
    tmp_path: Path, site: Callable[..., Veil], monkeypatch: pytest.MonkeyPatch,
    death: str, look: str,
) -> None:  # fmt: skip
    """The one that was killed was brief; of the next one each line is as if nothing had been."""
    root, other = (write(tmp_path / name, ALL_GOOD) for name in ("in", "undisturbed"))
    how = in_turn(ALL_GOOD)
    undisturbed = ran("a report", site(), other, how=how)
    with monkeypatch.context() as patched:
        name, act = DEATHS[death]
        patched.setattr(f"dcmveil.faces.journal.{name}", act)
        killed(lambda: ran("nobody", site(), root, how=how))
    after, now = read(other), read(root)
    journal = {name for name in now if name not in after}
    assert len(journal) == 1
    differs = sum(after[name] != now[name] for name in after)
    first = len(ALL_GOOD) - 32
    assert {
        "before the first edit": differs == len(ALL_GOOD),
        "half-way": first < differs < len(ALL_GOOD),
        "after the last edit": differs == first,
    }[death]
    done = ran(look, site(), root, how=how)
    assert read(root) == after
    assert done.summary == undisturbed.summary
    if look != "nobody":
        assert sorted(done.files) == sorted(undisturbed.files)
    if look == "a report":
        assert told(Path(f"{root}.report")) == told(Path(f"{other}.report"))
    assert leftovers(root) == []


@pytest.mark.parametrize("look", LOOKS)
def test_workers_that_die(
    tmp_path: Path, site: Callable[..., Veil], monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Each with a journal of its batch, which the parent carries out and tells of."""
    root, other = (write(tmp_path / name, ALL_GOOD) for name in ("in", "undisturbed"))
    undisturbed = ran("a batch", site(), other, how=in_turn(ALL_GOOD), jobs=2)
    monkeypatch.setattr("dcmveil.faces.journal.Journal.carry_out", die)
    done = ran(look, site(), root, how=in_turn(ALL_GOOD), jobs=2)
    assert (undisturbed.briefs, done.briefs) == (len(ALL_GOOD) - 2, 0)
    check_said(done, undisturbed)
    assert read(root) == read(other)
    assert leftovers(root) == []


@LEAKS
@pytest.mark.parametrize("look", LOOKS)
def test_a_file_that_is_moved_before_it_is_written(tmp_path: Path, look: str) -> None:
    """It has failed, with its number and bytes; the others are rewritten."""
    files = {f"{i:02}": instance(i + 10) for i in range(40)}
    root = write(tmp_path / "in", files)

    def meddle() -> None:
        (root / "03").rename(tmp_path / "moved")
        with (root / "05").open("ab") as file:
            file.write(b"more")

    veil = Meddler(key=KEY).meddle(20, meddle)
    apart = tmp_path / "apart"
    done = ran(look, veil, root, how=in_turn(files), quarantine=apart)
    outcomes = done.summary["outcomes"]
    assert (outcomes["rewritten"], outcomes["failed"]) == (38, 2)
    assert done.summary["bytes_in"] == done.summary["bytes_out"] == 38 * len(files["00"])
    assert done.summary["fatal"] == ""
    if look != "nobody":
        assert [(relative, reason) for relative, _, reason, *_ in done.files if reason] == [
            (b"03", MOVED), (b"05", MOVED)
        ]  # fmt: skip
    assert (tmp_path / "moved").read_bytes() == files["03"]
    left = {"05": files["05"] + b"more"}
    assert read(apart) == left
    assert read(root) == {
        name: Veil(key=KEY).bytes(data) for name, data in files.items() if name not in ("03", "05")
    } | left  # fmt: skip
    assert leftovers(root) == []


@LEAKS
@pytest.mark.parametrize("look", LOOKS)
def test_edits_that_cannot_be_written(tmp_path: Path, site: Callable[..., Veil], look: str) -> None:
    """All of the batch have failed, since nobody knows how far it came: the next run does."""
    far = instance(700, pixels=bytes(100_000), more=[b"behind the last element"])
    files = ALL_GOOD | {"010 far": far}
    root, other = (write(tmp_path / name, files) for name in ("in", "undisturbed"))
    how = in_turn(name for name in files if len(files[name]) < 30_000 or name == "010 far")
    undisturbed = ran("a report", site(), other, how=how)
    with files_of_at_most(60_000):
        done = ran(look if look != "a report" else "a file", site(), root, how=how)
    assert done.summary["fatal"] == os.strerror(errno.EFBIG)
    assert done.summary["outcomes"]["failed"] == 32
    assert done.summary["bytes_in"] == done.summary["outcomes"]["rewritten"] == 0
    assert len(journals_in(root)) == 1
    done = ran("a report", site(), root, how=how)
    assert done.summary == undisturbed.summary
    assert told(Path(f"{root}.report")) == told(Path(f"{other}.report"))
    assert read(root) == read(other)


@LEAKS
@pytest.mark.parametrize("look", LOOKS[:3])
@JOBS
def test_a_journal_that_cannot_be_written(tmp_path: Path, veil: Veil, look: str, jobs: int) -> None:
    files = {f"{i:02}": instance(i + 10) for i in range(70)}
    root = write(tmp_path / "in", files)
    with files_of_at_most(100):
        done = ran(look, veil, root, how=in_turn(files), jobs=jobs)
    assert done.summary["fatal"] == os.strerror(errno.EFBIG)
    assert done.summary["outcomes"]["rewritten"] == done.summary["bytes_in"] == 0
    assert read(root) == files
    assert leftovers(root) == []
    assert ran(look, veil, root, how=in_turn(files)).summary["outcomes"]["rewritten"] == 70


# -- runs that end early ---------------------------------------------------------------------------


def enough(*_: object) -> None:
    raise EnoughError


def interrupt() -> None:
    raise KeyboardInterrupt


@LEAKS
@JOBS
@pytest.mark.parametrize("command", ["copy", "patch"])
def test_somebody_who_looks_on_has_seen_enough(
    tmp_path: Path, veil: Veil, command: str, jobs: int
) -> None:
    """The first batch is done, the others are not, or are whole too."""
    files = {f"{i:03}": instance(i) for i in range(300)}
    root = write(tmp_path / "in", files)
    target = tmp_path / "out" if command == "copy" else None
    how = in_turn(files) | {"on_batch": enough}
    with pytest.raises(EnoughError):
        run_tree(veil, root, target, Options(jobs=jobs, keep_names=bool(target)), **how)
    if target is None:  # of batches that nobody took: the next run takes them
        assert jobs > 1 or journals_in(root) == []
        ran("nobody", veil, root)
    else:
        assert leftovers(target) == []
        assert sorted(read(target)) == sorted(files)[:32]
        ran("nobody", veil, root, target, keep_names=True)
    assert read(target or root) == {name: veil.bytes(data) for name, data in files.items()}
    assert leftovers(tmp_path) == []


@LEAKS
@pytest.mark.parametrize("command", ["copy", "patch"])
def test_a_run_that_is_interrupted_in_a_file(tmp_path: Path, command: str) -> None:
    files = {f"{i:03}": instance(i) for i in range(70)}
    root = write(tmp_path / "in", files)
    target = tmp_path / "out" if command == "copy" else None
    veil = Meddler(key=KEY).meddle(50, interrupt)
    with pytest.raises(KeyboardInterrupt):
        ran("nobody", veil, root, target, how=in_turn(files), keep_names=bool(target))
    done = {name: veil.bytes(files[name]) for name in sorted(files)[:32]}
    assert read(target or root) == (done if target else files | done)
    assert journals_in(root) == []
    ran("nobody", Veil(key=KEY), root, target, keep_names=bool(target))
    assert read(target or root) == {name: veil.bytes(data) for name, data in files.items()}
    assert leftovers(tmp_path) == []


@LEAKS
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("command", ["copy", "patch"])
def test_a_run_that_is_stopped(tmp_path: Path, command: str, look: str) -> None:
    """After the file in hand; what is done by then is whole, and told."""
    files = {f"{i:03}": instance(100 + i) for i in range(70)}
    root = write(tmp_path / "in", files)
    target = tmp_path / "out" if command == "copy" else None
    stop = StopFlag()
    veil = Meddler(key=KEY).meddle(50, stop.set)
    how = in_turn(files) | {"stop": stop}
    done = ran(look, veil, root, target, how=how, keep_names=bool(target))
    assert done.summary["interrupted"]
    assert done.summary["outcomes"]["rewritten"] == done.summary["bytes_in"] // len(files["000"])
    count = done.summary["outcomes"]["rewritten"]
    assert count in (49, 50)
    made = {name: veil.bytes(files[name]) for name in sorted(files)[:count]}
    assert read(target or root) == (made if target else files | made)
    if look != "nobody":
        assert len(done.files) == count
    assert leftovers(tmp_path) == []
