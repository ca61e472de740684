"""How a run of the command may end: readers that leave, signals, terminals, and descriptors and
disks that fail."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faces import DCMVEIL, SECONDS, environment, run, shell, unread, wait_for
from samples import MIB, SAMPLE, assert_refused, big

# -- readers that leave, signals, terminals --------------------------------------------------------


@pytest.mark.parametrize("option", [[], ["--atomic"]], ids=["plain", "atomic"])
@pytest.mark.parametrize("read", [0, 1, 100, 100_000])
def test_a_reader_that_leaves(tmp_path: Path, key: Path, option: list[str], read: int) -> None:
    source = tmp_path / "in"
    source.write_bytes(big(4 * MIB))
    with (
        source.open("rb") as src,
        subprocess.Popen(
            [DCMVEIL, "--key-file", str(key), "--quiet", *option],
            stdin=src,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(),
        ) as child,
    ):
        assert child.stdout
        assert child.stderr
        if read:
            child.stdout.read(read)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_a_reader_of_help_that_leaves(key: Path) -> None:
    for command in ("dcmveil --help", "dcmveil key new"):
        done = shell(f"{{ {command}; echo $? >&2; }} | true", key)
        assert (done.returncode, done.stderr) == (0, "0\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_help_that_cannot_be_written(key: Path) -> None:
    done = shell("dcmveil --help > /dev/full", key)
    assert_refused(done.returncode, done.stderr, offset=False)


@pytest.mark.parametrize("option", [[], ["--atomic"]], ids=["plain", "atomic"])
def test_interrupt(tmp_path: Path, key: Path, option: list[str]) -> None:
    out = tmp_path / "out"
    data = big(8 * MIB)
    with (
        out.open("wb") as dst,
        subprocess.Popen(
            [DCMVEIL, "--key-file", str(key), *option],
            stdin=subprocess.PIPE,
            stdout=dst,
            stderr=subprocess.PIPE,
            env=environment(),
            # a test run in the background has it ignored, and hands that on
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as child,
    ):
        assert child.stdin
        assert child.stderr
        child.stdin.write(data[: 4 * MIB])  # more than the pipe holds: it reads by now
        child.stdin.flush()
        if not option:
            wait_for(lambda: out.stat().st_size > 0)
        child.send_signal(signal.SIGINT)
        err = child.stderr.read()
        child.wait(SECONDS)
        child.stdin.close()
    assert child.returncode == 130
    assert err == b""
    assert not out.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_leave_no_half_output(tmp_path: Path, key: Path, number: int) -> None:
    out = tmp_path / "out"
    with (
        out.open("wb") as dst,
        subprocess.Popen(
            [DCMVEIL, "--key-file", str(key)], stdin=subprocess.PIPE, stdout=dst, env=environment()
        ) as child,
    ):
        assert child.stdin
        child.stdin.write(big(8 * MIB)[: 4 * MIB])
        child.stdin.flush()
        wait_for(lambda: out.stat().st_size > 0)
        child.send_signal(number)
        child.wait(SECONDS)
        child.stdin.close()
    assert child.returncode == 128 + number
    assert not out.read_bytes()


@pytest.fixture
def terminal() -> Iterator[int]:
    """The program's side of a new terminal; what it shows is read, and thrown away."""
    ours, theirs = pty.openpty()
    reader = threading.Thread(target=drain, args=(ours,), daemon=True)
    reader.start()
    yield theirs
    os.close(theirs)
    reader.join(SECONDS)
    os.close(ours)


def drain(file: int) -> None:
    try:
        while os.read(file, 4096):
            pass
    except OSError:
        pass  # the other side was closed


def test_a_terminal_as_output(key: Path, terminal: int) -> None:
    done = subprocess.run(
        [DCMVEIL, "--key-file", key],
        input=SAMPLE,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert b"terminal" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_terminal_as_input(terminal: int) -> None:
    done = subprocess.run(
        [DCMVEIL],
        stdin=terminal,
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"usage: dcmveil" in done.stderr


# -- descriptors and disks that fail ---------------------------------------------------------------


def test_a_device_that_is_full(key: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    for data in (SAMPLE, big(4 * MIB)):
        for option in ([], ["--atomic"]):
            done = run("--key-file", key, *option, data=data, to=Path("/dev/full"))
            assert_refused(done.code, done.err, offset=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("option", [[], ["--atomic"]], ids=["plain", "atomic"])
def test_a_disk_that_gets_full(small_disk: Path, key: Path, option: list[str]) -> None:
    out = small_disk / "out.dcm"
    done = run("--key-file", key, *option, data=big(4 * MIB), to=out)
    assert_refused(done.code, done.err, offset=False)
    assert not done.out


def test_a_key_on_a_full_disk(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(MIB - 65536))
    try:
        with open(small_disk / "more", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        pass
    path = small_disk / "new.key"
    done = run("key", "new", path)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_descriptor(key: Path, closed: str) -> None:
    for command in ("dcmveil", "dcmveil --atomic"):
        done = shell(f"{command} {closed}", key)
        assert_refused(done.returncode, done.stderr, offset=False)


def test_output_that_does_not_wait(tmp_path: Path, key: Path) -> None:
    """A pipe in non-blocking mode takes less than it is given; nothing may get lost unsaid."""
    data = big(4 * MIB)
    source = tmp_path / "in"
    source.write_bytes(data)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with source.open("rb") as src:
        child = subprocess.Popen(
            [DCMVEIL, "--key-file", str(key), "--quiet"],
            stdin=src,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    os.close(theirs)
    # nobody reads: the pipe is full, or what does not fit has ended the run
    wait_for(lambda: unread(ours) >= 1 << 15, child)
    got = bytearray()
    while part := os.read(ours, 4096):
        got += part
    os.close(ours)
    _, err = child.communicate(timeout=SECONDS)
    if child.returncode == 0:
        assert len(got) == len(data)
    else:
        assert_refused(child.returncode, err.decode(), offset=False)


def test_input_that_does_not_wait(key: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    try:
        done = subprocess.run(
            [DCMVEIL, "--key-file", key],
            stdin=ours,
            capture_output=True,
            env=environment(),
            timeout=SECONDS,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert_refused(done.returncode, done.stderr.decode(), offset=False)
    assert b"non-blocking" in done.stderr


_AT_THE_END = """
import atexit, sys
atexit.register(lambda: print("asked at the end"))
sys.argv = ["dcmveil", *sys.argv[1:]]
from dcmveil.cli import run
run()
"""


@pytest.mark.parametrize(("arguments", "code"), [(["profile", "list"], 0), (["profile", "no"], 2)])
def test_what_others_want_at_the_end_is_done(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    """Into a file, so that it is the end that writes it."""
    with open(tmp_path / "out", "w+") as out:
        done = subprocess.run(
            [sys.executable, "-c", _AT_THE_END, *arguments], stdout=out, check=False
        )
    assert done.returncode == code
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[-1] == "asked at the end"
    assert (len(lines) > 5) == (code == 0)
