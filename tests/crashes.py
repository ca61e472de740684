"""SIGKILL at any moment, then the same command again: the bytes of an undisturbed run.

    python tests/crashes.py [--kills 200] [--seed N] [--folder /dev/shm]

Each round kills a copy or a patch of a tree of real and made files a few times, looks at the disk
right after each kill, lets the same command finish, and compares every file. What is killed: the
parent alone, its whole process group, or one worker. Most kills wait for what can be seen on the
disk, so that they fall inside a run on any machine; some fall at a random time.
tests/test_crash.py runs a short version.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from binascii import crc32
from pathlib import Path
from typing import Any

import corpus
import dcmveil
from build import EXPLICIT_BE, JPEG_BASELINE, E, Fragments, Item, encode, part10, sample_elements
from faces import DCMVEIL, children, environment

KEY = bytes(range(32))
SECONDS = 600  # a run that takes longer hangs
JOURNALS = ".dcmveil-journal"
TEMPORARIES = ".dcmveil-tmp"
OURS = ".dcmveil-"
WORKERS = 3
BATCH = 64  # files a journal at most, as in trees/batches.py
Tree = dict[str, str]  # relative path -> digest of the bytes


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def elements_with(number: int, pixels: E | None = None) -> list[E]:
    """The sample with UIDs of its own, and other pixels."""
    replaced = {
        0x00080018: E(0x00080018, "UI", f"1.2.826.0.1.3680043.9.7.20240229.1.4.{10000 + number}"),
        0x0020000E: E(0x0020000E, "UI", f"1.2.826.0.1.3680043.9.7.20240229.{number // 40}"),
        0x7FE00010: pixels,
    }
    made = [replaced.get(e.tag) or e for e in sample_elements() if isinstance(e, E)]
    return [e for e in made if e.tag <= 0x7FE00010]


def spread_item(number: int, data: bytes) -> Item:
    """Changed UIDs with so much between them that each is a write of its own."""
    return Item([E(0x00080018, "UI", f"1.2.826.0.1.3680043.9.7.1.{number}"),
                 E(0x00283006, "OW", data)])  # fmt: skip


def make_tree(root: Path, raw: bool, real: bool, scale: int) -> None:
    """Files of every kind that a run meets. `raw`: also data sets without preamble, where a second
    run cannot be recognised. `real`: also the corpus."""

    def put(name: str, data: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    for name, path in corpus.files() if real else ():
        size = path.stat().st_size
        if name.startswith("pydicom/") and size < 1 << 20:
            data = path.read_bytes()
            if raw or data[128:132] == b"DICM":
                put(f"corpus/{name}", data)
    noise = random.Random(5).randbytes(1 << 20)
    for n in range(60 * scale):
        put(f"small/{n % 7}/{n}.dcm", part10(elements_with(n)))
        if raw:
            encoding = "explicit-le" if n % 2 else "implicit-le"
            put(f"raw/{n % 5}/{n}", encode(elements_with(1000 + n), encoding))
    for n in range(10 * scale):
        put(f"big endian/{n}.dcm", part10(elements_with(2000 + n), EXPLICIT_BE))
    for n in range(scale):
        put(f"frames/{n}.dcm", part10(elements_with(3000 + n, E(0x7FE00010, "OW", noise * 3))))
        parts = [b"", *(noise[i : i + 2048] for i in range(0, 500 * 2048, 2048))]
        pixels = E(0x7FE00010, "OB", Fragments(parts))
        items = [spread_item(500 * n + i, noise[i : i + 6000]) for i in range(500)]
        spread = [*elements_with(5000 + n), E(0x00283010, "SQ", items)]
        put(f"spread/{n}.dcm", part10(sorted(spread, key=lambda e: e.tag)))
        put(f"fragments/{n}.dcm", part10(elements_with(4000 + n, pixels), JPEG_BASELINE))


def files_of(root: Path) -> list[str]:
    """Every file under root but those in the folders of journals and of temporary files."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in (JOURNALS, TEMPORARIES)]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


def read_tree(root: Path) -> Tree:
    return {name: digest((root / name).read_bytes()) for name in files_of(root)}


def leftovers(root: Path) -> list[str]:
    """What of ours stands in a folder, and must not after a run that has ended."""
    found = []
    for folder, folders, names in os.walk(root):
        found += [os.path.join(folder, n) for n in [*folders, *names] if n.startswith(OURS)]
    return found


def whole_journals(root: Path) -> dict[str, list[tuple[int, bytes]]]:
    """path -> (offset, new bytes) that a journal which is whole is about to write."""
    covered: dict[str, list[tuple[int, bytes]]] = {}
    for path in (root / JOURNALS).glob("*"):
        with contextlib.suppress(struct.error, FileNotFoundError):
            covered.update(_journal(path.read_bytes()))
    return covered


