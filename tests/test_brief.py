"""Runs in which nobody asks for each file: most come back brief, and all is as it would have been.

A run is held against others over the same files, with somebody who looks on and with a report.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import dcmveil
from build import DEFLATED, E
from dcmveil import Veil
from dcmveil.trees import Options
from dcmveil.trees.copying import CopyTask
from dcmveil.trees.record import Results
from dcmveil.trees.run import run as run_tree
from dcmveil.trees.walk import walk
from faces import run_forked
from folders import KEY, expected, instance, instances, leftovers, read, write
from made_files import MADE, not_ordinary
from test_counts import site
from test_faults import FAULTS, NOTES

JOBS = pytest.mark.parametrize("jobs", [1, 2])
LEAKS = pytest.mark.usefixtures("no_descriptor_stays_open")
LOOKS = ("nobody", "a batch", "a file", "a report")  # who asks for results
TAKEN = "its output name is taken by a file that is not the same"


@dataclass
class Ran:
    """What a run said."""

    summary: dict[str, Any]
    files: list[tuple[Any, ...]] = field(default_factory=list)
    briefs: int = 0  # rewritten, and only counted
    total: int = 0

    def see(self, results: Results) -> None:
        self.briefs += results.tally.files
        self.total += len(results)
        for one in results.files:
            told = one.outcome, one.reason, one.bytes_in, one.bytes_out, one.warnings
            self.files.append((one.relative, *told))

    def told(self) -> dict[bytes, str]:
        """Outcomes, by path, in order."""
        return {relative: outcome for relative, outcome, *_ in self.files}

    def others(self) -> list[tuple[Any, ...]]:
        """What is told of each file that was not just rewritten."""
        return [file for file in self.files if file[1] != "rewritten"]


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


def in_turn(files: Iterable[str]) -> dict[str, Any]:
    """For a run over these in the order of their names."""
    return {"found": [(name.encode(), "") for name in sorted(files)]}


def check_said(one: Ran, other: Ran) -> None:
    assert one.summary == other.summary
    if one.total and other.total:
        assert one.total == other.total
        assert one.others() == other.others()
    if one.total and other.total and not one.briefs + other.briefs:
        assert one.files == other.files


# -- a tree of everything --------------------------------------------------------------------------


def mixed() -> dict[str, bytes]:
    short = E(0x00200052, "UI", "1.2.3.4.5.6")
    many = {
        f"many/{i}": instance(
            i, study=i // 20, series=i // 10 % 2, patient=f"HOSP-{i // 20:06}",
            more=[] if i % 7 else [short],
        )
        for i in range(180)
    }  # fmt: skip
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
def new(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the files become where names are kept."""
    veil = site(tmp_path_factory.mktemp("new"), keep_file_ids=True)
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
def test_copies(tmp_path: Path, tree: Path, new: dict[str, bytes], name: str, jobs: int) -> None:
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
            done = ran(look, site(tmp_path), tree, target, quarantine=apart, **options)
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


@pytest.mark.parametrize("look", LOOKS)
def test_a_copy_that_is_wrong(
    tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """It is looked at, whoever asks for results."""
    files = {f"{i:02}": instance(10 + i) for i in range(40)}
    root, verify = write(tmp_path / "in", files), CopyTask._verify

    def broken(task: CopyTask, src: int, dst: int) -> None:
        data = os.pread(dst, 1 << 16, 0)
        if data == veil.bytes(files["07"]):
            os.pwrite(dst, b"m", data.index(b"MONOCHROME2"))
        verify(task, src, dst)

    monkeypatch.setattr(CopyTask, "_verify", broken)
    done = ran(look, veil, root, tmp_path / "out", how=in_turn(files), verify=True, keep_names=True)
    outcomes = done.summary["outcomes"]
    assert (outcomes["rewritten"], outcomes["failed"]) == (39, 1)
    assert sorted(read(tmp_path / "out")) == sorted(set(files) - {"07"})


def test_what_reaches_the_disk(tmp_path: Path, veil: Veil, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --durable the same files and folders, whoever asks for results."""
    root = write(tmp_path / "in", instances(70))
    synced: list[str] = []
    fsync = os.fsync

    def see(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", see)
    found = []
    for look in LOOKS:
        target = tmp_path / look
        for _ in range(2):
            ran(look, veil, root, target, durable=True, overwrite=False)
            Path(f"{target}.report").unlink(missing_ok=True)
        inside = [path for path in synced if Path(path).is_relative_to(target)]
        temporary = rf"^{target}/\.dcmveil-tmp/\w+/\d+\.tmp$"
        found.append(
            Counter(re.sub(temporary, "a copy", path).removeprefix(f"{target}") for path in inside)
        )
        synced.clear()
    assert found[0]["a copy"] == 140
    assert len(found[0]) > 70
    assert all(other == found[0] for other in found[1:])


@JOBS
@pytest.mark.parametrize("durable", [False, True])
def test_patches(
    tmp_path: Path, tree: Path, new: dict[str, bytes], durable: bool, jobs: int
) -> None:
    old = read(tree)
    whole = []
    for look in LOOKS:
        root = tmp_path / look
        shutil.copytree(tree, root, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
        os.link(root / "many/7", tmp_path / f"second name, {look}")
        done = ran(
            look,
            site(tmp_path),
            root,
            None,
            jobs=jobs,
            durable=durable,
            quarantine=tmp_path / f"{look}.q",
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
        others = [(relative, outcome) for relative, outcome, *_ in done.others()]
        assert others == [one for one in wanted if one[1] != "rewritten"]
        assert {reason for _, outcome, reason, *_ in done.others() if outcome == "failed"} == {
            TAKEN
        }
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
    assert [relative for relative in order if relative in done.told()] == list(done.told())
    assert done.total == len(order)
    assert 90 < done.briefs < len(order)
    root = tmp_path / "root"
    shutil.copytree(tree, root, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
    order = [relative for relative, _ in walk(os.fsencode(root))]
    done = ran("a batch", veil, root, None, jobs=jobs)
    assert [relative for relative in order if relative in done.told()] == list(done.told())
    assert done.total == len(order)
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
