"""The command line as people run it, in real processes and pipes: the pipe, usage and keys."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dcmveil
from dcmveil.cli import main
from faces import DCMVEIL, environment, run, shell
from samples import KEY, LATE, MIB, SAMPLE, assert_refused, big


@pytest.fixture(scope="module")
def veiled() -> bytes:
    """What the Python interface makes of the sample."""
    return dcmveil.Veil(key=KEY).bytes(SAMPLE)


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


def test_a_file_in_the_middle_of_others(tmp_path: Path, key: Path, veiled: bytes) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(SAMPLE)
    shell(f"{{ echo before; dcmveil < {source}; echo after; }} > {out}", key)
    assert out.read_bytes() == b"before\n" + veiled + b"after\n"


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


def test_a_path_given_as_an_argument_is_not_shown(key: Path) -> None:
    done = run("--key-file", key, "Jane Doe.dcm", data=SAMPLE)
    assert done.code == 2
    assert "Jane" not in done.err
    assert "dcmveil < IN > OUT" in done.err
    assert done.out == b""


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
