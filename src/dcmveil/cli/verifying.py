"""`dcmveil verify`: the proof that outputs keep the promises."""

from __future__ import annotations

import io
import sys
from collections import Counter

from . import DONE, NOT_ALL, Plan, say
from .pipe import make_veil

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ..veil import Veil
    from ..verify import Finding
    from ..verify.trees import Archive, Folder, Outcome

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_SHOWN = 64  # bytes of a value


def add_parser(commands: Commands, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """The subcommand and its options."""
    import argparse

    parser = commands.add_parser(
        "verify",
        help="prove that outputs keep the promises",
        description="Compare outputs with their originals: two files, two folders or two tar "
        "archives. Every byte that no rule may change must be equal, the structure must be the "
        "same, and no identifying value of the original may stand anywhere in the output outside "
        "of pixel data. Profile, options and key must be those of the run.",
        epilog="exit status: 0 proven, 1 not proven, 2 wrong usage. No value of an original is "
        "shown, and no path of one. docs/verify.md says what is looked for and what is not.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # the defaults stand in Plan alone
    parser.add_argument("before", metavar="BEFORE", help="the originals")
    parser.add_argument("after", metavar="AFTER", help="the outputs")
    for name, stored, value, words in (
        ("--json", "json", True, "one JSON object a line: each finding, then the summary"),
        ("--show-values", "show_values", True, "show what was found; it may identify people"),
        ("--report-paths", "report_paths", True, "show the paths of originals, too"),
        ("--allow-missing", "allow_missing", True, "an original without output is no finding"),
        (
            "--all-identifiers",
            "all_identifiers",
            True,
            "read all originals first, and look for the names and IDs of each in every output",
        ),
        (
            "--no-pixels",
            "pixels",
            False,
            "do not read pixel data and other bulk that passes unread",
        ),
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
    parser.set_defaults(command=run_verify)


def run_verify(plan: Plan) -> int:
    """Compare plan.before and plan.after; the exit status."""
    from ..errors import UsageError
    from ..verify.trees import opened

    veil = make_veil(plan)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if plan.ephemeral_key and not plan.quiet:
        say("without the key of the run, keyed values are not compared, only that they changed")
    before, after = opened(plan.before), opened(plan.after)
    if (before is None) != (after is None):
        raise UsageError("compare a file with a file, and folders or archives with their like")
    if before is None or after is None:
        outcomes = _single(veil, plan)
    else:
        outcomes = _pairs(veil, plan, before, after)
    told = _Told(plan)
    try:
        for outcome in outcomes:
            told.outcome(outcome)
        told.end()
    finally:
        sys.stdout.flush()
    return DONE if told.proven else NOT_ALL


def _single(veil: Veil, plan: Plan) -> Iterator[Outcome]:
    from ..verify import Checker
    from ..verify.trees import Outcome

    with open(plan.before, "rb") as before, open(plan.after, "rb") as after:
        checker = Checker(veil, keyed=not plan.ephemeral_key)
        yield Outcome("", "", checker.check(before, after, pixels=plan.pixels))


def _pairs(
    veil: Veil, plan: Plan, before: Folder | Archive, after: Folder | Archive
) -> Iterator[Outcome]:
    from ..verify import Checker
    from ..verify.trees import Pairs

    checker = Checker(veil, keyed=not plan.ephemeral_key)
    pairs = Pairs(veil, checker, before, after, pixels=plan.pixels)
    if plan.all_identifiers:
        pairs.learn()
    return pairs.outcomes()


class _Told:
    """Prints findings and counts."""

    def __init__(self, plan: Plan) -> None:
        self.bad = 0
        self._plan = plan
        self._files = 0
        self._skipped = 0
        self._missing = 0
        self._other_key = 0
        self._sought = 0
        self._compared = 0
        self._scanned = 0
        self._kinds: Counter[str] = Counter()
        self._exempt: Counter[str] = Counter()

    @property
    def proven(self) -> bool:
        """Something was compared, and nothing found."""
        return self._files > 0 and not self.bad

    def outcome(self, outcome: Outcome) -> None:
        verdict = outcome.verdict
        self._files += outcome.after is not None and outcome.before is not None
        self._skipped += outcome.skipped
        self._sought += verdict.sought
        self._compared += verdict.compared
        self._scanned += verdict.scanned
        self._exempt.update(verdict.exempt)
        self._kinds.update(verdict.more)
        if verdict.found("no output"):
            self._missing += 1
            if self._plan.allow_missing:
                return
        if verdict.ok:
            return
        self.bad += 1
        hidden = verdict.found("name") > 0
        for finding in verdict.findings:
            self._kinds[finding.kind] += 1
            if finding.kind == "other key":
                self._other_key += 1
                if self._other_key > 1:
                    continue
            self._finding(outcome, finding, hidden)
        for kind, count in verdict.more.items():
            self._more(outcome, kind, count, hidden)

    def _where(self, outcome: Outcome, hidden: bool) -> dict[str, str]:
        """The paths that may be shown: of an output, unless it holds an identifying value."""
        shown = {}
        if outcome.after:
            plain = not hidden or self._plan.show_values or self._plan.report_paths
            shown["file"] = outcome.after if plain else f"pair {self._files}"
        if outcome.before and self._plan.report_paths:
            shown["original"] = outcome.before
        return shown

    def _finding(self, outcome: Outcome, finding: Finding, hidden: bool) -> None:
        where = self._where(outcome, hidden)
        if finding.kind == "no output" and not where and not self._plan.json:
            return  # how many there are is told at the end
        value = finding.value[:_SHOWN] if self._plan.show_values else b""
        if self._plan.json:
            fields: dict[str, object] = {**where}
            fields |= {"kind": finding.kind, "offset": finding.offset, "path": finding.path}
            fields |= {"source": finding.source, "detail": finding.detail}
            if value:
                fields["value"] = value.decode("latin-1")
            _print_json(fields)
            return
        text = str(finding)
        if value:
            text += f": {value!r}"
        _print(": ".join([*map(_escaped, where.values()), text]))

    def _more(self, outcome: Outcome, kind: str, count: int, hidden: bool) -> None:
        where = self._where(outcome, hidden)
        if self._plan.json:
            _print_json({**where, "kind": kind, "more": count})
        else:
            _print(
                ": ".join([*map(_escaped, where.values()), f"and {count} more like this: {kind}"])
            )

    def end(self) -> None:
        """The summary."""
        if self._plan.json:
            _print_json(
                {
                    "summary": True,
                    "ok": self.proven,
                    "files": self._files,
                    "bad": self.bad,
                    "skipped": self._skipped,
                    "missing": self._missing,
                    "findings": dict(self._kinds),
                    "sought": self._sought,
                    "exempt": dict(self._exempt),
                    "compared": self._compared,
                    "scanned": self._scanned,
                }
            )
            return
        if self._other_key > 1:
            _print(f"and {self._other_key - 1} more files of another key or profile")
        if self._missing and not self._plan.allow_missing:
            words = "" if self._plan.report_paths else " (--report-paths lists them)"
            _print(f"originals that have no output: {self._missing}{words}")
        if self._plan.quiet:
            return
        say(
            f"{self._files} files compared, {self._compared} bytes; {self._sought} identifying "
            f"values looked for in {self._scanned} bytes"
        )
        if self._skipped:
            say(f"{self._skipped} originals are no DICOM files and have no output")
        if self._missing and self._plan.allow_missing:
            say(f"{self._missing} originals have no output, which is allowed")
        for why, count in self._exempt.most_common():
            say(f"not looked for, or no finding: {count} x {why}")
        if self.bad:
            say(f"NOT proven: {self.bad} with findings")
        else:
            say("proven" if self.proven else "nothing was compared, so nothing is proven")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _print_json(fields: dict[str, object]) -> None:
    import json

    _print(json.dumps(fields))


def _escaped(text: str) -> str:
    """What a terminal might obey is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
