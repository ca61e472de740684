"""Bulk goes from one file to another without the interpreter: inside the kernel where one is a
pipe, else by reading and writing. What comes out is what any other way makes of it."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from build import E, Fragments, part10
from dcmveil import DicomError, Session, Veil
from faces import environment
from preloaded import library

KEY = bytes(range(32))
PIXELS = bytes(range(256)) * 12_000  # some pipes' worth
IMAGE = part10(
    [
        E(0x00100010, "PN", b"CANARY^JANE "),
        E(0x7FE00010, "OW", PIXELS),
        E(0xFFFCFFFC, "OB", b"CANARY"),  # what stands behind bulk is not passed with it
    ]
)


def run(data: bytes, source: str, target: str, folder: Path) -> tuple[int, bytes]:
    """(exit status, output) of a process between two files of these kinds."""
    (folder / "key").write_bytes(KEY)
    (folder / "in").write_bytes(data)
    out = folder / "out"
    reader = "cat in | " if source == "pipe" else ""
    writer = {"pipe": " | cat > out", "file": " > out", "appended": " >> out"}[target]
    if target == "appended":
        out.write_bytes(b"before")
    command = f"{sys.executable} -m dcmveil --quiet --key-file key" + (
        "" if source == "pipe" else " < in"
    )
    script = f"set -o pipefail; {reader}{command}{writer}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=False)
    return done.returncode, out.read_bytes()


@pytest.mark.parametrize("source", ["pipe", "file"])
@pytest.mark.parametrize("target", ["pipe", "file", "appended"])
def test_between_files_of_every_kind(source: str, target: str, tmp_path: Path) -> None:
    status, out = run(IMAGE, source, target, tmp_path)
    assert status == 0
    assert out.removeprefix(b"before") == Veil(key=KEY).bytes(IMAGE)
    assert out.startswith(b"before") == (target == "appended")


@pytest.mark.parametrize("target", ["pipe", "file"])
def test_input_that_ends_inside_the_bulk(target: str, tmp_path: Path) -> None:
    status, out = run(IMAGE[:-1000], "pipe", target, tmp_path)
    assert status == 1
    assert out == b"" if target == "file" else len(out) <= len(IMAGE) - 1000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("redirect", [">", ">>"])  # what is appended to is read and written
def test_output_that_takes_nothing(redirect: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(IMAGE)
    (tmp_path / "key").write_bytes(KEY)
    command = f"cat in | {sys.executable} -m dcmveil --key-file key {redirect} /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


# -- a system that does less than it is asked ------------------------------------------------------

# Between the program and the system, at its standard input and output. HOW says what happens once
# the bulk has begun, as splice, or reading and writing after it was refused, may meet it.
_SYSTEM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int bulk, turns, struck, reads;
typedef ssize_t (*reading)(int, void *, size_t);
typedef ssize_t (*writing)(int, const void *, size_t);
typedef ssize_t (*splicing)(int, off_t *, int, off_t *, size_t, unsigned int);

static int is(const char *how) {
    const char *told = getenv("HOW");
    return told && !strcmp(told, how);
}

/* How many bytes a call may take; 0: it is interrupted. */
static size_t some(const char *call, size_t n) {
    turns++;
    if (is("uneven")) {
        size_t choice[] = {0, n, 7, n / 2 + 1};
        return n < choice[turns % 4] ? n : choice[turns % 4];
    }
    if (struck && ++struck > 2)
        _exit(99);                  /* nobody has looked for the signal */
    if (is(call) && turns > 2 && !struck) {
        struck = 1;
        raise(SIGINT);              /* comes while the call does a part of its work */
        if (!strcmp(call, "write")) {
            struck = 2;             /* the next one would wait for a reader who does not come */
            return n / 2;
        }
    }
    return n < 4096 ? n : 4096;
}

ssize_t read(int file, void *into, size_t n) {
    reading real = (reading) dlsym(RTLD_NEXT, "read");
    if (bulk && file == 0 && ++reads > 24 && bulk <= atoi(getenv("SPLICES")))
        _exit(98);                  /* an interruption is no refusal */
    if (bulk && file == 0 && n && !(n = some("read", n)))
        return errno = EINTR, -1;
    return real(file, into, n);
}

ssize_t write(int file, const void *data, size_t n) {
    writing real = (writing) dlsym(RTLD_NEXT, "write");
    if (bulk && file == 1 && n && !(n = some("write", n)))
        return errno = EINTR, -1;
    return real(file, data, n);
}

ssize_t splice(int from, off_t *a, int to, off_t *b, size_t n, unsigned int flags) {
    splicing real = (splicing) dlsym(RTLD_NEXT, "splice");
    bulk++;
    if (bulk > atoi(getenv("SPLICES")))
        return errno = EINVAL, -1;
    if (!(n = some("splice", n)))
        return errno = EINTR, -1;
    return real(from, a, to, b, n, flags);
}
"""
# how many calls of splice go well before the first is refused
REFUSED = pytest.mark.parametrize("splices", [0, 3, 1_000_000], ids=["at once", "soon", "never"])


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("system"), _SYSTEM)


