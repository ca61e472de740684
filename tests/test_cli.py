"""The command line as people run it: real processes, pipes, files, signals and full disks."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import dcmveil
from build import DEFLATED, EXPLICIT_LE, E, part10, sample, sample_elements
from dcmveil import cli
from dcmveil.cli import arguments as arguments_module
from dcmveil.cli import main
from faces import DCMVEIL, SECONDS, environment, run, run_forked, unread, wait_for

KEY = bytes(range(32))
SAMPLE = sample()
# Every value of the sample that could lead to a person or a place.
SECRETS = [
    "DOE", "JOHANNA", "HOSP-004711", "19610704", "ACC-778812", "PACSHEAD", "WARD7MR", "WHITE",
    "Elsewhere", "OPERATOR", "OLD-99812", "SN-332211", "20240229", "1.2.826.0.1.36",
    "Daughter",
]  # fmt: skip
MIB = 1 << 20


@pytest.fixture(scope="module")
def veiled() -> bytes:
    """What the Python interface makes of the sample."""
    return dcmveil.Veil(key=KEY).bytes(SAMPLE)


def big(size: int, cut: int = 0) -> bytes:
    """The sample with native pixel data of `size` bytes, `cut` bytes short at the end."""
    elements = [e for e in sample_elements() if isinstance(e, E) and e.tag < 0x7FE00010]
    data = part10([*elements, E(0x7FE00010, "OW", bytes(range(256)) * (size // 256))])
    return data[: len(data) - cut]


def assert_refused(code: int, err: str, *, offset: bool = True) -> None:
    """Exit 1 and exactly one line for a person, that says where, and shows no value."""
    assert code == 1
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert err.startswith("dcmveil: ")
    if offset:
        assert re.match(r"dcmveil: offset [0-9]+[,:]", err), err
    assert not [secret for secret in SECRETS if secret in err]


# -- the pipe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["stream"]], ids=["plain", "stream"])
@pytest.mark.parametrize("from_file", [False, True], ids=["from-pipe", "from-file"])
@pytest.mark.parametrize("to_file", [False, True], ids=["to-pipe", "to-file"])
def test_pipe(
    tmp_path: Path, key: Path, veiled: bytes, command: list[str], from_file: bool, to_file: bool
) -> None:
    source = tmp_path / "in.dcm"
    source.write_bytes(SAMPLE)
    done = run(
        *command,
        data=source if from_file else SAMPLE,
        to=tmp_path / "out.dcm" if to_file else None,
        DCMVEIL_KEY_FILE=str(key),
    )
    assert done.code == 0
    assert done.out == veiled
    assert len(done.out) == len(SAMPLE)
    assert source.read_bytes() == SAMPLE
    assert all(line.startswith("dcmveil: note: ") for line in done.err.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quiet"],
        ["stream", "--quiet"],
        ["--quiet", "--atomic"],
        ["--qui"],
        ["--uid-root", "2.25"],
    ],
    ids=" ".join,
)
def test_options_change_no_byte(key: Path, veiled: bytes, arguments: list[str]) -> None:
    done = run(*arguments, "--key-file", key, data=SAMPLE)
    assert (done.code, done.out) == (0, veiled)
    if any(a.startswith("--qui") for a in arguments):
        assert done.err == ""


def test_module(key: Path, veiled: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dcmveil", "--key-file", key, "--quiet"],
        input=SAMPLE,
        capture_output=True,
        env=environment(),
        check=True,
    )
    assert (done.stdout, done.stderr) == (veiled, b"")


def test_key_option_wins_over_the_environment(tmp_path: Path, key: Path, veiled: bytes) -> None:
    other = tmp_path / "other.key"
    dcmveil.write_key(other, KEY[::-1])
    done = run("--key-file", key, data=SAMPLE, DCMVEIL_KEY_FILE=str(other))
    assert done.out == veiled
    assert run(data=SAMPLE, DCMVEIL_KEY_FILE=str(other)).out != veiled


@pytest.mark.parametrize("content", [KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\r\n"])
def test_forms_of_a_key_file(tmp_path: Path, veiled: bytes, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert run("--key-file", path, data=SAMPLE).out == veiled


def test_ephemeral_keys_differ() -> None:
    one, two = (run("--ephemeral-key", data=SAMPLE) for _ in range(2))
    assert (one.code, two.code) == (0, 0)
    assert one.out != two.out


def test_uid_root(key: Path) -> None:
    done = run("--key-file", key, "--uid-root", "1.2.826.0.1.99", data=SAMPLE)
    assert done.code == 0
    assert b"1.2.826.0.1.99." in done.out


def test_a_second_run_changes_nothing(key: Path, veiled: bytes) -> None:
    assert run("--key-file", key, data=veiled).out == veiled


def test_the_mark_of_another_key(tmp_path: Path, key: Path, veiled: bytes) -> None:
    other = tmp_path / "other.key"
    dcmveil.write_key(other, KEY[::-1])
    done = run("--key-file", other, data=veiled)
    assert_refused(done.code, done.err)
    assert not done.out
    assert run("--key-file", other, "--ignore-mark", data=veiled).code == 0


def test_truncated_pixels(key: Path) -> None:
    data = big(MIB, cut=1000)
    done = run("--key-file", key, data=data)
    assert_refused(done.code, done.err)
    done = run("--key-file", key, "--accept-truncated", data=data)
    assert done.code == 0
    assert len(done.out) == len(data)
    assert "cut short" in done.err


def test_a_pipe_that_trickles(key: Path, veiled: bytes) -> None:
    command = [DCMVEIL, "--key-file", str(key), "--quiet"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment()
    ) as child:
        assert child.stdin
        assert child.stdout
        for i in range(len(SAMPLE)):
            child.stdin.write(SAMPLE[i : i + 1])
        child.stdin.close()
        assert child.stdout.read() == veiled
    assert child.returncode == 0


# -- usage -----------------------------------------------------------------------------------------


def test_no_key() -> None:
    for extra in ({}, {"DCMVEIL_KEY_FILE": ""}):
        done = run(data=SAMPLE, **extra)
        assert (done.code, done.out) == (2, b"")
        assert "dcmveil key new FILE" in done.err
        assert done.err.count("\n") == 1


def test_a_key_file_that_is_missing(tmp_path: Path) -> None:
    done = run("--key-file", tmp_path / "Jane Roe.key", data=SAMPLE)
    assert (done.code, done.out) == (2, b"")
    assert "dcmveil key new FILE" in done.err
    assert "Roe" not in done.err


@pytest.mark.parametrize(
    "content", [b"", b"dcmveil-key-1 ", KEY[:31], bytes(32), KEY.hex().encode()[1:]]
)
def test_a_key_file_without_a_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    done = run("--key-file", path, data=SAMPLE)
    assert (done.code, done.out) == (2, b"")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--profile", "no-such-profile"],
        ["--no-such-option"],
        ["--profile"],
        ["--uid-root", "not.a.root"],
        ["--uid-root", "1.2.840.10008.1"],
        ["--quiet=yes"],
        ["no-such-command"],
        ["stream", "operand"],
        ["key"],
        ["key", "no-such-command"],
        ["key", "new", "one", "two"],
    ],
    ids=" ".join,
)
def test_wrong_usage(key: Path, arguments: list[str]) -> None:
    done = run(*arguments, data=SAMPLE, DCMVEIL_KEY_FILE=str(key))
    assert (done.code, done.out) == (2, b"")
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["stream", "--help"], ["key", "--help"], ["key", "new", "-h"]]
)
def test_help(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(b"usage: dcmveil")
    assert max(map(len, done.out.splitlines())) <= 100


def test_help_names_every_option() -> None:
    text = run("stream", "--help").out.decode()
    for option in ("--profile", "--key-file", "--ephemeral-key", "--uid-root", "--accept-truncated",
                   "--ignore-mark", "--quiet", "--atomic"):  # fmt: skip
        assert option in text


def test_version() -> None:
    done = run("--version")
    assert (done.code, done.out.decode()) == (0, f"dcmveil {dcmveil.__version__}\n")
    assert version("dcmveil") == dcmveil.__version__


def test_main_returns_the_status(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["key", "new", str(tmp_path / "new")]) == 0
    assert main(["key", "new", str(key)]) == 2
    assert main(["--profile", "none", "--key-file", str(key)]) == 2
    assert capsys.readouterr().out == ""


# -- keys ------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_key_file(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    done = run("key", "new", path)
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert mode(path) == 0o600
    assert re.fullmatch(r"dcmveil-key-1 [0-9a-f]{64}\n", path.read_text())
    assert run("--key-file", path, data=SAMPLE).code == 0


def test_a_key_file_is_never_overwritten(key: Path, tmp_path: Path) -> None:
    before = key.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for path in (key, link, tmp_path):
        done = run("key", "new", path)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert str(path) not in done.err
    assert key.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_into_a_folder_that_is_missing(tmp_path: Path) -> None:
    done = run("key", "new", tmp_path / "none" / "new.key")
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_a_key_on_standard_output(tmp_path: Path) -> None:
    one, two = run("key", "new"), run("key", "new")
    assert (one.code, one.err) == (0, "")
    assert re.fullmatch(rb"dcmveil-key-1 [0-9a-f]{64}\n", one.out)
    assert one.out != two.out
    path = tmp_path / "new.key"
    path.touch(0o644)
    assert run("key", "new", to=path).code == 0
    assert mode(path) == 0o600
    assert run("--key-file", path, data=SAMPLE).code == 0


# -- input that must be refused --------------------------------------------------------------------

NOT_DICOM = {
    "empty": b"",
    "one byte": b"D",
    "text": b"Report on Mrs DOE, born 19610704, HOSP-004711.\n" * 40,
    "short text": b"DOE^JOHANNA",
    "JPEG": bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(range(256)) * 8,
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8,
    "PDF": b"%PDF-1.7\n1 0 obj << /Author (DOE) >> endobj\n" * 9,
    "ZIP": b"PK\3\4\x14\0\0\0\x08\0" + b"DOE_JOHANNA.dcm" * 30,
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "preamble alone": bytes(128) + b"DICM",
    "a length too long": part10([E(0x00100010, "PN", "DOE^JOHANNA", length=60000)]),
    "a length past an item": part10([E(0x00081115, "SQ", b"\xfe\xff\0\xe0\x04\0\0\0\x10\0\x10\0")]),
    "a stray item": part10([E(0x00100010, "PN", "DOE"), b"\xfe\xff\0\xe0\0\0\0\0"]),
    "a broken deflate": part10([], DEFLATED[0]) + b"\xff" * 50,
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_DICOM)
def test_refused(tmp_path: Path, key: Path, name: str) -> None:
    for options in ([], ["--atomic"]):
        for to in (None, tmp_path / "out.dcm"):
            done = run("--key-file", key, *options, data=NOT_DICOM[name], to=to)
            assert_refused(done.code, done.err)
            if options or to:
                assert not done.out


SMALL = {0x00080018, 0x00081032, 0x00100010, 0x00100020, 0x00280010, 0x60003000, 0x7FE00010}


@pytest.mark.parametrize("option", [[], ["--atomic"]], ids=["plain", "atomic"])
def test_every_truncation(tmp_path: Path, key: Path, option: list[str]) -> None:
    elements = [e for e in sample_elements() if isinstance(e, E) and e.tag in SMALL]
    data = part10(elements, meta=[E(0x00020010, "UI", EXPLICIT_LE)])
    # Without its last elements it is a data set all the same, and zeros may follow any.
    start = len(data) - len(part10(elements, meta=[]))
    ends = [start + len(part10(elements[:n], meta=[])) for n in range(1, len(elements) + 1)]
    assert ends[-1] == len(data)
    # how the output is written does not depend on the byte where the input ends
    step = 7 if option else 1
    for length in sorted({*range(0, len(data) + 1, step), *ends, *(end + 1 for end in ends[:-1])}):
        last = max((end for end in ends if end <= length), default=0)
        done = run_forked(tmp_path, data[:length], "--key-file", key, "--quiet", *option)
        if last and not any(data[last:length]):
            assert (done.code, len(done.out), done.err) == (0, length, ""), length
        else:
            assert_refused(done.code, done.err)
            assert not done.out, length


def test_truncations_of_a_deflated_file(tmp_path: Path, key: Path) -> None:
    data = part10(sample_elements(), DEFLATED[0])
    for length in range(140, len(data) - 2, 97):
        done = run_forked(tmp_path, data[:length], "--key-file", key)
        assert_refused(done.code, done.err, offset=False)
        assert not done.out


# -- the output on an error ------------------------------------------------------------------------

LATE = big(4 * MIB, cut=2)  # rewritten and written out in part before the error is met


def test_output_is_cut_back_to_its_start(tmp_path: Path, key: Path) -> None:
    out = tmp_path / "out"
    source = tmp_path / "in"
    source.write_bytes(LATE)
    for redirect in (f"> {out}", f">> {out}", f"1<> {out}"):
        out.write_bytes(b"" if redirect.startswith("1") else b"here before\n")
        script = f"dcmveil < {source} {redirect}"
        done = shell(script, key)
        assert_refused(done.returncode, done.stderr)
        assert out.read_bytes() == (b"here before\n" if redirect.startswith(">>") else b"")
    done = shell(f"{{ echo before; dcmveil < {source}; echo after; }} > {out}", key)
    assert out.read_bytes() == b"before\nafter\n"


def test_a_file_in_the_middle_of_others(tmp_path: Path, key: Path, veiled: bytes) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(SAMPLE)
    shell(f"{{ echo before; dcmveil < {source}; echo after; }} > {out}", key)
    assert out.read_bytes() == b"before\n" + veiled + b"after\n"


def shell(script: str, key: Path) -> subprocess.CompletedProcess[str]:
    folder = os.path.dirname(DCMVEIL)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", script],
        env=environment(PATH=path, DCMVEIL_KEY_FILE=str(key)),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("size", [MIB, 20 * MIB], ids=["in-memory", "spooled"])
def test_atomic_writes_nothing_on_a_late_error(tmp_path: Path, key: Path, size: int) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    for to in (None, tmp_path / "out"):
        done = run("--atomic", "--key-file", key, data=big(size, cut=1), to=to, TMPDIR=str(spool))
        assert_refused(done.code, done.err)
        assert not done.out
        assert not list(spool.iterdir())


def test_atomic_past_its_memory(tmp_path: Path, key: Path) -> None:
    data = big(20 * MIB)
    done = run("--atomic", "--key-file", key, data=data, TMPDIR=str(tmp_path))
    assert done.code == 0
    same = done.out == dcmveil.Veil(key=KEY).bytes(data)
    assert same
    assert list(tmp_path.iterdir()) == [key]


def test_input_and_output_are_one_file(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "in.dcm"
    for redirect in (f"1<> {path}", f">> {path}"):
        path.write_bytes(SAMPLE)
        done = shell(f"dcmveil < {path} {redirect}", key)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert path.read_bytes() == SAMPLE


def test_input_and_output_are_one_device(key: Path) -> None:
    done = shell("dcmveil < /dev/null > /dev/null", key)
    assert_refused(done.returncode, done.stderr)


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


def test_a_path_given_as_an_argument_is_not_shown(key: Path) -> None:
    done = run("--key-file", key, "Jane Doe.dcm", data=SAMPLE)
    assert done.code == 2
    assert "Jane" not in done.err
    assert "dcmveil < IN > OUT" in done.err
    assert done.out == b""


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


def test_words_never_go_to_the_data(tmp_path: Path, key: Path, veiled: bytes) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(SAMPLE)
    assert shell(f"dcmveil < {source} > {out} 2>&-", key).returncode == 0
    assert out.read_bytes() == veiled
    source.write_bytes(big(MIB, cut=100))
    assert shell(f"dcmveil --accept-truncated < {source} > {out} 2>&-", key).returncode == 0
    assert out.stat().st_size == source.stat().st_size  # the note is left out
    source.write_bytes(LATE)
    assert shell(f"dcmveil < {source} > {out} 2>&-", key).returncode == 1
    assert not out.read_bytes()


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


# -- what a run costs ------------------------------------------------------------------------------

HEAVY = {
    "argparse", "asyncio", "concurrent.futures", "ctypes", "dataclasses", "enum", "gettext",
    "hashlib", "importlib.metadata", "importlib.resources", "inspect", "json", "logging", "pathlib",
    "random", "re", "shutil", "socket", "subprocess", "tempfile", "threading", "typing", "zipfile",
    "zlib",
}  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["stream", "--quiet", "--profile", "basic"]])
def test_the_pipe_imports_nothing_heavy(key: Path, arguments: list[str]) -> None:
    modules = "import sys; print(*sys.modules, file=sys.stderr)"
    bare = subprocess.run([sys.executable, "-c", modules], capture_output=True, check=True)
    code = (
        f"from dcmveil.cli import main; main({[*arguments, '--key-file', str(key)]!r}); {modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=SAMPLE, capture_output=True, check=True
    )
    loaded = done.stderr.decode().split()
    assert "dcmveil.session" in loaded
    assert "dcmveil.faces.pipes" not in loaded  # that is for bulk
    assert not HEAVY & (set(loaded) - set(bare.stderr.decode().split()))


@pytest.mark.parametrize("command", ["copy", "patch"])
def test_plain_files_import_nothing_heavy(tmp_path: Path, key: Path, command: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a").write_bytes(SAMPLE)
    arguments = [command, str(source), *([str(tmp_path / "out")] if command == "copy" else [])]
    modules = "import sys; print(*sys.modules)"
    bare = subprocess.run([sys.executable, "-c", modules], capture_output=True, check=True)
    code = (
        f"from dcmveil.cli import main; main({[*arguments, '--key-file', str(key)]!r}); {modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert b"1 rewritten" in done.stderr
    loaded = done.stdout.decode().split()
    assert not HEAVY & (set(loaded) - set(bare.stdout.decode().split()))


@pytest.mark.parametrize(
    ("arguments", "plain"),
    [
        (["copy", "a", "b"], True),
        (["copy", "a", "b", "--quiet", "--keep-names", "--key-file", "k"], True),
        (["copy", "--profile", "omidb", "a", "--option", "retain-uids,x", "b"], True),
        (["patch", "a"], True),
        (["patch", "a", "b", "c", "--ephemeral-key", "--pseudonyms", "t"], True),
        (["stream", "--quiet", "--atomic", "--edition", "2020a"], True),
        (["copy", "a", "b", "-j", "2"], True),
        (["patch", "-j16", "a", "--quiet"], True),
        (["patch", "--jobs", "0", "a"], True),
        (["patch", "a", "-j"], False),
        (["patch", "a", "-j", "two"], False),
        (["patch", "a", "-j", "²"], False),
        (["patch", "a", "-j", "-2"], False),
        (["patch", "a", "-j=2"], False),
        (["patch", "a", "--jobs=2"], False),
        (["patch", "a", "-j", "10000"], False),
        (["-j", "2"], False),
        (["copy", "a", "b", "--key-file=k"], False),
        (["patch", "a", "--durable"], False),
        (["copy", "--keep", "a", "b"], False),  # argparse takes it for --keep-...
        (["patch", "--", "-a"], False),
        (["copy", "a"], False),
        (["copy", "a", "b", "c"], False),
        (["patch"], False),
        (["patch", "a", "--keep-names"], False),
        (["copy", "a", "b", "--key-file"], False),
        (["copy", "a", "b", "--key-file", "--quiet"], False),
    ],
    ids=str,
)
def test_the_plain_way_and_argparse_agree(arguments: list[str], plain: bool) -> None:
    found = cli._plain_plan(arguments)
    assert (found is not None) == plain
    if found is not None:
        wanted = vars(arguments_module.parse(arguments))
        command = wanted.pop("command")
        told = vars(found)
        # the pipe imports its own only when it runs
        assert told.pop("command") is (cli._stream if command.__name__ == "run_pipe" else command)
        assert told == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
def test_memory_of_a_long_pipe(tmp_path: Path, key: Path) -> None:
    """256 MiB through a pipe in under 30 MB."""
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("the sanitizers take memory of their own")
    size = 256 * MIB
    elements = [e for e in sample_elements() if isinstance(e, E) and e.tag < 0x7FE00010]
    head = tmp_path / "head"
    head.write_bytes(part10([*elements, E(0x7FE00010, "OW", b"", length=size)]))
    # A process starts with the peak of the one it was forked from: that must be a small one.
    measure = (
        "import resource, subprocess; "
        "code = subprocess.call(['sh', '-c', 'dcmveil --quiet > /dev/null']); "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    script = f'{{ cat {head}; head -c {size} /dev/zero; }} | "{sys.executable}" -c "{measure}"'
    done = shell(script, key)
    code, kib = map(int, done.stdout.split())
    assert code == 0
    assert kib * 1024 < 30e6


def test_a_bug_of_ours_shows_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(plan: cli.Plan) -> int:
        raise ValueError("DOE^JANE")

    monkeypatch.setattr(cli, "_stream", broken)
    assert cli.main(["stream", "--quiet"]) == cli.NOT_ALL
    assert capsys.readouterr().err == "dcmveil: internal error (ValueError); please report it\n"


def test_garbage_is_collected_once_the_veil_is_made() -> None:
    """The start is without; a run over many files must not be."""
    code = (
        "import gc, sys; from dcmveil import cli;"
        "plan = cli.Plan(); plan.ephemeral_key = True;"
        "plan.command = lambda plan: print(gc.isenabled(), pipe.make_veil(plan) and gc.isenabled())"
        " or 0;"
        "cli._plain_plan = lambda arguments: plan; from dcmveil.cli import pipe; cli.run()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(dcmveil.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert out.stdout == "False True\n"


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
