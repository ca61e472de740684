"""One way to run the command for all tests of it: a real process, real pipes, real files.

`run` starts the installed program, `shell` a line of shell that has it. `run_forked` calls
main(arguments) in a fork of a process that has it loaded, with the same three descriptors: ten
times as fast, for tests that need many runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DCMVEIL = str(Path(sys.executable).with_name("dcmveil"))
SECONDS = 300  # no run here takes longer than a second or two: this is for one that hangs


def wait_for(condition: Callable[[], object], child: subprocess.Popen[Any] | None = None) -> None:
    """Wait for what will be seen, or for the end of the child, however long this machine takes."""
    end = time.monotonic() + SECONDS
    while not condition() and (child is None or child.poll() is None):
        assert time.monotonic() < end, "it was waited for in vain"
        time.sleep(0.002)


def children(process: int) -> list[int]:
    """The numbers of the processes that one has started; none once it has ended."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split()]


def unread(pipe: int) -> int:
    """How many bytes are in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)


@dataclass
class Result:
    """What a run left behind; `out` is what standard output holds at the end."""

    code: int
    out: bytes
    err: str


def environment(**extra: str) -> dict[str, str]:
    """The environment of a run: no key but the one that a test gives, and of Python's variables
    only where its modules are. A user has no PYTHONUNBUFFERED, which would hide what happens to
    output that is still held at the end."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DCMVEIL_", "PYTHON")) or name == "PYTHONPATH"
    }
    return kept | extra


def run(
    *arguments: str | Path, data: bytes | Path = b"", to: Path | None = None, **extra: str
) -> Result:
    """Run the program. data: bytes go through a pipe, a path is opened as standard input.
    to: standard output is that file, else a pipe. extra: environment variables."""
    with contextlib.ExitStack() as stack:
        src = stack.enter_context(data.open("rb")) if isinstance(data, Path) else None
        dst = stack.enter_context(to.open("wb")) if to else None
        done = subprocess.run(
            [DCMVEIL, *map(str, arguments)],
            stdin=src,
            input=data if isinstance(data, bytes) else None,
            stdout=dst or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**extra),
            timeout=SECONDS,
            check=False,
        )
    out = done.stdout if to is None else to.read_bytes() if to.is_file() else b""
    return Result(done.returncode, out, done.stderr.decode())


def shell(script: str, key: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `dcmveil` is the program, and has that key."""
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


# The nth call of a function of the program at which it dies: module, class or "", function, n.
Death = tuple[str, str, str, int]


def run_forked(
    folder: Path, data: bytes, *arguments: str | Path, die: Death | None = None
) -> Result:
    """Run main(arguments) in a fork of a small process that has the program loaded, from file to
    file. die: it kills itself there."""
    src, dst, err = (folder / name for name in ("forked.in", "forked.out", "forked.err"))
    src.write_bytes(data)
    request = {
        "folder": os.getcwd(),
        "files": [str(src), str(dst), str(err)],
        "arguments": [str(argument) for argument in arguments],
        "environment": dict(os.environ),
        "die": die,
    }
    server = _server()
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    code = int(server.stdout.readline())
    return Result(code, dst.read_bytes(), err.read_text())


@functools.cache
def _server() -> subprocess.Popen[str]:
    """It is not this process that forks: it may have grown large, and each fork takes a copy of
    what says where its memory is. It ends when its pipe does."""
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _serve() -> None:
    import dcmveil.cli.files
    import dcmveil.trees  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become_main(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become_main(request: dict[str, Any]) -> None:
    code = 99  # a number that main never returns: it raised
    src, dst, err = request["files"]
    try:
        os.chdir(request["folder"])
        os.dup2(os.open(src, os.O_RDONLY), 0)
        os.dup2(os.open(dst, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.clear()
        os.environ.update(request["environment"])
        if request["die"]:
            _die_at(*request["die"])
        from dcmveil.cli import main

        code = main(request["arguments"])
    except BaseException:
        import traceback

        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_at(module: str, owner: str, name: str, count: int) -> None:
    place: Any = importlib.import_module(module)
    place = getattr(place, owner) if owner else place
    real = getattr(place, name)

    def wrapped(*values: Any, **more: Any) -> Any:
        nonlocal count
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*values, **more)

    setattr(place, name, wrapped)


if __name__ == "__main__":
    _serve()