def run_with(
    system: Path, how: str, splices: int, folder: Path, after: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """The program between two pipes."""
    (folder / "key").write_bytes(KEY)
    with (folder / "in").open("rb") as src:
        return subprocess.run(
            ["bash", "-c", f'cat | LD_PRELOAD="$SYSTEM" "$0" -m dcmveil{after}', sys.executable],
            stdin=src,
            capture_output=True,
            env=environment(
                SYSTEM=str(system),
                HOW=how,
                SPLICES=str(splices),
                DCMVEIL_KEY_FILE=str(folder / "key"),
            ),
            # a test run in the background has it ignored, and hands that on
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            check=False,
        )


@REFUSED
@pytest.mark.parametrize("cut", [0, 1000])
def test_calls_that_do_a_part_or_are_interrupted(
    splices: int, cut: int, system: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(IMAGE[: len(IMAGE) - cut])
    accept = " --accept-truncated" if cut else ""
    done = run_with(system, "uneven", splices, tmp_path, accept)
    assert done.returncode == 0
    veil = Veil(key=KEY, accept_cut_pixels=True)
    assert done.stdout == veil.bytes(IMAGE[: len(IMAGE) - cut])


@pytest.mark.parametrize(
    ("call", "splices"), [("splice", 1_000_000), ("read", 0), ("write", 0)], ids=str
)
def test_a_signal_that_no_call_tells_of(
    call: str, splices: int, system: Path, tmp_path: Path
) -> None:
    """It came while a call was doing something: that says how much, and not that it was stopped."""
    (tmp_path / "in").write_bytes(IMAGE)
    done = run_with(system, call, splices, tmp_path)
    assert (done.returncode, done.stderr) == (130, b"")
    assert done.stdout == Veil(key=KEY).bytes(IMAGE)[: len(done.stdout)]


@REFUSED
def test_a_reader_that_leaves_inside_the_bulk(splices: int, system: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(IMAGE)
    done = run_with(system, "plain", splices, tmp_path, " | head -c 9000; exit ${PIPESTATUS[1]}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == Veil(key=KEY).bytes(IMAGE)[:9000]


# -- files that want to see what is read and written -----------------------------------------------


class Uneven(io.FileIO):
    """Takes and gives less than it is asked for, now and then all."""

    def __init__(self, path: Path, mode: str, seed: int) -> None:
        super().__init__(path, mode)
        self.turns = 0
        self._random = random.Random(seed)

    def _some(self, view: memoryview) -> memoryview:
        self.turns += 1
        return view[: self._random.choice((len(view), len(view), 7, len(view) // 2 + 1))]

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        return super().readinto(self._some(memoryview(buffer)))

    def write(self, data: bytes | memoryview) -> int | None:  # type: ignore[override]
        return super().write(self._some(memoryview(data)))


@pytest.mark.parametrize("cut", [0, 1000])  # the end is inside the pixels, or not
@pytest.mark.parametrize("seed", range(8))
def test_short_reads_and_writes(seed: int, cut: int, tmp_path: Path) -> None:
    veil = Veil(key=KEY, accept_cut_pixels=True)
    data = IMAGE[: len(IMAGE) - cut]
    (tmp_path / "in").write_bytes(data)
    with Uneven(tmp_path / "in", "r", seed) as src, Uneven(tmp_path / "out", "w", seed) as dst:
        report = veil.stream(src, dst)
        assert min(src.turns, dst.turns) > 8
    out = (tmp_path / "out").read_bytes()
    assert out == veil.bytes(data)
    assert b"CANARY" not in out
    assert report.bytes_in == report.bytes_out == len(data)


# -- files in non-blocking mode --------------------------------------------------------------------


def test_an_input_that_stops_inside_the_bulk_without_waiting(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    os.write(theirs, IMAGE[:5000])
    with (
        open(ours, "rb", buffering=0) as src,
        open(tmp_path / "out", "wb", buffering=0) as dst,
        pytest.raises(BlockingIOError, match="nothing to read"),
    ):
        Veil(key=KEY).stream(src, dst)
    os.close(theirs)
    assert (tmp_path / "out").read_bytes() == Veil(key=KEY).bytes(IMAGE)[:5000]


def test_an_output_that_is_full_inside_the_bulk_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(IMAGE)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with (
        open(tmp_path / "in", "rb", buffering=0) as src,
        open(theirs, "wb", buffering=0) as dst,
        pytest.raises(BlockingIOError, match="takes no more"),
    ):
        Veil(key=KEY).stream(src, dst)
    with open(ours, "rb") as file:
        there = file.read()
    assert there == Veil(key=KEY).bytes(IMAGE)[: len(there)]
    assert len(there) >= 1 << 15


# -- bulk that is read with what follows it --------------------------------------------------------


class Counted(io.BytesIO):
    reads = 0

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self.reads += 1
        return super().readinto(buffer)


def test_short_bulk_takes_no_read_of_its_own() -> None:
    frames = [random.Random(4).randbytes(50_000)] * 100
    data = part10(
        [E(0x00100010, "PN", b"CANARY^JANE "), E(0x7FE00010, "OB", Fragments([b"", *frames]))]
    )
    src, out = Counted(data), io.BytesIO()
    veil = Veil(key=KEY)
    with veil.session().room() as room:
        window = len(room)
    veil.stream(src, out)
    assert out.getvalue() == veil.bytes(data)
    assert src.reads <= len(data) // window + 2


def pushed(session: Session, data: bytes, most: int, last: bool) -> bytes:
    """The output of a session that is given everything, what may be skipped too."""
    at, out = 0, []
    while not session.done:
        with session.room() as room:
            n = min(len(room), most, len(data) - at)
            room[:n] = data[at : at + n]
        at += n
        out += [bytes(piece) for piece in session.push(n, last and at == len(data))]
    assert session.report.bytes_in == session.report.bytes_out == len(data)
    return b"".join(out)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("most", [997, 100_000, 1 << 20])
@pytest.mark.parametrize("cut", [0, 8, 18, 1000])  # 18: exactly the end of the pixels
def test_nothing_has_to_be_skipped(most: int, cut: int, last: bool) -> None:
    data = IMAGE[: len(IMAGE) - cut]
    veil = Veil(key=KEY, accept_cut_pixels=True)
    if cut == 8:  # inside the header of what follows
        with pytest.raises(DicomError, match="ends too early"):
            pushed(veil.session(), data, most, last)
        return
    assert pushed(veil.session(), data, most, last) == veil.bytes(data)
    if cut == 1000:
        session = Veil(key=KEY).session()
        for _ in range(2):  # it stays refused
            with pytest.raises(DicomError, match="ends too early"):
                pushed(session, data, most, last)