def _journal(data: bytes) -> dict[str, list[tuple[int, bytes]]]:
    """The edits by file; {} for one that was cut off. By the docs, without the code."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    edits: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        kind, at = data[at : at + 4], at + 4
        if kind == b"FILE":
            (n,) = struct.unpack_from("<H", data, at)
            edits = found[os.fsdecode(data[at + 2 : at + 2 + n])] = []
            at += 2 + n + 16
        elif kind == b"EDIT":
            offset, n = struct.unpack_from("<QI", data, at)
            edits.append((offset, data[at + 12 : at + 12 + n]))
            at += 12 + n
        elif kind == b"DONE":
            (n,) = struct.unpack_from("<I", data, at)
            at += 4 + n
        elif kind == b"OVER":
            crc_of_all = struct.pack("<I", crc32(data[: at + 4]))
            return found if data[at + 4 : at + 8] == crc_of_all else {}
        else:
            return {}
    return {}


class Crashes:
    """The rounds of one kind of run.

    command  "copy" or "patch"
    raw      with raw data sets, and so with a report; without: the plain command
    keep     outputs are called as inputs. Else by their UIDs, and without the corpus: there files
             that differ have the same UIDs, and which of them gets the name depends on the order
    """

    def __init__(
        self, folder: Path, command: str, *, raw: bool, keep: bool = True, seed: int, scale: int = 4
    ) -> None:
        self.folder = folder
        self.command = command
        self.raw = raw
        self.keep = keep
        self.random = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.kills = 0
        self.source = folder / "source"
        self.place = folder / "place"  # what a run writes to
        self.report = folder / "report.jsonl"
        self.key = folder / "key"
        dcmveil.write_key(self.key, KEY)
        make_tree(self.source, raw, keep, scale)
        self.old = read_tree(self.source)
        self._undisturbed(scale)

    # -- one undisturbed run -----------------------------------------------------------------

    def _undisturbed(self, scale: int) -> None:
        self._begin()
        start = time.monotonic()
        self.status, _ = self._finish()
        self.seconds = time.monotonic() - start
        self.new = read_tree(self.place)
        assert not leftovers(self.place), leftovers(self.place)
        assert sum(self.old.get(name) != new for name, new in self.new.items()) > 50 * scale
        self._begin()
        assert self._finish()[0] == self.status
        assert read_tree(self.place) == self.new, "two undisturbed runs differ"

    def _begin(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.report.unlink(missing_ok=True)
        if self.command == "patch":
            shutil.copytree(self.source, self.place)

    def arguments(self, jobs: int) -> list[str]:
        if self.command == "copy":
            command = ["copy", str(self.source), str(self.place)]
            command += ["--keep-names"] if self.keep else []
        else:
            command = ["patch", str(self.place)]
        if self.raw:
            command += ["--report", str(self.report), "--resume"]
        return [DCMVEIL, *command, "-j", str(jobs), "--key-file", str(self.key), "--quiet"]

    def _start(self, jobs: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.arguments(jobs), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=environment(), start_new_session=True,
        )  # fmt: skip

    def _finish(self, jobs: int = 2) -> tuple[int, str]:
        child = self._start(jobs)
        _, err = child.communicate(timeout=SECONDS)
        return child.returncode, err.decode()

    # -- kills -------------------------------------------------------------------------------

    def round(self) -> None:
        """A few kills on the way, then the same command to its end."""
        self._begin()
        self._done = 0  # files of which something is on the disk
        for _ in range(self.random.choice((1, 2, 2, 4))):
            self._kill()
        status, err = self._finish(self.random.choice((1, 2)))
        assert status == self.status, (status, err)
        assert not leftovers(self.place), leftovers(self.place)
        assert read_tree(self.place) == self.new
        if self.command == "copy":
            assert read_tree(self.source) == self.old
        self.counts["rounds"] += 1

    @property
    def inside(self) -> int:
        """Kills of a run that was at work on files."""
        return sum(count for what, count in self.counts.items() if ", inside" in what)

    def _kill(self) -> None:
        jobs = self.random.choice((1, 2, WORKERS))
        whom = self.random.choice(("parent", "group", "worker") if jobs > 1 else ("parent",))
        before = self._done
        stood = self._in_work() if self.random.random() < 0.75 else None
        child = self._start(jobs)
        try:
            if stood is not None:
                aimed = self._await_work(child, stood)
            else:
                aimed = False
                share = 0.2 + self._left() / len(self.new)
                time.sleep(self.random.uniform(0, self.seconds * share))
            over = child.poll() is not None
            if whom == "worker":
                whom += self._kill_worker(child)
            else:
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if whom == "group" else os.kill)(child.pid, signal.SIGKILL)
            child.wait(SECONDS)
        finally:
            assert child.stderr
            child.stderr.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL) if child.poll() is None else None
        if not whom.startswith("worker"):
            over = child.returncode != -signal.SIGKILL  # it may have ended right before
        self.kills += 1
        self._look()
        begun = aimed or self._done != before
        when = "after its end" if over else "inside" if begun else "before the first file"
        self.counts[f"{whom}, {when}" + ", aimed" * aimed] += 1

    def _left(self) -> int:
        """How many files the next run treats, about."""
        again = self.command == "copy" and not self.raw  # to compare with the outputs there are
        return len(self.new) if again else max(1, len(self.new) - self._done)

    def _in_work(self) -> set[str]:
        """What shows that files are being treated: temporary files, or journals of something. It is
        gone once the files have their names, or stand in the report."""
        if self.command == "copy":
            inside = os.walk(self.place / TEMPORARIES)
            return {os.path.join(folder, name) for folder, _, names in inside for name in names}
        found = set()
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self.place / JOURNALS) as there,
        ):
            for entry in there:
                with contextlib.suppress(FileNotFoundError):  # discarded since
                    with open(entry.path, "rb") as file:
                        first = file.read(64)
                    if first.startswith(b"FILE"):  # written over, it is of another file
                        found.add(f"{entry.name} {first!r}")
        return found

    def _await_work(self, child: subprocess.Popen[bytes], stood: set[str]) -> bool:
        """Until a number of files or batches was begun, or was done, and a moment more. Only what
        the disk shows counts: how long it takes depends on the machine and on what else it does."""
        left = self._left()
        wanted = self.random.randint(1, left if self.command == "copy" else max(1, left // BATCH))
        begun = self.random.random() < 0.7  # else done
        seen: set[str] = set()
        end = time.monotonic() + SECONDS
        while child.poll() is None and time.monotonic() < end:
            now = self._in_work() - stood
            seen |= now
            if len(seen if begun else seen - now) >= wanted:
                time.sleep(self.random.uniform(0, 0.004))
                return True
            time.sleep(0.0002)
        return False

    def _kill_worker(self, child: subprocess.Popen[bytes]) -> str:
        told = children(child.pid)
        if not told:  # not started yet, or over
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            return " (the parent: there was none)"
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.random.choice(told), signal.SIGKILL)
        return ""

    def _look(self) -> None:
        """What stands on the disk right after a kill; a worker may still be at its last file."""
        mixed = {}
        self._done = len(self._in_work()) if self.command == "copy" else 0
        for name in files_of(self.place) if self.place.is_dir() else ():
            data = (self.place / name).read_bytes()
            if digest(data) == self.new[name]:
                self._done += self.command == "copy" or self.old[name] != self.new[name]
            elif self.command == "copy" or digest(data) != self.old[name]:
                mixed[name] = data
        assert self.command == "patch" or not mixed, list(mixed)
        covered = whole_journals(self.place)
        for name, data in mixed.items():
            assert name in covered, name
            whole = bytearray(data)
            for offset, new in covered[name]:
                whole[offset : offset + len(new)] = new
            assert digest(bytes(whole)) == self.new[name], name
            self.counts["file met half patched, with a journal"] += 1


KINDS: dict[str, dict[str, Any]] = {  # name -> options of Crashes
    "copy, with a report": {"command": "copy", "raw": True},
    "copy, named by UIDs, with a report": {"command": "copy", "raw": True, "keep": False},
    "copy, without a report": {"command": "copy", "raw": False},
    "patch, with a report": {"command": "patch", "raw": True},
    "patch, without a report": {"command": "patch", "raw": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="of copy, and of patch")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    for number, (kind, options) in enumerate(KINDS.items()):
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            crashes = Crashes(Path(folder), **options, seed=arguments.seed + number)
            print(f"{kind}: {len(crashes.old)} files, {crashes.seconds:.2f} s", flush=True)
            like = [one for one in KINDS.values() if one["command"] == crashes.command]
            while crashes.kills * len(like) < arguments.kills:
                try:
                    crashes.round()
                except BaseException:
                    print(f"  failed after {crashes.kills} kills", file=sys.stderr)
                    raise
            rounds = crashes.counts.pop("rounds")
            seconds = time.monotonic() - start
            print(f"  {crashes.kills} kills, {rounds} rounds, {seconds:.0f} s; every file is equal")
            for what, count in sorted(crashes.counts.items()):
                print(f"  {count:5} x {what}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
