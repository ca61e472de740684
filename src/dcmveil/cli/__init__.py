"""The command line: arguments, a checked plan, a run.

The pipe is run once for each file, and copy and patch often for a few, so their plain arguments are
understood here without argparse, which takes as long to import as a small run. Anything else goes
to `arguments`.
"""

from __future__ import annotations

import gc
import os
import sys

from ..errors import DcmveilError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# exit status
DONE = 0
NOT_ALL = 1
WRONG_USAGE = 2
INTERRUPTED = 130


class Plan:
    """What one invocation is to do, with every option's default."""

    def __init__(self) -> None:
        self.command: Callable[[Plan], int] = _stream
        self.profile = "basic"  # a name, or a TOML file
        self.options: list[str] = []
        self.edition: str | None = None
        self.pseudonyms: str | None = None
        self.key_file: str | None = os.environ.get("DCMVEIL_KEY_FILE") or None
        self.ephemeral_key = False
        self.uid_root = "2.25"
        self.accept_truncated = False
        self.ignore_mark = False
        self.hold_limit: int | None = None  # bytes; None: the default of Veil
        self.inflate_limit: int | None = None
        self.atomic = False
        self.quiet = False
        self.new_key_file: str | None = None
        self.format = "table"
        self.conformance = False
        # of copy and patch; the other options of a run have their defaults in trees.Options
        self.jobs = 1
        self.source = self.target = ""
        self.paths: list[str] = []
        self.files_from: str | None = None
        self.null = False
        self.progress: str | None = None
        # of inspect
        self.file = "-"
        self.json = False
        self.show_values = False
        self.changes = False
        self.color = True
        # of tar, which shares some with copy; the defaults are those of trees.Options
        self.input = self.output = "-"
        self.names: str | None = None
        self.keep_names = False
        self.to: str | None = None
        self.compress: str | None = None
        self.others = False
        self.dicomdir = False
        self.overwrite = False
        self.report_paths = False
        self.report: str | None = None
        # of verify
        self.before = ""
        self.after = ""
        self.allow_missing = False
        self.all_identifiers = False
        self.pixels = True


# The options that are understood without argparse.
_PLAIN_FLAGS = {
    "stream": {"--quiet": "quiet", "--atomic": "atomic", "--ephemeral-key": "ephemeral_key"},
    "copy": {"--quiet": "quiet", "--keep-names": "keep_names", "--ephemeral-key": "ephemeral_key"},
    "patch": {"--quiet": "quiet", "--ephemeral-key": "ephemeral_key"},
}
_PLAIN_VALUES = {
    "--key-file": "key_file",
    "--profile": "profile",
    "--edition": "edition",
    "--pseudonyms": "pseudonyms",
    "--option": "options",
}


def run() -> None:
    """The console script."""
    gc.disable()  # what is made at the start stays to the end; make_veil switches it on again
    _end_by_exception()
    _leave(main(sys.argv[1:]))


def _leave(status: int) -> None:
    """End, and let the system take down what Python has built up: that is a millisecond sooner. Our
    files are closed by now; what others want at the end is done."""
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            status = status or NOT_ALL
    os._exit(status)


def _end_by_exception() -> None:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, so that no half-written output stays. `signal`
    wraps the module taken here in enums, which take long to import."""
    try:
        import _signal  # type: ignore[import-not-found]
    except ImportError:
        return

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)
        if number is not None and _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, end)


def main(arguments: list[str]) -> int:
    """Run one invocation; the exit status."""
    status = DONE
    try:
        plan = _plain_plan(arguments)
        if plan is None:
            from .arguments import parse

            try:
                plan = parse(arguments)
            finally:
                _flush()  # a help
        status = plan.command(plan)
        _flush()
        return status
    except UsageError as error:
        say(str(error))
        return WRONG_USAGE
    except DcmveilError as error:
        say(str(error))
        return NOT_ALL
    except BrokenPipeError:
        _drop_output()  # the reader has what it wanted
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        say(error.strerror or str(error) or "input or output failed")
        return NOT_ALL
    except Exception as error:  # a bug of ours: its message or traceback might show a value
        say(f"internal error ({type(error).__name__}); please report it")
        return NOT_ALL


def _flush() -> None:
    """What was printed leaves while errors are still ours to tell."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
        raise


def _drop_output() -> None:
    """What could not be written is still held, and Python's own flush at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def say(text: str) -> None:
    """Lines to the person; data never goes there, nor words to the data."""
    if sys.stderr is not None:  # print would take standard output instead
        for line in text.splitlines():
            print(f"dcmveil: {line}", file=sys.stderr)


def option_names(text: str) -> list[str]:
    """The names in one --option: one, or several with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _plain_plan(arguments: list[str]) -> Plan | None:
    """The plan of an invocation with plain options, None when argparse has to look at them."""
    if not arguments and os.isatty(0):
        return None
    plan = Plan()
    named = bool(arguments) and arguments[0] in _PLAIN_FLAGS
    command = arguments[0] if named else "stream"
    flags = _PLAIN_FLAGS[command]
    paths: list[str] = []
    rest = iter(arguments[named:])
    for argument in rest:
        if argument in flags:
            setattr(plan, flags[argument], True)
        elif argument in _PLAIN_VALUES:
            value = next(rest, "")
            if not value or value.startswith("-"):
                return None
            if argument == "--option":
                plan.options += option_names(value)
            else:
                setattr(plan, _PLAIN_VALUES[argument], value)
        elif argument == "--jobs" or argument[:2] == "-j":
            jobs = argument[2:] if argument[1] == "j" else ""  # -jN is -j N
            jobs = jobs or next(rest, "")
            if command == "stream" or not (jobs.isascii() and jobs.isdigit() and len(jobs) < 5):
                return None
            plan.jobs = int(jobs)
        elif command == "stream" or argument.startswith("-"):
            return None
        else:
            paths.append(argument)
    return plan if command == "stream" or _take_paths(plan, command, paths) else None


def _take_paths(plan: Plan, command: str, paths: list[str]) -> bool:
    """Whether copy or patch can do with so many."""
    from . import files

    if command == "patch":
        plan.command, plan.paths = files.run_patch, paths
        return bool(paths)
    if len(paths) != 2:
        return False
    plan.command = files.run_copy
    plan.source, plan.target = paths
    return True


def _stream(plan: Plan) -> int:
    from .pipe import run_pipe

    return run_pipe(plan)
