"""The full command line, with its help."""

from __future__ import annotations

import argparse
import sys

from .. import __version__
from . import Plan, option_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = """\
De-identify DICOM as it streams: the values that a profile of PS3.15 Annex E names are rewritten in
place, everything else passes byte for byte, and no pixel is decoded."""

_EXAMPLES = """\
examples:
  dcmveil key new project.key                          make the project's secret key, once
  dcmveil --key-file project.key < in.dcm > out.dcm    de-identify one file
  export DCMVEIL_KEY_FILE=project.key
  curl -s URL | dcmveil | storescu-like-program        as a filter between two programs

exit status: 0 done, 1 the input was refused or could not be read or written, 2 wrong usage,
130 interrupted. The data goes to standard output, words to standard error."""

_LAYOUT = argparse.RawDescriptionHelpFormatter


def parse(arguments: list[str]) -> Plan:
    """The plan of an invocation. Exits with 2 on wrong usage, with 0 after --help."""
    if not arguments:
        _parser(_COMMANDS).print_help(sys.stderr)
        sys.exit(2)
    if arguments[0] not in _NAMED:
        arguments = ["stream", *arguments]
    # the options of all commands take longer to make than a small file to rewrite
    wanted = arguments[:1] if arguments[0] in _COMMANDS else _COMMANDS
    plan = _parser(wanted).parse_args(arguments, namespace=Plan())
    assert isinstance(plan, Plan)
    return plan


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Wrong usage: exit status 2. A stray argument is most often the path of an input, and no
        such path is ever shown."""
        if message.startswith("unrecognized arguments"):
            message = "an argument that has no place; files are read so: dcmveil < IN > OUT"
        super().error(message)


def _parser(wanted: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows these commands."""
    parser: argparse.ArgumentParser = _Parser(
        prog="dcmveil", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=_LAYOUT
    )
    parser.add_argument("--version", action="version", version=f"dcmveil {__version__}")
    # without prog it would make a help formatter to find out, which imports shutil
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog="dcmveil"
    )
    for name in wanted:
        _ADD[name](commands)
    return parser


def _add_stream(commands: Commands) -> None:
    from .pipe import run_pipe

    parser = commands.add_parser(
        "stream",
        help="standard input to standard output; also without a command, in a pipe",
        description="De-identify one DICOM file or data set from standard input to standard "
        "output, in bounded memory.",
        formatter_class=_LAYOUT,
    )
    parser.set_defaults(command=run_pipe)
    _add_common(parser)
    parser.add_argument(
        "--atomic",
        action="store_true",
        help="write nothing until the whole input was understood (held in memory up to 16 MiB, "
        "then in a temporary file)",
    )


def _add_copy(commands: Commands) -> None:
    from . import files

    files.add_copy(commands, _add_common)


def _add_patch(commands: Commands) -> None:
    from . import files

    files.add_patch(commands, _add_common)


def _add_inspect(commands: Commands) -> None:
    from . import inspecting

    inspecting.add_parser(commands, _add_common)


def _add_tar(commands: Commands) -> None:
    from . import archiving

    archiving.add_parser(commands, _add_common)


def _add_verify(commands: Commands) -> None:
    from . import verifying

    verifying.add_parser(commands, _add_common)


def _add_key(commands: Commands) -> None:
    key = commands.add_parser("key", help="make a key", description="Keys of a project.")
    key_commands = key.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = key_commands.add_parser(
        "new",
        help="a new random key",
        description="Write a new random key of 32 bytes to FILE, readable by its owner alone "
        "(mode 0600); never over an existing file. Without FILE it goes to standard output. "
        "Whoever has the key can tell whether a guessed UID belongs to an output; without the "
        "key the same input can never be mapped alike again. Keep it, and keep it secret.",
    )
    new.add_argument("new_key_file", metavar="FILE", nargs="?")
    new.add_argument("--key-file", dest="new_key_file", metavar="FILE", help=argparse.SUPPRESS)
    new.set_defaults(command=_new_key)


