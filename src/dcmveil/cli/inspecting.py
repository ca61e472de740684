"""`dcmveil inspect`: what would change in a file and why, for people and for programs."""

from __future__ import annotations

import io
import os
import sys

from ..inspect import edits
from ..reasons import TEXT
from . import Plan, say
from .pipe import make_veil

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ..inspect import Edit

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

SHOWN = 48  # characters of a value in the table
SHOWN_JSON = 1024  # bytes of a value in a line of JSON
_TEXT = TEXT | {"UI"}
_BOLD, _DIM, _GREEN, _PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[0m"


def add_parser(commands: Commands, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """The subcommand and its options."""
    import argparse

    parser = commands.add_parser(
        "inspect",
        help="what would change in a file, and why",
        description="List every element of a DICOM file with what would happen to it and the rule "
        "that chose it. Nothing is written. Values are masked: of old ones only the length is "
        "shown. New ones are shown, since they would leave with the file.",
        epilog="Without a key a random one is used: then new UIDs and other keyed values are not "
        "those of a run. docs/inspect.md has the fields of --json.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # the defaults stand in Plan alone
    parser.add_argument("file", metavar="FILE", help="the file; - for standard input")
    for name, stored, value, words in (
        ("--json", "json", True, "one JSON object a line instead of a table"),
        ("--show-values", "show_values", True, "show old values too; they may identify people"),
        ("--all", "changes", False, "every element (default)"),
        ("--changes", "changes", True, "only what would change"),
        ("--no-color", "color", False, "no colour; by default there is some on a terminal"),
    ):
        parser.add_argument(
            name,
            dest=stored,
            action="store_const",
            const=value,
            default=argparse.SUPPRESS,
            help=words,
        )
    add_common(parser)
    parser.set_defaults(command=run_inspect)


def run_inspect(plan: Plan) -> int:
    """Show what would happen to plan.file; the exit status."""
    if not plan.key_file and not plan.ephemeral_key:
        plan.ephemeral_key = True
        if not plan.quiet:
            say("no key is given: a random one is used, so keyed values are not those of a run")
    veil = make_veil(plan)
    if isinstance(sys.stdout, io.TextIOWrapper):  # not every terminal has the signs of the table
        sys.stdout.reconfigure(errors="backslashreplace")
    counts = _Counts()
    with open(0 if plan.file == "-" else plan.file, "rb", closefd=plan.file != "-") as source:
        seen = counts.of(edits(veil, source, everything=True))
        lines = _json_lines(seen, plan) if plan.json else _table(seen, plan, _with_color(plan))
        try:
            for line in lines:
                sys.stdout.write(line + "\n")
        finally:
            sys.stdout.flush()
    if not plan.quiet:
        say(f"{counts.elements} elements, of which {counts.changed} would change")
    return 0


class _Counts:
    def __init__(self) -> None:
        self.elements = 0
        self.changed = 0

    def of(self, seen: Iterator[Edit]) -> Iterator[Edit]:
        """The same edits, counted: those of an element count as one."""
        counted = False
        for edit in seen:
            if edit.part == 0:
                counted = False
                self.elements += edit.tag is not None
            if edit.changes and edit.tag is not None and not counted:
                counted = True
                self.changed += 1
            yield edit


# -- for programs ----------------------------------------------------------------------------


def _json_lines(seen: Iterator[Edit], plan: Plan) -> Iterator[str]:
    import json

    keywords = _Keywords()
    for edit in seen:
        if plan.changes and not edit.changes:
            continue
        line = {
            "path": edit.path,
            "keyword": keywords.of(edit.tag),
            "vr": edit.vr,
            "offset": edit.offset,
            "length": edit.length,
            "part": edit.part,
            "action": edit.action,
            "changes": edit.changes,
            "rule": edit.rule,
        }
        if edit.length != 0 and (edit.old or edit.new):
            if plan.show_values:
                line["old"] = _json_value(edit, edit.old)
            if plan.show_values or edit.changes:
                line["new"] = _json_value(edit, edit.new)
        yield json.dumps(line)


def _json_value(edit: Edit, value: bytes) -> str:
    """Text without its padding, anything else as hexadecimal digits."""
    value = value[:SHOWN_JSON]
    return _decoded(value) if edit.vr in _TEXT else value.hex()


# -- for people ------------------------------------------------------------------------------


def _table(seen: Iterator[Edit], plan: Plan, color: bool) -> Iterator[str]:
    keywords = _Keywords()
    yield _painted(color, _BOLD, _line("element", "VR", "length", "action", "value", "rule"))
    for first, changed in _elements(seen):
        if changed is None and plan.changes:
            continue
        action = first.action
        if changed is not None and changed.action != action:
            action = f"{action}, {changed.action}"
        depth = first.path.count("/")
        name = f"{'  ' * depth}{_place(first)} {keywords.of(first.tag)}".rstrip()
        length = "undefined" if first.length is None else str(first.length)
        line = _line(name, first.vr, length, action, _values(first, changed, plan), first.rule)
        yield _painted(color, _DIM if changed is None else _GREEN, line)


def _elements(seen: Iterator[Edit]) -> Iterator[tuple[Edit, Edit | None]]:
    """The first edit of each element, and the first one that changes it."""
    first = changed = None
    for edit in seen:
        if edit.part == 0:
            if first is not None:
                yield first, changed
            first, changed = edit, None
        if changed is None and edit.changes:
            changed = edit
    if first is not None:
        yield first, changed


def _place(edit: Edit) -> str:
    """The last step of a path, with the number of the item that it stands in."""
    outer, _, last = edit.path.rpartition("/")
    item = outer[outer.rindex("[") :] + " " if outer else ""
    return item + last


def _values(first: Edit, changed: Edit | None, plan: Plan) -> str:
    """The old value or its length, and the new one."""
    shown = changed or first
    if not shown.old and not shown.new:
        return ""
    old = f"«{len(shown.old) if changed else first.length} bytes»"
    if plan.show_values:
        old = _shown(shown, shown.old)
    return f"{old} -> {_shown(shown, shown.new)}" if changed else old


def _shown(edit: Edit, value: bytes) -> str:
    """A value in quotation marks, its padding left out; binary ones in hexadecimal digits. What a
    terminal might obey is escaped."""
    if edit.vr not in _TEXT:
        if not value.strip(b"\0"):
            return "zeros"
        digits = value[: SHOWN // 2].hex()
        return digits + "..." * (len(value) > SHOWN // 2)
    text = _decoded(value)
    cut = text[:SHOWN] + "..." * (len(text) > SHOWN)
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return f'"{escaped}"'


def _line(name: str, vr: str, length: str, action: str, values: str, rule: str) -> str:
    return f"{name:<40} {vr:<2} {length:>9}  {action:<9}  {values:<34}  {rule}"


def _with_color(plan: Plan) -> bool:
    """On a terminal that does colour, unless it is not wanted (no-color.org)."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return plan.color and terminal and not os.environ.get("NO_COLOR")


def _painted(color: bool, code: str, line: str) -> str:
    return f"{code}{line}{_PLAIN}" if color else line


# -- for both --------------------------------------------------------------------------------


class _Keywords:
    """Keywords of PS3.6, each looked up once: patterns take long."""

    def __init__(self) -> None:
        from ..profile.names import Names

        self._names = Names()
        self._known: dict[int, str] = {}

    def of(self, tag: int | None) -> str:
        """Empty where there is none."""
        if tag is None or tag >> 16 & 1:
            return ""
        if tag not in self._known:
            self._known[tag] = self._names.keyword_of(f"{tag:08X}")
        return self._known[tag]


def _decoded(value: bytes) -> str:
    """Text without its padding. Its character set may be another; for a glance this will do."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.rstrip(" \0")
