"""`dcmveil tar` as people run it: real processes, pipes, files, signals and full disks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import dcmveil
from archives import contents, instance, pack, special, tarball, zipped
from faces import DCMVEIL, SECONDS, environment, run, unread, wait_for

KEY = bytes(range(32))
NAME = "SECRETNAME^DOE"
GOOD = [(f"{NAME}/{n}.dcm", instance(n)) for n in range(3)]
BAD = [*GOOD[:2], (f"{NAME}/\x1b[31mbad\n", instance(7)[:-40]), GOOD[2]]
MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def veiled(data: bytes, **options: str) -> bytes:
    out = io.BytesIO()
    dcmveil.Veil(key=KEY).tar(io.BytesIO(data), out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# -- from where to where ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["-"], ["-", "-"]], ids=" ".join)
def test_as_a_filter(tmp_path: Path, key: Path, arguments: list[str]) -> None:
    for data in (tarball(GOOD), pack(tarball(GOOD), "gzip"), pack(tarball(GOOD), "zstd")):
        done = run("tar", *arguments, "--key-file", key, data=data)
        assert (done.code, done.out) == (0, veiled(data))
        assert done.err == "dcmveil: members: 3 rewritten\n"
        to_file = run(
            "tar", "--key-file", key, data=saved(tmp_path / "in", data), to=tmp_path / "out"
        )
        assert (to_file.code, to_file.out) == (0, done.out)


def test_a_zip_is_read_from_a_file(tmp_path: Path, key: Path) -> None:
    source = saved(tmp_path / "in.zip", zipped(GOOD))
    assert run("tar", source, "--key-file", key).out == veiled(zipped(GOOD))
    assert run("tar", "--key-file", key, data=source).out == veiled(zipped(GOOD))
    assert run("tar", "--to", "tar", source, "--key-file", key).out == veiled(tarball(GOOD))
    piped = run("tar", "--key-file", key, data=zipped(GOOD))
    assert (piped.code, piped.out) == (2, b"")
    assert "pipe" in piped.err


ENDINGS = {
    "out.tar": {"to": "tar", "compress": "none"},
    "OUT.TAR.GZ": {"to": "tar", "compress": "gzip"},
    "out.tgz": {"to": "tar", "compress": "gzip"},
    "out.tar.zst": {"to": "tar", "compress": "zstd"},
    "out.zip": {"to": "zip"},
    "out": {},
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_ending_says_the_kind(folder: Path, key: Path, name: str) -> None:
    data = pack(tarball(GOOD), "gzip")
    source = saved(folder.parent / "in.tgz", data)
    done = run("tar", source, folder / name, "--quiet", "--key-file", key)
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert os.listdir(folder) == [name]
    assert (folder / name).read_bytes() == veiled(data, **ENDINGS[name])
    assert source.read_bytes() == data


def test_options_win_over_the_ending(folder: Path, key: Path) -> None:
    source = saved(folder.parent / "in.tar", tarball(GOOD))
    run("tar", source, folder / "a.tar", "--compress", "zstd", "--key-file", key)
    assert (folder / "a.tar").read_bytes().startswith(b"\x28\xb5\x2f\xfd")
    run("tar", source, folder / "b.tar.gz", "--to", "zip", "--key-file", key)
    assert (folder / "b.tar.gz").read_bytes() == veiled(tarball(GOOD), to="zip")


def test_names(tmp_path: Path, key: Path) -> None:
    source = saved(tmp_path / "in.tar", tarball([*GOOD, ("a.txt", b"hello")]))
    kept = run("tar", source, "--keep-names", "--others", "--key-file", key)
    assert list(contents(kept.out)) == [*[name for name, _ in GOOD], "a.txt"]
    assert kept.err == "dcmveil: members: 3 rewritten, 1 copied as they are\n"
    made = run("tar", source, "--names", "x/{SOPInstanceUID}", "--key-file", key)
    assert all(name.startswith("x/2.25.") for name in contents(made.out))
    assert made.err == "dcmveil: members: 3 rewritten, 1 skipped (1 x no DICOM)\n"


def test_the_mode_of_the_output(folder: Path, key: Path) -> None:
    source = saved(folder.parent / "in.tar", tarball(GOOD))
    for mask in (0o022, 0o027):
        subprocess.run(
            [DCMVEIL, "tar", source, folder / "out", "--overwrite", "--quiet", "--key-file", key],
            env=environment(),
            umask=mask,
            check=True,
        )
        assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o666 & ~mask


# -- wrong usage -----------------------------------------------------------------------------------


def test_an_output_that_is_there(folder: Path, key: Path) -> None:
    source = saved(folder.parent / "in.tar", tarball(GOOD))
    target = saved(folder / "out.tar", b"mine")
    done = run("tar", source, target, "--key-file", key)
    assert (done.code, target.read_bytes()) == (2, b"mine")
    assert "--overwrite" in done.err
    assert run("tar", source, target, "--overwrite", "--key-file", key).code == 0
    assert target.read_bytes() == veiled(tarball(GOOD))
    assert os.listdir(folder) == ["out.tar"]


def test_outputs_that_are_no_files(folder: Path, key: Path) -> None:
    source = saved(folder.parent / "in.tar", tarball(GOOD))
    (folder / "link").symlink_to(source)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    for name in ("link", "folder", "fifo"):
        done = run("tar", source, folder / name, "--overwrite", "--key-file", key)
        assert done.code == 2, name
        assert "not a regular file" in done.err
    same = run("tar", source, source, "--overwrite", "--key-file", key)
    assert same.code == 2
    assert source.read_bytes() == tarball(GOOD)
    assert sorted(os.listdir(folder)) == ["fifo", "folder", "link"]


@pytest.mark.parametrize(
    "arguments",
    [["--others"], ["--names", "a", "--keep-names"], ["--names", "{X}"], ["--compress", "xz"],
     ["--to", "zip", "--compress", "zstd"], ["in", "out", "more"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(key: Path, arguments: list[str]) -> None:
    done = run("tar", *arguments, "--key-file", key, data=tarball(GOOD))
    assert (done.code, done.out) == (2, b"")


def test_without_a_key() -> None:
    done = run("tar", data=tarball(GOOD))
    assert (done.code, done.out) == (2, b"")
    assert "key" in done.err


def test_an_input_that_is_not_there(folder: Path, key: Path) -> None:
    done = run("tar", folder / "SECRETNAME.tar", folder / "out.tar", "--key-file", key)
    assert done.code == 1
    assert done.err == "dcmveil: No such file or directory\n"
    assert os.listdir(folder) == []


def test_a_terminal_gets_no_data(key: Path) -> None:
    main, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [DCMVEIL, "tar", "--key-file", key],
            input=tarball(GOOD),
            stdout=terminal,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=SECONDS,
        )
    finally:
        os.close(terminal)
        os.close(main)
    assert done.returncode == 2
    assert b"terminal" in done.stderr


# -- what fails ------------------------------------------------------------------------------------


def test_a_bad_member(folder: Path, key: Path) -> None:
    source = saved(folder.parent / "in.tar", tarball(BAD))
    done = run("tar", source, folder / "out.tar", "--key-file", key)
    assert done.code == 1
    assert len(contents((folder / "out.tar").read_bytes())) == 3
    first, second = done.err.splitlines()
    assert first.startswith("dcmveil: member 3: offset ")
    assert second == "dcmveil: members: 3 rewritten, 1 failed"
    assert "DOE" not in done.err
    assert "SECRETNAME" not in done.err
    quiet = run("tar", "--quiet", source, "--key-file", key)
    assert (quiet.code, quiet.err) == (1, first + "\n")
    assert quiet.out == (folder / "out.tar").read_bytes()


def test_a_report(folder: Path, key: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    source = saved(tmp_path / "in", tarball(BAD))
    done = run("tar", source, folder / "out.tar", "--key-file", key, "--report", report)
    assert done.code == 1
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    *lines, last = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["rewritten", "rewritten", "failed", "rewritten"]
    names = [member.name for member in tarfile.open(folder / "out.tar")]
    assert [f"{line['study']}/{line['series']}/{line['instance']}.dcm" for line in lines
            if line["outcome"] == "rewritten"] == names  # fmt: skip
    assert last["summary"]["failed"] == 1
    assert not last["summary"]["complete"]
    assert "SECRETNAME" not in report.read_text()
    again = run("tar", source, folder / "other.tar", "--key-file", key, "--report", report)
    assert again.code == 2
    assert not (folder / "other.tar").exists()
    paths = run("tar", source, folder / "other.tar", "--key-file", key, "--report-paths",
                "--report", tmp_path / "with paths")  # fmt: skip
    assert paths.code == 1
    assert json.loads((tmp_path / "with paths").read_text().splitlines()[0])["path"] == GOOD[0][0]


def test_names_in_messages_are_asked_for_and_harmless(tmp_path: Path, key: Path) -> None:
    done = run("tar", "--report-paths", "--quiet", "--key-file", key, data=tarball(BAD))
    assert done.err.startswith(rf"dcmveil: member 3 ({NAME}/\x1b[31mbad\n): offset ")
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "zip"])
def test_a_cut_archive_gives_no_output(folder: Path, key: Path, ending: str) -> None:
    source = saved(folder.parent / "in.tar", tarball(GOOD)[:-12000])
    done = run("tar", source, folder / f"out.{ending}", "--key-file", key)
    assert done.code == 1
    assert done.err.startswith("dcmveil: offset ")
    assert "cut off" in done.err
    assert os.listdir(folder) == []
    kept = saved(folder / f"out.{ending}", b"mine")
    assert run("tar", source, kept, "--overwrite", "--key-file", key).code == 1
    assert kept.read_bytes() == b"mine"
    to_stdout = run("tar", "--key-file", key, data=source, to=folder / "redirected")
    assert (to_stdout.code, to_stdout.out) == (1, b"")


def test_what_stands_behind_the_end(folder: Path, key: Path) -> None:
    done = run("tar", "--quiet", "--key-file", key, data=tarball(GOOD) + b"x" * 512)
    assert done.code == 1
    assert done.out == veiled(tarball(GOOD))
    assert done.err == (
        "dcmveil: something stands behind the end of the archive, and was left out\n"
    )


def test_what_is_left_out_is_summed_up(key: Path) -> None:
    data = tarball([special("link", tarfile.SYMTYPE, "SECRETNAME"), *GOOD])
    done = run("tar", "--key-file", key, data=data)
    assert done.err == "dcmveil: members: 3 rewritten, 1 skipped (1 x a symbolic link)\n"


def test_notes_are_summed_up(key: Path) -> None:
    data = tarball([(name, content + b"more") for name, content in GOOD])
    done = run("tar", "--key-file", key, data=data)
    assert done.err.splitlines()[1:] == [
        "dcmveil: note: 3 x bytes after the last element set to zero"
    ]


def test_a_reader_that_stops_early(key: Path) -> None:
    data = tarball([(str(n), instance(n, 100_000)) for n in range(50)])
    with subprocess.Popen(
        [DCMVEIL, "tar", "--key-file", key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        try:
            process.stdin.write(data)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.wait(SECONDS) == 0
        assert process.stderr.read() == b""


# -- killed, and full disks ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_in_the_middle(folder: Path, key: Path, number: signal.Signals) -> None:
    data = tarball(GOOD)
    with subprocess.Popen(
        [DCMVEIL, "tar", "-", folder / "out.tar", "--key-file", key],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        # a test run in the background has it ignored, and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdin
        pipe = process.stdin.fileno()
        process.stdin.write(data[:-12000])
        process.stdin.flush()
        wait_for(lambda: os.listdir(folder) and not unread(pipe))  # it waits for more
        there = os.listdir(folder)
        process.send_signal(number)
        code = process.wait(SECONDS)
    assert [name.startswith(".dcmveil-") for name in there] == [True]
    assert not (folder / "out.tar").exists()
    if number != signal.SIGKILL:
        assert os.listdir(folder) == []
        assert code == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    # and once more, to the end
    done = run("tar", "-", folder / "out.tar", "--key-file", key, data=data)
    assert done.code == 0
    assert (folder / "out.tar").read_bytes() == veiled(data)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
    except FileNotFoundError:
        pytest.skip("there is no mount")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk(small_disk: Path, key: Path) -> None:
    data = tarball([(str(n), instance(n, MIB)) for n in range(12)])
    source = saved(key.parent / "in.tar", data)
    done = run("tar", source, small_disk / "out.tar", "--key-file", key)
    assert done.code == 1
    assert done.err == "dcmveil: No space left on device\n"
    assert os.listdir(small_disk) == []


def test_no_room_for_a_large_member(small_disk: Path, folder: Path, key: Path) -> None:
    source = saved(folder.parent / "in.tar", tarball([("a", instance(1, 20 * MIB)), *GOOD]))
    done = run("tar", source, folder / "out.tar", "--key-file", key, TMPDIR=str(small_disk))
    assert done.code == 1
    assert done.err == "dcmveil: No space left on device\n"
    assert os.listdir(folder) == []


def opened(process: int) -> Iterator[Path]:
    """What its descriptors lead to, also where that has no name any more."""
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            yield link.readlink()


def test_nothing_of_a_large_member_has_a_name(folder: Path, key: Path) -> None:
    """The temporary file is unlinked, and gone with the process."""
    temporary = folder / "tmp"
    temporary.mkdir()
    data = tarball([("a", instance(1, 20 * MIB)), ("b", instance(2))])
    with subprocess.Popen(
        [DCMVEIL, "tar", "--quiet", "--key-file", key],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(TMPDIR=str(temporary)),
    ) as process:
        assert process.stdin
        process.stdin.write(data[: 19 * MIB])
        process.stdin.flush()
        wait_for(lambda: temporary in (path.parent for path in opened(process.pid)))
        assert os.listdir(temporary) == []
        process.kill()
    assert os.listdir(temporary) == []