def _add_common(parser: argparse.ArgumentParser) -> None:
    # The defaults stand in Plan alone.
    def add(*names: str, **options: object) -> None:
        parser.add_argument(*names, default=argparse.SUPPRESS, **options)  # type: ignore[arg-type]

    add(
        "--profile",
        metavar="NAME",
        help="basic: PS3.15 Table E.1-1 (default); sup142; omidb; or a file that ends in .toml",
    )
    _add_options(parser)
    add(
        "--pseudonyms",
        metavar="FILE",
        help="a table of your own: CSV with the columns old, new and perhaps shift_days",
    )
    add(
        "--key-file",
        metavar="FILE",
        help="the project's key; default: the file that DCMVEIL_KEY_FILE names",
    )
    add(
        "--ephemeral-key",
        action="store_true",
        help="a random key for this run alone: UIDs will not fit those of any other file",
    )
    add("--uid-root", metavar="ROOT", help="root for new UIDs (default: 2.25)")
    add(
        "--accept-truncated",
        action="store_true",
        help="take a file that ends inside its pixel data as it is",
    )
    add(
        "--ignore-mark",
        action="store_true",
        help="treat a file as new that bears the mark of another key or profile",
    )
    add(
        "--hold-limit",
        metavar="MiB",
        type=_mebibytes,
        help="how much may stand before the end of the patient's attributes, which is held in "
        "memory (default: 64)",
    )
    add(
        "--inflate-limit",
        metavar="MiB",
        type=_mebibytes,
        help="how much a deflated data set may inflate to (default: 16384)",
    )
    add("--quiet", action="store_true", help="errors only, no notes")


def _mebibytes(text: str) -> int:
    """A limit in bytes."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of MiB is wanted, 1 or more")
    return int(text) << 20


def _add_options(parser: argparse.ArgumentParser) -> None:
    """What a profile can be changed by, for every command that takes one."""
    parser.add_argument(
        "--option",
        dest="options",
        metavar="NAME",
        action="extend",
        type=option_names,
        default=argparse.SUPPRESS,
        help="an option of PS3.15 Table E.1-1, such as retain-uids; may be repeated, or hold "
        "several with commas (`dcmveil profile list` lists them)",
    )
    parser.add_argument(
        "--edition",
        metavar="EDITION",
        default=argparse.SUPPRESS,
        help="the edition of PS3.15 for the profile basic (default: 2026d)",
    )


def _add_profile(all_commands: Commands) -> None:
    from .profiles import FORMATS, check_profile, list_profiles, show_profile

    parser = all_commands.add_parser("profile", help="list, show and check profiles")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="profiles, options and editions that ship")
    listing.set_defaults(command=list_profiles)

    show = commands.add_parser(
        "show",
        help="every row of a profile",
        description="Show what a profile does: its rows, each with where it comes from.",
    )
    show.add_argument("profile", metavar="NAME", help="a profile, or a file that ends in .toml")
    _add_options(show)
    show.add_argument("--format", choices=FORMATS, default=argparse.SUPPRESS)
    show.add_argument(
        "--conformance",
        action="store_true",
        default=argparse.SUPPRESS,
        help="the statement that PS3.15 section E.1.3 asks for, in Markdown",
    )
    show.set_defaults(command=show_profile)

    check = commands.add_parser(
        "check",
        help="find the mistakes of a profile file",
        description="Read a profile file and say what is wrong with it, line by line. The exit "
        "status is 2 if anything is.",
    )
    check.add_argument("profile", metavar="FILE")
    check.set_defaults(command=check_profile)


_ADD = {
    "stream": _add_stream,
    "copy": _add_copy,
    "patch": _add_patch,
    "profile": _add_profile,
    "inspect": _add_inspect,
    "tar": _add_tar,
    "verify": _add_verify,
    "key": _add_key,
}
# Anything else in the first place belongs to the pipe, which needs no command.
_COMMANDS = tuple(_ADD)
_NAMED = (*_COMMANDS, "-h", "--help", "--version")


def _new_key(plan: Plan) -> int:
    import os
    import stat

    from ..keys import format_key, new_key, write_key

    if plan.new_key_file:
        write_key(plan.new_key_file, new_key())
        return 0
    if stat.S_ISREG(os.fstat(1).st_mode):
        os.fchmod(1, 0o600)
    sys.stdout.write(format_key(new_key()))
    sys.stdout.flush()
    return 0
